package garp

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"time"
)

// WatcherOptions are what a Watcher needs.
type WatcherOptions struct {
	Log  *slog.Logger // nil: none
	Bell func()       // called when what Conflicts returns has changed; must not block; nil: none
}

// Watcher finds out who else claims the addresses that this host holds: it
// listens to what is said of them, and asks from time to time.
type Watcher struct {
	log   *slog.Logger
	ring  func()
	ether ether
	bell  chan struct{} // capacity 1: Run has something to look at

	mu      sync.Mutex
	pending map[Target]Watch // nil: nothing new
	lookout lookout
	status  WatcherStatus
}

// WatcherStatus is what a Watcher has done since it was made.
type WatcherStatus struct {
	Claims  uint64           // of others, of watched addresses
	Surplus uint64           // of those, left out because one address has too many rivals
	Missed  uint64           // packets of interest not looked at, because there were too many
	Probes  uint64           // sent
	Errors  uint64           // probes that could not be sent
	Links   map[string]error // that cannot be watched at present
}

// NewWatcher returns a Watcher that watches nothing.
func NewWatcher(opts WatcherOptions) *Watcher {
	log, ring := opts.Log, opts.Bell
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if ring == nil {
		ring = func() {}
	}
	return &Watcher{
		log:     log,
		ring:    ring,
		ether:   kernel{},
		bell:    make(chan struct{}, 1),
		lookout: lookout{hw: map[string]MAC{}},
		status:  WatcherStatus{Links: map[string]error{}},
	}
}

// Set makes watches everything that is watched, in place of what was set before:
// the addresses that this host holds now. A Target that stays keeps its history.
// What can be no host's address is left out. Set does not block and does not keep
// the map.
func (w *Watcher) Set(watches map[Target]Watch) {
	watches = maps.Clone(watches)
	if watches == nil {
		watches = map[Target]Watch{}
	}
	w.mu.Lock()
	w.pending = watches
	w.mu.Unlock()
	w.wake()
}

// Conflicts returns the present conflicts, ordered by target and hardware address.
func (w *Watcher) Conflicts() []Conflict {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lookout.conflicts()
}

// Status returns a copy of the counters.
func (w *Watcher) Status() WatcherStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.status
	s.Links = maps.Clone(s.Links)
	return s
}

// Run watches until ctx ends, then closes its sockets, waits for the goroutines
// that read them and returns nil. It works in the network namespace of the thread
// that it runs on.
func (w *Watcher) Run(ctx context.Context) error {
	stations := stations{}
	defer w.tend(time.Now(), stations, nil)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		w.tend(now, stations, w.pass(now))
		more := w.probe(now, stations)
		var due <-chan time.Time
		if more {
			timer.Reset(breath)
			due = timer.C
		} else if deadline := w.deadline(stations); !deadline.IsZero() {
			timer.Reset(time.Until(deadline))
			due = timer.C
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.bell:
		case <-due:
		}
	}
}

// pass takes what was set and what has become due, tells of it, and returns what
// is to be listened for.
func (w *Watcher) pass(now time.Time) map[ear][]netip.Addr {
	w.mu.Lock()
	var over []Conflict
	if w.pending != nil {
		over = w.lookout.set(now, w.pending)
		w.pending = nil
	}
	begun, expired := w.lookout.pass(now)
	wanted := w.lookout.addresses()
	w.mu.Unlock()

	over = append(over, expired...)
	for _, c := range begun {
		w.log.Warn("address is claimed by somebody else too", c.attrs()...)
	}
	for _, c := range over {
		w.log.Info("address is not claimed by anybody else any more", append(c.attrs(), "claims", c.Count, "last", c.Last)...)
	}
	if len(begun)+len(over) > 0 {
		w.ring()
	}
	return wanted
}

// attrs returns what a log line says of c.
func (c Conflict) attrs() []any {
	attrs := []any{"link", c.Target.Link, "address", c.Target.Address, "mac", c.MAC}
	if c.Source.IsValid() {
		attrs = append(attrs, "source", c.Source)
	}
	return attrs
}

// probe sends the probes that are due, at most burst of them, and reports whether
// there are more.
func (w *Watcher) probe(now time.Time, stations stations) (more bool) {
	w.mu.Lock()
	targets := w.lookout.probes(now)
	w.mu.Unlock()
	more = len(targets) > burst
	for _, target := range targets[:min(len(targets), burst)] {
		err := stations.probe(now, target)
		w.mu.Lock()
		w.lookout.probed(now, target, err)
		if err == nil {
			w.status.Probes++
		} else if !errors.Is(err, errDeaf) {
			w.status.Errors++
		}
		w.mu.Unlock()
	}
	return more
}

// deadline is when Run has to look again; the zero time means never.
func (w *Watcher) deadline(stations stations) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return earliest(w.lookout.deadline(), stations.deadline())
}

// hear takes one frame.
func (w *Watcher) hear(now time.Time, link string, frame []byte) {
	s, ok := parse(frame)
	if !ok {
		return
	}
	w.mu.Lock()
	verdict := w.lookout.see(now, link, s)
	if verdict != nothing {
		w.status.Claims++
	}
	if verdict == surplus {
		w.status.Surplus++
	}
	w.mu.Unlock()
	if verdict == news {
		w.wake()
	}
}

// wake makes Run look again.
func (w *Watcher) wake() {
	select {
	case w.bell <- struct{}{}:
	default:
	}
}
