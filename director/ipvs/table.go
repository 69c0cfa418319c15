package ipvs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
)

var (
	_ director.Table[director.Key, director.Spec] = (*Table)(nil)
	_ director.Counter                            = (*Table)(nil)
)

type change = director.Change[director.Key, director.Spec]

// Table is the IPVS table of the network namespace of the process. Its methods
// may be called from any goroutine and take turns.
type Table struct {
	system system
	turn   chan struct{} // holds a token while nobody uses the rest
	stuck  atomic.Int32  // calls that were given up and have not ended

	kernel kernel // nil: to be opened
	family uint16 // that the library uses; 0: none yet
	probed bool   // modprobe was tried
	closed bool
}

// New returns a Table that opens nothing until it is first used.
func New() *Table { return newTable(linux()) }

func newTable(s system) *Table {
	t := &Table{system: s, turn: make(chan struct{}, 1)}
	t.turn <- struct{}{}
	return t
}

// Preflight reports whether the kernel can balance, after trying once to load
// ip_vs.
func (t *Table) Preflight() error {
	if err := t.begin(context.Background()); err != nil {
		return err
	}
	t.end()
	return nil
}

// Close gives the socket back. Calls after it fail with [ErrClosed].
func (t *Table) Close() {
	<-t.turn
	defer t.end()
	t.closed = true
	if t.kernel != nil {
		t.kernel.Close()
		t.kernel = nil
	}
}

// List returns every service and server, whosever they are.
func (t *Table) List(ctx context.Context) (map[director.Key]director.Spec, error) {
	list := map[director.Key]director.Spec{}
	err := t.walk(ctx, func(k director.ServiceKey, s director.ServiceSpec) {
		list[director.Key{Service: k}] = director.Spec{Service: s}
	}, func(k director.Key, s director.ServerSpec, _ *ipvs.Destination) {
		list[k] = director.Spec{Server: s}
	})
	if err != nil {
		return nil, fmt.Errorf("list the IPVS table: %w", err)
	}
	return list, nil
}

// Counters returns the connections of every server, whosever it is.
func (t *Table) Counters(ctx context.Context) (map[director.Key]director.Counters, error) {
	counters := map[director.Key]director.Counters{}
	err := t.walk(ctx, func(director.ServiceKey, director.ServiceSpec) {},
		func(k director.Key, _ director.ServerSpec, d *ipvs.Destination) {
			counters[k] = director.Counters{Active: d.ActiveConnections, Inactive: d.InactiveConnections}
		})
	if err != nil {
		return nil, fmt.Errorf("count connections: %w", err)
	}
	return counters, nil
}

// Apply carries out the changes in order. Creating what exists gives it the
// wanted content, updating what is absent creates it, deleting what is absent
// succeeds.
func (t *Table) Apply(ctx context.Context, changes []change) error {
	if len(changes) == 0 {
		return nil
	}
	if err := t.begin(ctx); err != nil {
		return fmt.Errorf("change the IPVS table: %w", err)
	}
	defer t.end()
	var errs []error
	for _, c := range changes {
		err := ctx.Err()
		if err == nil {
			err = t.apply(ctx, c)
		}
		if err != nil {
			errs = append(errs, &director.ChangeError[director.Key]{Op: c.Op, Key: c.Key, Err: err})
		}
	}
	return errors.Join(errs...)
}

func (t *Table) apply(ctx context.Context, c change) error {
	if c.Op == director.Delete && !possible(c.Key.Service) {
		return nil // a damaged ledger may name it
	}
	if err := check(c); err != nil {
		return err
	}
	if err := t.open(ctx); err != nil {
		return err
	}
	_, err := call(ctx, t, func(k kernel) (struct{}, error) {
		if c.Key.IsService() {
			return struct{}{}, applyService(k, c)
		}
		return struct{}{}, applyServer(k, c)
	})
	return explain(err)
}

func applyService(k kernel, c change) error {
	s := encodeService(c.Key.Service, c.New.Service)
	var err error
	switch c.Op {
	case director.Create:
		if err = k.NewService(s); errors.Is(err, unix.EEXIST) {
			err = k.UpdateService(s)
		}
	case director.Update:
		if err = k.UpdateService(s); errors.Is(err, unix.ESRCH) {
			err = k.NewService(s)
		}
	case director.Delete:
		return absent(k.DelService(s))
	default:
		return fmt.Errorf("%v is no operation", c.Op)
	}
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf(`the kernel has no scheduler %q: load it with "modprobe ip_vs_%[1]s": %w`, s.SchedName, err)
	}
	return err
}

