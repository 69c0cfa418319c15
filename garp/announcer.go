package garp

import (
	"context"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"
)

const (
	// burst is how many announcements are made before Run looks again whether
	// it is to end or whether other claims were set.
	burst = 64
	// breath is how long it then rests, unless there is a target that was never
	// announced: the repetitions for hundreds of addresses must neither keep a
	// single processor from the election nor flood the link.
	breath = time.Millisecond
)

// Options are what an Announcer needs.
type Options struct {
	Log *slog.Logger // nil: none
}

// Announcer announces addresses as their schedules demand.
type Announcer struct {
	log   *slog.Logger
	links links
	bell  chan struct{} // capacity 1: pending holds something new

	mu      sync.Mutex
	pending map[Target]Claim // nil: nothing new
	ready   []string         // links to have a socket on, claims or not; never written
	status  Status           // Targets holds every claimed target
}

// Status is what an Announcer has done since it was made.
type Status struct {
	Frames  uint64 // sent
	Errors  uint64 // announcements that failed
	Targets map[Target]TargetStatus
}

// TargetStatus is what was done for one claimed target since it was claimed or
// its Epoch last changed.
type TargetStatus struct {
	Epoch  uint64
	Frames uint64    // sent
	Errors uint64    // announcements that failed
	Last   time.Time // of the last announcement that succeeded; zero: none
	Err    error     // of the last announcement; nil if it succeeded
}

// New returns an Announcer that has nothing to announce.
func New(opts Options) *Announcer {
	log := opts.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Announcer{
		log:    log,
		links:  kernel{},
		bell:   make(chan struct{}, 1),
		status: Status{Targets: map[Target]TargetStatus{}},
	}
}

// Prepare names the links on which there may be something to announce, in place of
// those named before: their sockets are open when it comes. It does not block.
func (a *Announcer) Prepare(links []string) {
	a.mu.Lock()
	a.ready = slices.Clone(links)
	a.mu.Unlock()
	a.wake()
}

// Set makes claims everything that is to be announced, in place of what was set
// before. It does not block and does not keep the map. Claims of what can be no
// host's address are not carried out; their status says so.
func (a *Announcer) Set(claims map[Target]Claim) {
	claims = maps.Clone(claims)
	if claims == nil {
		claims = map[Target]Claim{}
	}
	a.mu.Lock()
	for target := range a.status.Targets {
		if _, ok := claims[target]; !ok {
			delete(a.status.Targets, target)
		}
	}
	for target, claim := range claims {
		err := supported(target.Address)
		if st, ok := a.status.Targets[target]; !ok || st.Epoch != claim.Epoch {
			a.status.Targets[target] = TargetStatus{Epoch: claim.Epoch, Err: err}
		}
		if err != nil {
			delete(claims, target)
		}
	}
	a.pending = claims
	a.mu.Unlock()
	a.wake()
	// Run is next on this processor, and sends before the caller goes on.
	runtime.Gosched()
}

func (a *Announcer) wake() {
	select {
	case a.bell <- struct{}{}:
	default:
	}
}

// Status returns a copy of the counters.
func (a *Announcer) Status() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.status
	s.Targets = maps.Clone(s.Targets)
	return s
}

// Run announces until ctx ends, then closes its sockets and returns nil. It
// works in the network namespace of the thread that it runs on.
func (a *Announcer) Run(ctx context.Context) error {
	var plan Plan
	ports := ports{links: a.links, open: map[string]*port{}}
	defer ports.retain(nil, nil)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		claims, ready, ok := a.take()
		if ok {
			plan.Set(now, claims)
			ports.retain(claims, ready)
		}
		more := a.announce(now, &plan, &ports)
		if ctx.Err() != nil {
			return nil
		}
		var due <-chan time.Time
		if more && plan.Urgent() {
			continue
		}
		ports.prepare(ready)
		if more {
			timer.Reset(breath)
			due = timer.C
		} else if deadline := plan.Deadline(); !deadline.IsZero() {
			timer.Reset(time.Until(deadline))
			due = timer.C
		}
		select {
		case <-ctx.Done():
			return nil
		case <-a.bell:
		case <-due:
		}
	}
}

// take returns the claims set since it was last called, if any, and the links to be
// ready on.
func (a *Announcer) take() (claims map[Target]Claim, ready []string, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	claims = a.pending
	a.pending = nil
	return claims, a.ready, claims != nil
}

// announce makes the announcements that are due, at most burst of them but for
// those that fail, and reports whether it stopped for that.
func (a *Announcer) announce(now time.Time, plan *Plan, ports *ports) (more bool) {
	ports.refresh()
	for left := burst; left > 0; {
		target, ok := plan.Next(now)
		if !ok {
			return false
		}
		frames, err := ports.announce(now, target)
		if err != nil {
			plan.Failed(now, target)
		} else {
			plan.Sent(now, target)
			left--
		}
		a.count(now, target, frames, err)
		ports.report(a.log, target, err)
	}
	return true
}

// count adds the outcome of one announcement to the status.
func (a *Announcer) count(now time.Time, target Target, frames int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status.Frames += uint64(frames)
	if err != nil {
		a.status.Errors++
	}
	st, ok := a.status.Targets[target]
	if !ok {
		return // not claimed any more
	}
	st.Frames += uint64(frames)
	st.Err = err
	if err != nil {
		st.Errors++
	} else {
		st.Last = now
	}
	a.status.Targets[target] = st
}
