package track

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if inside() {
		m.Run()
		return
	}
	goleak.VerifyTestMain(m)
}

// links stands for what follows the interfaces.
type links struct {
	mu      sync.Mutex
	watches map[string]func(exists, up bool)
	watched int
}

func (l *links) watch(name string, f func(exists, up bool)) func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watches[name] = f
	l.watched++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.watches, name)
	}
}

func (l *links) tell(name string, exists, up bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watches[name](exists, up)
}

// world is a Tracker in a synctest bubble, with everything around it.
type world struct {
	*Tracker
	links  *links
	bells  int
	log    lockedBuffer
	quorum map[string]bool
	runs   func(t Target, n int) (time.Duration, bool) // of a command, counted from 1
	mu     sync.Mutex
	ran    map[Argv]int
	atOnce map[Argv]int
	most   int
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newWorld() *world {
	w := &world{links: &links{watches: map[string]func(bool, bool){}}, quorum: map[string]bool{}, ran: map[Argv]int{}, atOnce: map[Argv]int{}}
	w.Tracker = New(Options{
		Log:   slog.New(slog.NewTextHandler(&w.log, nil)),
		Bell:  func() { w.mu.Lock(); w.bells++; w.mu.Unlock() },
		Links: w.links.watch,
		Quorum: func(name string) (ok, known bool) {
			w.mu.Lock()
			defer w.mu.Unlock()
			ok, known = w.quorum[name]
			return ok, known
		},
	})
	w.commands.runner = w.command
	return w
}

func (w *world) command(ctx context.Context, t Target, env []string) (bool, string) {
	w.mu.Lock()
	w.ran[t.Command]++
	w.atOnce[t.Command]++
	w.most = max(w.most, w.atOnce[t.Command])
	n := w.ran[t.Command]
	w.mu.Unlock()
	took, pass := w.runs(t, n)
	select {
	case <-ctx.Done():
	case <-time.After(min(took, t.Timeout)):
	}
	pass = pass && took <= t.Timeout
	w.mu.Lock()
	w.atOnce[t.Command]--
	w.mu.Unlock()
	return pass, strings.Join(env, " ")
}

// start runs the Tracker for as long as the test.
func (w *world) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func (w *world) count(t Target) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ran[t.Command]
}

func uplink(interval time.Duration) Target {
	return Target{Kind: Command, Command: Args("/bin/uplink"), Interval: interval, Timeout: time.Second, Rise: 2, Fall: 3}
}

func one(items ...Item) map[string][]Item { return map[string][]Item{"web": items} }

func TestInterfaceAndQuorum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.start(t)
		w.Set(one(Item{Target: Target{Kind: Interface, Name: "eth1"}}, Item{Target: Target{Kind: Service, Name: "http"}, Weight: -30}))
		synctest.Wait()
		if r := w.Lookup("web"); r.Fault || r.Adjust != 0 || !r.Pending {
			t.Errorf("at first: %+v", r)
		}
		w.links.tell("eth1", true, true)
		w.quorum["http"] = false
		w.Ring()
		synctest.Wait()
		if r := w.Lookup("web"); r.Fault || r.Adjust != -30 || r.Pending {
			t.Errorf("without quorum: %+v", r)
		}
		w.links.tell("eth1", true, false)
		if r := w.Lookup("web"); !r.Fault || r.Reason() != "interface eth1: down, or without carrier" {
			t.Errorf("without carrier: %+v", r)
		}
		w.links.tell("eth1", false, false)
		if r := w.Lookup("web"); !r.Fault || r.Items[0].Reason != "there is no such interface" {
			t.Errorf("gone: %+v", r)
		}
		w.links.tell("eth1", true, true)
		w.mu.Lock()
		w.quorum["http"] = true // and nobody rings
		w.mu.Unlock()
		time.Sleep(serviceResync)
		synctest.Wait()
		if r := w.Lookup("web"); r.Fault || r.Adjust != 0 {
			t.Errorf("all well again: %+v", r)
		}
		if r := w.Lookup("other"); r.Fault || r.Pending || r.Items != nil {
			t.Errorf("unknown router: %+v", r)
		}
		synctest.Wait()
		want := []string{
			`level=INFO msg="track passes" track="interface eth1" vrrp=web state=pass was=unknown effect=fault`,
			`level=WARN msg="track fails" track="quorum of service http" vrrp=web state=fail was=unknown effect="weight -30" adjust=-30 reason="it has lost its quorum"`,
			`level=WARN msg="track fails" track="interface eth1"`,
			`level=INFO msg="track passes" track="interface eth1"`,
			`level=INFO msg="track passes" track="quorum of service http"`,
		}
		if lines := strings.Split(strings.TrimSpace(w.log.String()), "\n"); len(lines) != len(want) {
			t.Errorf("%d lines of log, want %d:\n%s", len(lines), len(want), w.log.String())
		}
		for _, line := range want {
			if !strings.Contains(w.log.String(), line) {
				t.Errorf("the log does not have %s:\n%s", line, w.log.String())
			}
		}
	})
}

func TestCommandIsCountedAndNeverOverlaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		results := "+--+---+-++"
		w.runs = func(_ Target, n int) (time.Duration, bool) {
			return 300 * time.Millisecond, results[min(n, len(results))-1] == '+'
		}
		w.start(t)
		target := uplink(2 * time.Second)
		w.Set(map[string][]Item{"web": {{Target: target}}, "lan": {{Target: target, Weight: 10}}})
		var got strings.Builder
		for range len(results) {
			time.Sleep(time.Second)
			synctest.Wait()
			web, lan := w.Lookup("web"), w.Lookup("lan")
			if web.Fault != (lan.Adjust == 0) {
				t.Errorf("web %+v, lan %+v", web, lan)
			}
			got.WriteString(map[bool]string{false: "P", true: "F"}[web.Fault])
			time.Sleep(time.Second)
		}
		if want := "PPPPPPFFFFP"; got.String() != want {
			t.Errorf("%s, want %s", got.String(), want)
		}
		synctest.Wait()
		if w.most != 1 || w.count(target) < len(results) || w.count(target) > len(results)+1 {
			t.Errorf("%d runs at once, %d in all", w.most, w.count(target))
		}
		if r := w.Lookup("web").Items[0].Reason; !strings.Contains(r, "UNDERSTUDY_VRRP=lan\nweb") || !strings.Contains(r, "UNDERSTUDY_STATE=") {
			t.Errorf("environment %q", r)
		}
	})
}

func TestTimeoutIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.runs = func(Target, int) (time.Duration, bool) { return time.Hour, true }
		w.start(t)
		w.Set(one(Item{Target: uplink(2 * time.Second)}))
		time.Sleep(time.Second - 1)
		synctest.Wait()
		if r := w.Lookup("web"); r.Fault || !r.Pending {
			t.Errorf("before the timeout: %+v", r)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if r := w.Lookup("web"); !r.Fault || r.Pending {
			t.Errorf("after it: %+v", r)
		}
	})
}

// TestReload changes everything about tracks but what they look at: nothing may
// come of it until the next result.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		pass := false
		w.runs = func(Target, int) (time.Duration, bool) { return 100 * time.Millisecond, pass }
		w.start(t)
		eth1 := Item{Target: Target{Kind: Interface, Name: "eth1"}, Weight: 20}
		w.Set(one(Item{Target: uplink(2 * time.Second)}, eth1))
		time.Sleep(time.Second)
		synctest.Wait()
		w.links.tell("eth1", true, true)
		since := w.Lookup("web").Items[0].Since
		check := func(what string) {
			t.Helper()
			synctest.Wait()
			r := w.Lookup("web")
			if !r.Fault || r.Pending || r.Adjust != 20 || !r.Items[0].Since.Equal(since) {
				t.Errorf("%s: %+v", what, r)
			}
		}
		check("at first")
		runs := w.count(uplink(0))
		w.Set(one(Item{Target: uplink(2 * time.Second)}, eth1))
		check("nothing changed")
		if n := w.count(uplink(0)); n != runs {
			t.Errorf("an unchanged command was run at once, %d times after %d", n, runs)
		}
		w.Set(map[string][]Item{"web": {{Target: uplink(3 * time.Second)}, eth1}, "lan": {eth1}})
		check("another interval")
		if w.links.watched != 1 {
			t.Errorf("watched %d times", w.links.watched)
		}
		time.Sleep(time.Second)
		check("and its first result")
		if w.most != 1 {
			t.Errorf("%d runs at once", w.most)
		}
		w.Set(nil)
		synctest.Wait()
		if n := len(w.links.watches); n != 0 {
			t.Errorf("%d interfaces are still watched", n)
		}
		runs = w.count(uplink(0))
		time.Sleep(time.Minute)
		if n := w.count(uplink(0)); n != runs {
			t.Errorf("a command that is no longer set ran %d times", n-runs)
		}
		if r := w.Lookup("web"); r.Fault {
			t.Errorf("nothing is tracked: %+v", r)
		}
	})
}

func TestABlockedLogHoldsUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.start(t)
		w.Set(one(Item{Target: Target{Kind: Interface, Name: "eth1"}}))
		synctest.Wait()
		w.log.mu.Lock() // nobody reads the log
		for n := range 3 * journalSize {
			up := n%2 == 0
			w.links.tell("eth1", true, up)
			if r := w.Lookup("web"); r.Fault == up {
				t.Fatalf("%d: %+v", n, r)
			}
		}
		w.log.mu.Unlock()
		synctest.Wait()
		w.links.tell("eth1", true, true)
		synctest.Wait()
		if !strings.Contains(w.log.String(), "records are lost") {
			t.Error("the log does not say that records are lost")
		}
	})
}

// fakeFeed is a feed of the kernel that a test writes.
type fakeFeed[E any] struct {
	news   chan heard[E]
	closed chan struct{}
	once   sync.Once
}

func newFakeFeed[E any]() *fakeFeed[E] {
	return &fakeFeed[E]{news: make(chan heard[E], 16), closed: make(chan struct{})}
}

func (f *fakeFeed[E]) next() ([]E, error) {
	select {
	case h := <-f.news:
		return h.news, h.err
	case <-f.closed:
		return nil, context.Canceled
	}
}

func (f *fakeFeed[E]) Close() error {
	f.once.Do(func() { close(f.closed) })
	return nil
}