func applyServer(k kernel, c change) error {
	s := encodeService(c.Key.Service, director.ServiceSpec{})
	d := encodeServer(c.Key, c.New.Server)
	var err error
	switch c.Op {
	case director.Create:
		if err = k.NewDestination(s, d); errors.Is(err, unix.EEXIST) {
			err = k.UpdateDestination(s, d)
		}
	case director.Update:
		if err = k.UpdateDestination(s, d); errors.Is(err, unix.ENOENT) {
			err = k.NewDestination(s, d)
		}
	case director.Delete:
		return absent(k.DelDestination(s, d))
	default:
		return fmt.Errorf("%v is no operation", c.Op)
	}
	if errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("its service does not exist: %w", err)
	}
	return err
}

// absent takes the errors away that say that there is nothing to delete.
func absent(err error) error {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// walk visits everything in the kernel's table. A service that goes away while
// it is looked at has no servers.
func (t *Table) walk(ctx context.Context,
	service func(director.ServiceKey, director.ServiceSpec),
	server func(director.Key, director.ServerSpec, *ipvs.Destination),
) error {
	if err := t.begin(ctx); err != nil {
		return err
	}
	defer t.end()
	services, err := call(ctx, t, func(k kernel) ([]*ipvs.Service, error) { return k.GetServices() })
	if err != nil {
		return explain(err)
	}
	if slices.Contains(services, nil) {
		return errors.New("the kernel sent something that is no service")
	}
	for _, s := range services {
		key, spec, err := decodeService(s)
		if err != nil {
			return err
		}
		service(key, spec)
		ref := encodeService(key, director.ServiceSpec{})
		servers, err := call(ctx, t, func(k kernel) ([]*ipvs.Destination, error) { return k.GetDestinations(ref) })
		if absent(err) != nil {
			return explain(err)
		}
		for _, d := range servers {
			if d == nil {
				return errors.New("the kernel sent something that is no server")
			}
			addr, spec, err := decodeServer(d)
			if err != nil {
				return err
			}
			server(director.Key{Service: key, Server: addr}, spec, d)
		}
	}
	return nil
}

// begin takes the turn and sees to it that there is a handle on a kernel with
// IPVS. Unless it fails, end must follow.
func (t *Table) begin(ctx context.Context) error {
	select {
	case <-t.turn:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	err := ctx.Err()
	if err == nil {
		err = t.preflight(ctx)
	}
	if err == nil {
		err = t.open(ctx)
	}
	if err != nil {
		t.end()
	}
	return err
}

func (t *Table) end() { t.turn <- struct{}{} }

// preflight makes sure that the kernel has IPVS, under the number that the
// library uses.
func (t *Table) preflight(ctx context.Context) error {
	id, err := ask(ctx, t, t.system.family, func(uint16) {})
	if errors.Is(err, unix.ENOENT) && !t.probed {
		t.probed = true
		_, why := ask(ctx, t, func() (struct{}, error) { return struct{}{}, t.system.modprobe(ctx) }, func(struct{}) {})
		if id, err = ask(ctx, t, t.system.family, func(uint16) {}); errors.Is(err, unix.ENOENT) && why != nil {
			return fmt.Errorf("%w; modprobe: %w", ErrMissing, why)
		}
	}
	switch {
	case errors.Is(err, unix.ENOENT):
		return ErrMissing
	case err != nil:
		return fmt.Errorf("look for IPVS in the kernel: %w", explain(err))
	case t.family == id:
		return nil
	}
	// The first time, or the module was loaded again. The library looks for
	// itself when the first handle is opened.
	if err := t.open(ctx); err != nil {
		return err
	}
	again, err := ask(ctx, t, t.system.family, func(uint16) {})
	if err != nil || again != id || t.stuck.Load() > 0 {
		return errors.Join(ErrReloaded, err)
	}
	t.system.adopt(id)
	t.family = id
	return nil
}

// open makes sure that there is a handle.
func (t *Table) open(ctx context.Context) error {
	if t.closed {
		return ErrClosed
	}
	if t.kernel != nil {
		return nil
	}
	k, err := ask(ctx, t, t.system.open, func(k kernel) { k.Close() })
	if err != nil {
		return explain(err)
	}
	t.kernel = k
	return nil
}
