package director

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/health"
)

// Balancer is the kernel's IPVS table.
type Balancer interface {
	Table[Key, Spec]
	// Connections counts those of the servers of one service.
	Connections(ctx context.Context, k ServiceKey) (map[netip.AddrPort]Counters, error)
}

// entryLane keeps the IPVS table in shape.
//
// The table is listed at the start, in doubt (after anything that failed), and
// from time to time, beside the work. In between, what the kernel was left with
// stands for what it holds, so that a verdict on one server is looked at, and
// written, alone.
//
// The goroutine of run owns everything but the bell and what mu guards, which
// it alone changes.
type entryLane struct {
	table    Balancer
	ledger   owned[ServiceKey]
	reserved map[ServiceKey]bool // not ours, whatever the mode
	resync   time.Duration
	log      *slog.Logger
	report   report[Key, Spec]
	quorums  func() // to be called when one has changed; may be nil
	circumstances

	bell     chan struct{}
	listings chan listing
	listing  bool                // one is under way
	touched  map[ServiceKey]bool // changed since it began
	unsure   bool                // a change has failed since it began: whether it shows that, nobody knows
	skipped  bool                // a service was deleted since it began: it may have passed over others
	blind    error               // why the table could not be listed when that was last tried
	due      time.Time           // when to list again; zero: nothing is planned after the listing under way
	backoff  time.Duration

	uncounted time.Time // connections are not counted before

	mu     sync.Mutex
	hints  hints
	next   *Config // to be taken over; nil: none
	roster *roster
	have   holdings // nil: not known
	failed map[Key]error
	lane   LaneStatus
	loaded bool // since it began, the table was as it should be once
}

// listing is the outcome of a look at the whole table.
type listing struct {
	have holdings
	took time.Duration
	err  error
}

// hints say where something may have changed. One that is lost costs the time
// until the next listing.
type hints struct {
	all    bool
	checks []health.Check
	names  []string
	wait   []waiter
}

// waiter is told the outcome of the next pass for a service.
type waiter struct {
	service string
	done    chan<- error
}

// maxHints bounds the hints; where there are more, everything is looked at.
const maxHints = 4096

// listShare bounds the time that is spent on looking at a table in which
// nothing happens: a fiftieth.
const listShare = 50

// countShare bounds the time that is spent on counting the connections of what
// drains, likewise: a twentieth.
const countShare = 20

func newEntryLane(o Options, log *slog.Logger) *entryLane {
	return &entryLane{
		table:         o.IPVS,
		ledger:        owned[ServiceKey]{ledger: o.ServiceLedger, compare: ServiceKey.Compare},
		resync:        o.Resync,
		log:           log,
		report:        report[Key, Spec]{log: log},
		circumstances: circumstances{health: o.Health, order: o.Orders},
		bell:          make(chan struct{}, 1),
		reserved:      o.Reserved,
		quorums:       o.QuorumChanged,
		listings:      make(chan listing, 1),
	}
}

func (l *entryLane) ring() {
	select {
	case l.bell <- struct{}{}:
	default:
	}
}

// hint adds to the hints and rings.
func (l *entryLane) hint(add func(*hints)) {
	l.mu.Lock()
	add(&l.hints)
	if len(l.hints.checks) > maxHints || len(l.hints.names) > maxHints {
		l.hints.all, l.hints.checks, l.hints.names = true, nil, nil
	}
	l.mu.Unlock()
	l.ring()
}

// set makes config the one to obey.
func (l *entryLane) set(config *Config) {
	l.mu.Lock()
	l.next = config
	l.mu.Unlock()
	l.ring()
}

// attend has a service looked at and waits until the kernel holds what it
// should, as far as one pass can do that.
func (l *entryLane) attend(ctx context.Context, service string) error {
	done := make(chan error, 1)
	l.hint(func(h *hints) {
		h.names = append(h.names, service)
		h.wait = append(h.wait, waiter{service, done})
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("wait for the IPVS table: %w", context.Cause(ctx))
	}
}

func (l *entryLane) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // before waiting for a listing under way
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var listed *listing
		select {
		case <-ctx.Done():
			return
		case <-l.bell:
		case <-timer.C:
		case got := <-l.listings:
			listed = &got
		}
		if ctx.Err() != nil {
			return
		}
		l.pass(ctx, listed)
		now := time.Now()
		if l.wantsListing(now) {
			l.begin(ctx, &wg)
		}
		timer.Reset(max(l.wake(now).Sub(now), 0))
	}
}

// wantsListing reports whether the table should be listed beside the work.
func (l *entryLane) wantsListing(now time.Time) bool {
	return !l.listing && l.have != nil && l.roster != nil && !now.Before(l.due)
}

// begin lists the table in a goroutine of its own.
func (l *entryLane) begin(ctx context.Context, wg *sync.WaitGroup) {
	l.listing, l.touched, l.unsure, l.skipped, l.due = true, map[ServiceKey]bool{}, false, false, time.Time{}
	wg.Go(func() { l.listings <- l.list(ctx) })
}

func (l *entryLane) list(ctx context.Context) listing {
	if l.table == nil {
		return listing{err: errNoTable}
	}
	began := time.Now()
	have, err := l.table.List(ctx)
	if err != nil {
		return listing{err: err}
	}
	return listing{have: gather(have), took: time.Since(began)}
}

// wake returns when to look again though nobody rings.
func (l *entryLane) wake(now time.Time) time.Time {
	if l.roster == nil || !l.active() {
		return now.Add(l.resync)
	}
	if l.have == nil {
		return now.Add(max(l.backoff, firstRetry))
	}
	at := l.due
	if l.listing {
		at = now.Add(l.resync)
	}
	for _, p := range l.roster.pools {
		if !p.next.IsZero() && p.next.Before(at) {
			at = p.next
		}
	}
	if l.backoff > 0 && now.Add(l.backoff).Before(at) {
		at = now.Add(l.backoff)
	}
	return at
}
