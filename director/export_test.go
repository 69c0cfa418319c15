package director

import "context"

// PassAddresses and PassEntries make one pass of a lane in the caller's
// goroutine, in place of Run.
func (d *Director) PassAddresses(ctx context.Context) error {
	_, err := d.addresses.pass(ctx)
	return err
}

func (d *Director) PassEntries(ctx context.Context) error {
	_, err := d.entries.pass(ctx)
	return err
}

// WithdrawAddresses and WithdrawEntries are the ends of the lanes.
func (d *Director) WithdrawAddresses(ctx context.Context) error { return d.addresses.withdraw(ctx) }

func (d *Director) WithdrawEntries(ctx context.Context) error { return d.entries.withdraw(ctx) }
