package link

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"
)

const (
	// resync bounds how long a change without a notification goes unseen.
	resync = 5 * time.Second
	// The pause after an error doubles from the first to the last.
	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second
)

// source is the kernel, seen through one subscription.
type source interface {
	// wait returns when the kernel has notified of a change, or at until; and
	// whether any of it was about an address. An error ends the subscription.
	wait(until time.Time) (addresses bool, err error)
	// list returns the state of every interface by name.
	list() (map[string]State, error)
	Close() error
}

// Watcher keeps the State of every interface of the network namespace in which
// Run is called.
type Watcher struct {
	// Changed, if set, is called from Run whenever an address or an interface
	// may have changed, our own addresses included. It must not block. Set it
	// before Run.
	Changed func()

	log  *slog.Logger
	dial func() (source, error)

	mu      sync.Mutex
	states  map[string]State
	watches map[*watch]struct{}
}

type watch struct {
	name string
	f    func(State)
}

// New returns a Watcher that knows of no interface until Run has listed them.
func New(log *slog.Logger) *Watcher {
	return &Watcher{log: log, dial: dial, watches: make(map[*watch]struct{})}
}

// State returns the last known state of the interface called name, and false
// if there is none, or if Run has not listed the interfaces yet.
func (w *Watcher) State(name string) (State, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, ok := w.states[name]
	return s, ok
}

// Watch calls f with the state of the interface called name, at once (unless
// Run has not listed the interfaces yet) and then after every change, with the
// zero State while there is no such interface. Calls of f come one at a time
// and in order; f must neither block nor call the Watcher. When stop has
// returned, f is not called any more.
func (w *Watcher) Watch(name string, f func(State)) (stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	one := &watch{name: name, f: f}
	w.watches[one] = struct{}{}
	if w.states != nil {
		f(w.states[name])
	}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.watches, one)
	}
}

// Run follows the interfaces until ctx is done, then returns nil. It survives
// every error of the kernel interface by subscribing and listing again.
func (w *Watcher) Run(ctx context.Context) error {
	pause, last := firstPause, ""
	for {
		start := time.Now()
		err := w.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(start) > lastPause {
			pause, last = firstPause, ""
		}
		if text := err.Error(); text != last {
			w.log.Error("interfaces cannot be followed, trying again", "err", err)
			last = text
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
}

// follow uses one subscription until it fails or ctx is done.
func (w *Watcher) follow(ctx context.Context) error {
	src, err := w.dial()
	if err != nil {
		return err
	}
	defer src.Close()
	// Closing is what interrupts a wait.
	defer context.AfterFunc(ctx, func() { src.Close() })()

	addresses := true // nobody knows what changed before the subscription
	for {
		states, err := src.list()
		if err != nil {
			return err
		}
		if changed := w.update(states); (changed || addresses) && w.Changed != nil {
			w.Changed()
		}
		if addresses, err = src.wait(time.Now().Add(resync)); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("follow interfaces: %w", ctx.Err())
		}
	}
}

// update replaces the states and tells those who watch one that differs.
func (w *Watcher) update(states map[string]State) (changed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	first := w.states == nil
	before := w.states
	w.states = states
	for one := range w.watches {
		if s := states[one.name]; first || !s.Equal(before[one.name]) {
			one.f(s)
		}
	}
	return first || !maps.EqualFunc(before, states, State.Equal)
}
