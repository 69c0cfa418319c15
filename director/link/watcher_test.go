package link

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// kernel is a source whose subscriptions can be made to fail. Every dial
// returns the same state with a new subscription.
type kernel struct {
	mu       sync.Mutex
	states   map[string]State
	dials    int
	lists    int
	dialErr  error
	listErrs []error
	now      *subscription
}

type subscription struct {
	k      *kernel
	notify chan bool
	fail   chan error
	closed chan struct{}
	once   sync.Once
}

func (k *kernel) dial() (source, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dials++
	if k.dialErr != nil {
		return nil, k.dialErr
	}
	k.now = &subscription{k: k, notify: make(chan bool, 16), fail: make(chan error, 1), closed: make(chan struct{})}
	return k.now, nil
}

// set changes an interface; hint is whether the kernel notifies of it.
func (k *kernel) set(name string, s State, hint bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	next := make(map[string]State)
	maps.Copy(next, k.states)
	if next[name] = s; s.Index == 0 {
		delete(next, name)
	}
	k.states = next
	if hint {
		k.now.notify <- false
	}
}

func (s *subscription) wait(until time.Time) (bool, error) {
	select {
	case addresses := <-s.notify:
		return addresses, nil
	case err := <-s.fail:
		return false, err
	case <-s.closed:
		return false, os.ErrClosed
	case <-time.After(time.Until(until)):
		return false, nil
	}
}

func (s *subscription) list() (map[string]State, error) {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	s.k.lists++
	if len(s.k.listErrs) > 0 {
		err := s.k.listErrs[0]
		s.k.listErrs = s.k.listErrs[1:]
		return nil, err
	}
	return s.k.states, nil
}

func (s *subscription) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func eth(index int, up bool, addresses ...string) State {
	s := State{Index: index, Up: up}
	for _, a := range addresses {
		s.Addresses = append(s.Addresses, netip.MustParsePrefix(a))
	}
	return s
}

// start runs a Watcher over k inside a synctest bubble.
func start(t *testing.T, k *kernel) (w *Watcher, changed *int, log *strings.Builder) {
	t.Helper()
	log = new(strings.Builder)
	w = New(slog.New(slog.NewTextHandler(log, nil)))
	w.dial = k.dial
	changed = new(int)
	w.Changed = func() { *changed++ }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return w, changed, log
}

func TestWatchFollowsAnInterfaceThatComesGoesAndReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kernel{states: map[string]State{"lo": eth(1, true)}}
		k.listErrs = []error{errors.New("not yet")}
		w, _, _ := start(t, k)
		synctest.Wait()
		calls := make(chan State, 16)
		stop := w.Watch("eth0", func(s State) { calls <- s })
		if n := len(calls); n != 0 {
			t.Errorf("called %d times before anything was listed", n)
		}
		time.Sleep(firstPause)
		synctest.Wait()
		want := []State{{}}
		for _, s := range []State{eth(4, true, "192.0.2.1/24"), eth(4, false, "192.0.2.1/24"), {}, eth(9, true, "192.0.2.1/24")} {
			k.set("eth0", s, true)
			want = append(want, s)
			synctest.Wait()
		}
		k.set("lo", eth(1, false), true) // of no interest to this watch
		synctest.Wait()
		var got []State
		for range len(calls) {
			got = append(got, <-calls)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
		if s, ok := w.State("eth0"); !ok || s.Index != 9 {
			t.Errorf("State: %v, %v", s, ok)
		}
		if _, ok := w.State("eth7"); ok {
			t.Error("State knows an interface that does not exist")
		}

		var late []State
		w.Watch("eth0", func(s State) { late = append(late, s) })
		if diff := cmp.Diff([]State{eth(9, true, "192.0.2.1/24")}, late); diff != "" {
			t.Errorf("late watch: -want +got\n%s", diff)
		}

		stop()
		k.set("eth0", State{}, true)
		synctest.Wait()
		if len(calls) != 0 {
			t.Error("called after stop")
		}
	})
}

func TestChangedOnlyWhenSomethingMayHaveChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kernel{states: map[string]State{"eth0": eth(4, true)}}
		_, changed, _ := start(t, k)
		steps := []struct {
			name string
			do   func()
			want int
		}{
			{"first listing", func() {}, 1},
			{"the state of a link", func() { k.set("eth0", eth(4, false), true) }, 2},
			{"a notification without a change", func() { k.now.notify <- false }, 2},
			{"an address that is left out of the states", func() { k.now.notify <- true }, 3},
			{"a quiet minute", func() { time.Sleep(time.Minute) }, 3},
		}
		for _, step := range steps {
			step.do()
			synctest.Wait()
			if *changed != step.want {
				t.Errorf("%s: called %d times, want %d", step.name, *changed, step.want)
			}
		}
	})
}

func TestLostNotificationIsMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kernel{states: map[string]State{"eth0": eth(4, true)}}
		w, _, _ := start(t, k)
		synctest.Wait()
		k.set("eth0", eth(4, false), false)
		time.Sleep(resync)
		synctest.Wait()
		if s, _ := w.State("eth0"); s.Up {
			t.Error("still up after the resync")
		}
	})
}

func TestErrorsLeadToANewSubscriptionAndListing(t *testing.T) {
	boom := errors.New("boom")
	tests := []struct {
		name string
		make func(k *kernel)
	}{
		{"receive", func(k *kernel) { k.now.fail <- boom }},
		{"list", func(k *kernel) { k.listErrs = []error{boom, boom}; k.now.notify <- false }},
		{"dial", func(k *kernel) { k.dialErr = boom; k.now.fail <- boom }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := &kernel{states: map[string]State{"eth0": eth(4, true)}}
				w, changed, log := start(t, k)
				synctest.Wait()
				k.set("eth0", eth(4, false), false)
				tt.make(k)
				time.Sleep(time.Second)
				k.mu.Lock()
				k.dialErr = nil
				k.mu.Unlock()
				time.Sleep(time.Second)
				synctest.Wait()
				if s, ok := w.State("eth0"); !ok || s.Up {
					t.Errorf("state %v, %v", s, ok)
				}
				if *changed != 2 {
					t.Errorf("Changed called %d times, want 2", *changed)
				}
				if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
					t.Errorf("%d errors logged, want 1:\n%s", n, log)
				}
				if k.dials > 8 {
					t.Errorf("%d subscriptions: no pause between them", k.dials)
				}
			})
		})
	}
}
