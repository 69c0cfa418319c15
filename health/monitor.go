package health

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"
)

const (
	// defaultConcurrency is how many probes are in flight at most.
	defaultConcurrency = 256
	// maxSpread bounds the time over which the first probes are spread.
	maxSpread = time.Second
	// minInterval keeps a check that was not validated from being probed
	// without a pause.
	minInterval = 10 * time.Millisecond
)

// Options are what a Monitor needs.
type Options struct {
	Log         *slog.Logger    // nil: none
	Bell        func(Check)     // called without delay after a verdict or weight changed or a first result came; must not block; nil: none
	Probers     map[Type]Prober // called from Run alone; nil: those of this package
	Concurrency int             // probes in flight at most; 0: 256
}

// Monitor probes servers and keeps the verdicts.
type Monitor struct {
	log         *slog.Logger
	ring        func(Check)
	probers     map[Type]Prober
	concurrency int
	bell        chan struct{} // capacity 1: the set of checks changed

	mu     sync.RWMutex
	status map[Check]Status // of every check that was set
}

// New returns a Monitor without checks.
func New(opts Options) *Monitor {
	m := &Monitor{
		log:         opts.Log,
		ring:        opts.Bell,
		probers:     opts.Probers,
		concurrency: opts.Concurrency,
		bell:        make(chan struct{}, 1),
		status:      make(map[Check]Status),
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.ring == nil {
		m.ring = func(Check) {}
	}
	if m.probers == nil {
		m.probers = probers()
	}
	if m.concurrency <= 0 {
		m.concurrency = defaultConcurrency
	}
	return m
}

// Set makes checks everything that is probed. A check that was set before keeps
// its result; one that is missing is forgotten. It does not wait for a probe.
func (m *Monitor) Set(checks []Check) {
	now := time.Now()
	status := make(map[Check]Status, len(checks))
	m.mu.Lock()
	for _, c := range checks {
		if c.Type == TypeNone {
			continue
		}
		s, ok := m.status[c]
		if !ok {
			s = Status{Since: now}
		}
		status[c] = s
	}
	m.status = status
	m.mu.Unlock()
	select {
	case m.bell <- struct{}{}:
	default:
	}
}

// Lookup returns the verdict on c: Unknown if it was not set, and always Up if
// its type is TypeNone.
func (m *Monitor) Lookup(c Check) Status {
	if c.Type == TypeNone {
		return Status{State: Up}
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.status[c]
}

// Snapshot returns the verdicts on all checks that were set.
func (m *Monitor) Snapshot() map[Check]Status {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return maps.Clone(m.status)
}

// Run probes until ctx ends and returns nil when the last probe has ended.
func (m *Monitor) Run(ctx context.Context) error {
	s := schedule{
		monitor: m,
		watches: make(map[Check]*watch),
		results: make(chan result, m.concurrency),
	}
	var probes sync.WaitGroup
	defer probes.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	s.reconcile(time.Now())
	for {
		s.start(ctx, time.Now(), &probes)
		var due <-chan time.Time
		if deadline := s.deadline(); !deadline.IsZero() {
			timer.Reset(time.Until(deadline))
			due = timer.C
		}
		select {
		case <-ctx.Done():
			return nil
		case <-m.bell:
			s.reconcile(time.Now())
		case r := <-s.results:
			if ctx.Err() != nil {
				return nil // the probe was cut short
			}
			s.finish(r)
		case <-due:
		}
	}
}

// record enters the result of a probe and reports a change.
func (m *Monitor) record(r result) {
	c := r.watch.check
	m.mu.Lock()
	old, ok := m.status[c]
	if !ok { // forgotten in the meantime
		m.mu.Unlock()
		return
	}
	s := old.after(c, r.end, r.end.Sub(r.begin), r.answer, r.failure)
	m.status[c] = s
	m.mu.Unlock()

	if s.State != old.State {
		log := m.log.With("check", c.Type, "target", c.Target, "state", s.State, "was", old.State)
		if s.State == Down {
			log.Warn("server is down", "err", s.Err, "fails", s.Fails)
		} else {
			log.Info("server is up", "latency", s.Latency)
		}
	}
	if s.Weight != old.Weight {
		m.log.Debug("server says its weight", "check", c.Type, "target", c.Target, "weight", s.Weight, "was", old.Weight)
	}
	if s.Note != "" && old.Note == "" {
		m.log.Warn("server says no weight that can be read", "check", c.Type, "target", c.Target, "note", s.Note)
	}
	if s.State != old.State || s.Weight != old.Weight || old.Checked.IsZero() {
		m.ring(c)
	}
}
