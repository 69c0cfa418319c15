package health

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// lab is a Monitor of servers that a test drives.
type lab struct {
	*Monitor
	log   bytes.Buffer // to be read when Run sleeps
	bells atomic.Int64
	rung  sync.Map // of Check: for which the bell rang

	mu      sync.Mutex
	dead    map[netip.AddrPort]error         // what probes of them return
	hang    map[netip.AddrPort]time.Duration // how long probes of them take, or until the timeout
	says    map[netip.AddrPort]Answer
	begins  map[netip.AddrPort][]time.Time
	flying  map[netip.AddrPort]int
	most    int // probes of one server at once
	mostAll int // probes at once
}

// start runs a Monitor until the test ends.
func start(t *testing.T, concurrency int) *lab {
	t.Helper()
	l := &lab{
		dead:   map[netip.AddrPort]error{},
		hang:   map[netip.AddrPort]time.Duration{},
		says:   map[netip.AddrPort]Answer{},
		begins: map[netip.AddrPort][]time.Time{},
		flying: map[netip.AddrPort]int{},
	}
	l.Monitor = New(Options{
		Log:         slog.New(slog.NewTextHandler(&l.log, nil)),
		Bell:        func(c Check) { l.bells.Add(1); l.rung.Store(c, true) },
		Concurrency: concurrency,
		Probers: map[Type]Prober{TypeTCP: func(c Check) (Probe, error) {
			if c.Target.Port() == 0 {
				return nil, errors.New("no port")
			}
			return func(ctx context.Context) (Answer, error) { return l.probe(ctx, c.Target) }, nil
		}},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if n := l.now(); n != 0 {
			t.Errorf("Run returned with %d probes in flight", n)
		}
	})
	return l
}

// now returns the number of probes in flight.
func (l *lab) now() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.flying {
		n += f
	}
	return n
}

func (l *lab) probe(ctx context.Context, target netip.AddrPort) (Answer, error) {
	l.mu.Lock()
	l.begins[target] = append(l.begins[target], time.Now())
	l.flying[target]++
	l.most = max(l.most, l.flying[target])
	all := 0
	for _, n := range l.flying {
		all += n
	}
	l.mostAll = max(l.mostAll, all)
	err, hang, answer := l.dead[target], l.hang[target], l.says[target]
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.flying[target]--
	}()
	if hang > 0 {
		select {
		case <-ctx.Done():
			return Answer{}, ctx.Err()
		case <-time.After(hang):
		}
	}
	return answer, err
}

func (l *lab) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

func (l *lab) probes(target netip.AddrPort) []time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.begins[target])
}

// until waits for a state of c and returns how long that took.
func (l *lab) until(t *testing.T, c Check, state State) time.Duration {
	t.Helper()
	begin := time.Now()
	for l.Lookup(c).State != state {
		if time.Since(begin) > time.Hour {
			t.Fatalf("%v is not %v within an hour: %+v", c.Target, state, l.Lookup(c))
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
	}
	return time.Since(begin)
}

func tcp(n int) Check {
	return Check{
		Type:   TypeTCP,
		Target: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 80),
		// A prime number of milliseconds: the phases of test and probes differ.
		Interval: 997 * time.Millisecond, Timeout: 400 * time.Millisecond, Rise: 2, Fall: 3,
	}
}

var errRefused = errors.New("connect: connection refused")
