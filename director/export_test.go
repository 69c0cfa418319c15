package director

import "context"

// PassAddresses makes one pass of the lane of the addresses in the caller's
// goroutine, in place of Run.
func (d *Director) PassAddresses(ctx context.Context) error {
	_, err := d.addresses.pass(ctx)
	return err
}

// PassRoutes makes one pass of the lane of the routes.
func (d *Director) PassRoutes(ctx context.Context) error {
	_, err := d.routes.pass(ctx)
	return err
}

// PassEntries makes one pass of the lane of the IPVS table, after the kernel has
// been listed.
func (d *Director) PassEntries(ctx context.Context) error {
	l := d.entries
	l.hint(func(h *hints) { h.all = true })
	if l.have == nil {
		return l.pass(ctx, nil)
	}
	l.listing, l.touched, l.unsure, l.skipped = true, map[ServiceKey]bool{}, false, false
	got := l.list(ctx)
	return l.pass(ctx, &got)
}

// WithdrawAddresses and WithdrawEntries are the ends of the lanes.
func (d *Director) WithdrawAddresses(ctx context.Context) error { return d.addresses.withdraw(ctx) }

func (d *Director) WithdrawRoutes(ctx context.Context) error { return d.routes.withdraw(ctx) }

func (d *Director) WithdrawEntries(ctx context.Context) error { return d.entries.withdraw(ctx) }

// PassHints makes one pass of the lane of the IPVS table without a listing.
func (d *Director) PassHints(ctx context.Context) error { return d.entries.pass(ctx, nil) }
