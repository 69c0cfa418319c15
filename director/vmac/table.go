package vmac

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/rtnl"
)

// Addresses is the table of addresses that a Table stands in front of.
type Addresses interface {
	director.Table[director.AddrKey, director.AddrSpec]
	SetLinks(names []string)
	// Tags reports whether a listing has shown that the kernel keeps tags.
	Tags() bool
}

var _ Addresses = (*Table)(nil)

// Table is a table of addresses, some of which are on interfaces of a Keeper.
// Those interfaces are up while they hold an address, and otherwise down.
type Table struct {
	addresses Addresses
	keeper    *Keeper

	mu     sync.Mutex // one exchange at a time
	socket *rtnl.Socket
}

// NewTable returns a Table in front of addresses, in the network namespace of
// the calling thread. Close ends it.
func NewTable(addresses Addresses, keeper *Keeper) (*Table, error) {
	socket, err := rtnl.Dial()
	if err != nil {
		return nil, err
	}
	return &Table{addresses: addresses, keeper: keeper, socket: socket}, nil
}

// Close gives the socket back, and nothing else. It is not to be called during
// List or Apply.
func (t *Table) Close() error { return t.socket.Close() }

// SetLinks names the interfaces that List looks at.
func (t *Table) SetLinks(names []string) { t.addresses.SetLinks(names) }

// Tags reports whether a listing has shown that the kernel keeps tags: a takeover
// need not wait for one then.
func (t *Table) Tags() bool { return t.addresses.Tags() }

type (
	change    = director.Change[director.AddrKey, director.AddrSpec]
	addresses = map[director.AddrKey]director.AddrSpec
)

// List returns the addresses. What it finds wrong it puts right: an interface of
// ours that is up without an address is set down, and the addresses of one that
// is down are taken away, as the kernel still answers for them to those whom they
// reach another way.
func (t *Table) List(ctx context.Context) (map[director.AddrKey]director.AddrSpec, error) {
	list, err := t.addresses.List(ctx)
	if err != nil {
		return nil, err
	}
	ready, _ := t.keeper.usable()
	if len(ready) == 0 {
		return list, nil
	}
	return list, t.settle(ctx, list, ready)
}

// settle does for List what goes beyond listing.
func (t *Table) settle(ctx context.Context, list addresses, ready map[string]int) error {
	t.mu.Lock()
	found, err := states(ctx, t.socket, slices.Sorted(maps.Values(ready)))
	t.mu.Unlock()
	if err != nil {
		return err
	}
	holds := make(map[string]bool)
	var strays []change
	for key, spec := range list {
		holds[key.Link] = true
		if d, ok := found[ready[key.Link]]; ok && !d.Up {
			strays = append(strays, change{Op: director.Delete, Key: key, Old: spec})
			delete(list, key)
		}
	}
	var left []int
	bare := make(map[int][6]byte) // still veiled: whoever was to change that was killed
	for name, index := range ready {
		d, ok := found[index]
		if ok && d.Up && !holds[name] {
			left = append(left, index)
		}
		if ok && d.HWAddr[0]&veiled != 0 {
			mac := d.HWAddr
			mac[0] &^= veiled
			bare[index] = mac
		}
	}
	if err := t.keeper.hoist.dress(ctx, bare); err != nil {
		return err
	}
	t.keeper.hoist.leave(left)
	if len(strays) == 0 {
		return nil
	}
	slices.SortFunc(strays, func(a, b change) int { return a.Key.Compare(b.Key) })
	return t.addresses.Apply(ctx, strays)
}

// Apply carries out the changes. An interface of ours is up before an address
// comes to it, and down when its last one has gone.
func (t *Table) Apply(ctx context.Context, changes []change) error {
	_, wanted := t.keeper.usable()
	if len(wanted) == 0 {
		return t.addresses.Apply(ctx, changes)
	}
	var names []string
	deletes := false
	six := make(map[string]bool) // get IPv6 addresses
	for _, c := range changes {
		switch {
		case !wanted[c.Key.Link]:
		case c.Op == director.Delete:
			deletes = true
		default:
			names = append(names, c.Key.Link)
			six[c.Key.Link] = six[c.Key.Link] || c.Key.Prefix.Addr().Is6()
		}
	}
	slices.Sort(names)
	bare := make(map[int][6]byte)
	failed := t.prepare(ctx, slices.Compact(names), six, bare)
	var errs []error
	rest := changes
	if len(failed) > 0 {
		rest = nil
		for _, c := range changes {
			if err := failed[c.Key.Link]; err != nil && c.Op != director.Delete {
				errs = append(errs, &director.ChangeError[director.AddrKey]{Op: c.Op, Key: c.Key, Err: err})
			} else {
				rest = append(rest, c)
			}
		}
	}
	if len(rest) > 0 {
		errs = append(errs, t.addresses.Apply(ctx, rest))
	}
	errs = append(errs, t.keeper.hoist.dress(ctx, bare))
	if deletes {
		_, err := t.List(ctx)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// prepare makes interfaces of ours ready for addresses, and returns what went
// wrong by name. Of those in six that were down it says in bare which hardware
// address they are to get when the addresses are in place.
func (t *Table) prepare(ctx context.Context, names []string, six map[string]bool, bare map[int][6]byte) map[string]error {
	failed := make(map[string]error)
	// Once more for those that were removed since the Keeper looked.
	for range 2 {
		names = t.lift(ctx, names, six, bare, failed)
		if len(names) == 0 {
			return failed
		}
		_ = t.keeper.Check(ctx) // it has logged its error, and why tells it
	}
	for _, name := range t.lift(ctx, names, six, bare, failed) {
		failed[name] = fmt.Errorf("set up the interface: %w", t.keeper.why(name))
	}
	return failed
}

// lift sets interfaces up and returns those that it does not find.
func (t *Table) lift(ctx context.Context, names []string, six map[string]bool, bare map[int][6]byte, failed map[string]error) (absent []string) {
	if len(names) == 0 {
		return nil
	}
	ready, _ := t.keeper.usable()
	var there []string
	var indices []int
	for _, name := range names {
		if index, ok := ready[name]; ok {
			there, indices = append(there, name), append(indices, index)
		} else {
			absent = append(absent, name)
		}
	}
	for i, err := range t.keeper.hoist.up(ctx, indices, t.veils(ctx, there, indices, six, bare)) {
		switch {
		case errors.Is(err, unix.ENODEV):
			absent = append(absent, there[i])
		case err != nil:
			failed[there[i]] = fmt.Errorf("set the interface up: %w", err)
		}
	}
	return absent
}

// veils returns the hardware addresses that interfaces are to have while IPv6
// addresses come to them, and notes in bare which they have otherwise. Those that are
// up stay as they are.
func (t *Table) veils(ctx context.Context, names []string, indices []int, six map[string]bool, bare map[int][6]byte) map[int][6]byte {
	var look []int
	for i, name := range names {
		if six[name] {
			look = append(look, indices[i])
		}
	}
	if len(look) == 0 {
		return nil
	}
	t.mu.Lock()
	found, err := states(ctx, t.socket, look)
	t.mu.Unlock()
	if err != nil {
		return nil // setting it up will fail too, or a report comes too soon
	}
	dress := make(map[int][6]byte)
	for index, d := range found {
		if !d.Up {
			mac := d.HWAddr
			mac[0] &^= veiled
			bare[index], dress[index] = mac, veil(mac)
		}
	}
	return dress
}
