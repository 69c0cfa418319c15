package ipvs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

var (
	_ director.Balancer = (*Table)(nil)
	_ director.Counter  = (*Table)(nil)
)

// Table is the IPVS table of the network namespace of the process. Its methods
// may be called from any goroutine. Those that read the whole table take turns,
// so do those that read one service, and those that write, each on a socket of
// their own: a long listing holds up no change, and no look at what drains.
type Table struct {
	system  system
	reads   line // the whole table
	counts  line // one service
	writes  line
	library *library

	mu     sync.Mutex
	probed bool // modprobe was tried
	size   int  // entries that were last listed
}

// line is a socket and whose turn it is.
type line struct {
	turn   chan struct{} // holds a token while nobody uses the rest
	kernel kernel        // nil: to be opened
	closed bool
}

func (l *line) end() { l.turn <- struct{}{} }

func (l *line) drop() {
	if l.kernel != nil {
		_ = l.kernel.Close() // nothing is written that could be lost
		l.kernel = nil
	}
}

// New returns a Table that opens nothing until it is first used.
func New() *Table { return newTable(linux()) }

func newTable(s system) *Table {
	t := &Table{system: s, library: shared}
	for _, l := range []*line{&t.reads, &t.counts, &t.writes} {
		l.turn = make(chan struct{}, 1)
		l.end()
	}
	return t
}

// Preflight reports whether the kernel can balance, after trying once to load
// ip_vs.
func (t *Table) Preflight() error {
	_, err := t.family(context.Background())
	return err
}

// family returns the number of IPVS in the kernel.
func (t *Table) family(ctx context.Context) (id uint16, err error) {
	err = t.use(ctx, &t.reads, func(kernel) error {
		k, err := t.open(ctx) // the socket in use may be older than the module
		if err != nil {
			return err
		}
		id = k.Family()
		return k.Close()
	})
	return id, err
}

// Close gives the sockets back. Calls after it fail with [ErrClosed].
func (t *Table) Close() {
	for _, l := range []*line{&t.reads, &t.counts, &t.writes} {
		<-l.turn
		l.closed = true
		l.drop()
		l.end()
	}
}

// List returns every service and server, whosever they are.
func (t *Table) List(ctx context.Context) (map[director.Key]director.Spec, error) {
	var list map[director.Key]director.Spec
	t.mu.Lock()
	size := t.size
	t.mu.Unlock()
	err := t.use(ctx, &t.reads, func(k kernel) error {
		list = make(map[director.Key]director.Spec, size)
		return k.All(ctx, func(s *genl.Service, servers []genl.Destination) error {
			key, spec, err := decodeService(s)
			if err != nil {
				return err
			}
			list[director.Key{Service: key}] = director.Spec{Service: spec}
			for i := range servers {
				addr, spec, err := decodeServer(&servers[i])
				if err != nil {
					return err
				}
				list[director.Key{Service: key, Server: addr}] = director.Spec{Server: spec}
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list the IPVS table: %w", err)
	}
	t.mu.Lock()
	t.size = len(list)
	t.mu.Unlock()
	return list, nil
}

// Counters returns the connections of every server, whosever it is.
func (t *Table) Counters(ctx context.Context) (map[director.Key]director.Counters, error) {
	var counters map[director.Key]director.Counters
	err := t.use(ctx, &t.reads, func(k kernel) error {
		counters = map[director.Key]director.Counters{}
		return k.All(ctx, func(s *genl.Service, servers []genl.Destination) error {
			key, _, err := decodeService(s)
			if err != nil {
				return err
			}
			for i := range servers {
				d := &servers[i]
				counters[director.Key{Service: key, Server: netip.AddrPortFrom(d.Address, d.Port)}] = decodeCounters(d)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("count connections: %w", err)
	}
	return counters, nil
}

// Connections returns those of one service by server; none if the kernel does
// not have it.
func (t *Table) Connections(ctx context.Context, key director.ServiceKey) (map[netip.AddrPort]director.Counters, error) {
	counters := map[netip.AddrPort]director.Counters{}
	if !possible(key) {
		return counters, nil
	}
	var servers []genl.Destination
	err := t.use(ctx, &t.counts, func(k kernel) (err error) {
		servers, err = k.Destinations(ctx, ServiceID(key))
		return absent(err)
	})
	if err != nil {
		return nil, fmt.Errorf("count connections of %v: %w", key, err)
	}
	for i := range servers {
		d := &servers[i]
		counters[netip.AddrPortFrom(d.Address, d.Port)] = decodeCounters(d)
	}
	return counters, nil
}

// absent takes the errors away that say that there is no such thing.
func absent(err error) error {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// use waits for the turn and calls f with an open socket: again, if ip_vs was
// loaded again since it was opened.
func (t *Table) use(ctx context.Context, l *line, f func(kernel) error) error {
	select {
	case <-l.turn:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer l.end()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var err error
	for range 2 {
		if l.closed {
			return ErrClosed
		}
		if l.kernel == nil {
			if l.kernel, err = t.open(ctx); err != nil {
				return explain(err)
			}
		}
		if err = f(l.kernel); err == nil {
			return nil
		}
		if ctx.Err() == nil {
			// Whatever it is, a new socket has it behind it.
			l.drop()
		}
		if !errors.Is(err, ErrReloaded) && !errors.Is(err, ErrMissing) {
			break
		}
	}
	return explain(err)
}

// open opens a socket to the IPVS of the kernel, loading it if need be.
func (t *Table) open(ctx context.Context) (kernel, error) {
	k, err := t.system.open()
	if !errors.Is(err, ErrMissing) {
		return k, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var why error
	if !t.probed {
		t.probed = true
		why = t.system.modprobe(ctx)
	}
	k, err = t.system.open()
	if errors.Is(err, ErrMissing) && why != nil {
		return nil, fmt.Errorf("%w; modprobe: %w", err, why)
	}
	return k, err
}
