package notify

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sink is a target in memory.
type sink struct {
	mu     sync.Mutex
	got    []string
	under  int
	took   time.Duration // of each delivery
	err    error
	hang   bool // until the context ends
	closed int
}

func (s *sink) send(ctx context.Context, e Event, _ func(error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.under++; s.under > 1 {
		panic("two deliveries at once")
	}
	took, hang, err := s.took, s.hang, s.err
	s.mu.Unlock()
	switch {
	case hang:
		<-ctx.Done()
		err = ctx.Err()
	case !pause(ctx, took):
		err = ctx.Err()
	}
	s.mu.Lock()
	s.under--
	if err == nil {
		s.got = append(s.got, fmt.Sprintf("%s %s>%s", e.Name, e.From, e.To))
	}
	return err
}

func (s *sink) close() { s.closed++ }

func (s *sink) lines() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.got, ", ")
}

// stage is a Notifier whose targets are sinks.
type stage struct {
	*Notifier
	sinks map[string]*sink // by path of the pipe
	end   func()           // ends Run and waits for it
}

// newStage returns one that runs. Targets are named like pipes.
func newStage(t *testing.T, run bool, prepared map[string]*sink) *stage {
	t.Helper()
	s := &stage{Notifier: New(Options{}), sinks: map[string]*sink{}}
	s.newSender = func(target Target) sender {
		k := prepared[target.FIFO]
		if k == nil {
			k = &sink{}
		}
		s.sinks[target.FIFO] = k
		return k
	}
	if run {
		s.run(t)
	}
	return s
}

func (s *stage) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	s.end = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
	t.Cleanup(s.end)
}

func (s *stage) expect(t *testing.T, name, want string) {
	t.Helper()
	synctest.Wait()
	if got := s.sinks[name].lines(); got != want {
		t.Errorf("%s got %q, want %q", name, got, want)
	}
}

func router(name string) Subject { return Subject{KindRouter, name} }

func to(s Subject, state State) Event { return Event{Subject: s, To: state} }

func fifo(name string, on ...State) Target { return Target{FIFO: name, On: Of(on...)} }

func TestNotify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, true, nil)
		a, b := router("a"), router("b")
		s.Set(map[Subject][]Target{
			a: {fifo("all"), fifo("masters", StateMaster)},
			b: {fifo("all"), fifo("ends", StateFault, StateStop), fifo("ends", StateStop)},
		})
		s.expect(t, "all", "")
		s.Notify(to(a, StateStop)) // it has never begun
		s.Notify(to(a, StateBackup))
		s.Notify(to(b, StateBackup))
		s.Notify(to(b, StateBackup))
		s.Notify(to(a, StateMaster))
		s.Notify(to(b, StateFault))
		s.Notify(to(b, StateInit))
		s.Notify(to(b, StateStop))
		s.Notify(to(b, StateBackup))
		s.Notify(to(router("nobody's"), StateMaster))
		s.expect(t, "all", "a init>backup, b init>backup, a backup>master, b backup>fault, b fault>stop, b init>backup")
		s.expect(t, "masters", "a backup>master")
		s.expect(t, "ends", "b backup>fault, b fault>stop")
		for _, st := range s.Status() {
			if st.Failed+st.Dropped > 0 || st.Waiting > 0 || st.Failing {
				t.Errorf("%+v", st)
			}
		}
	})
}

// TestSet checks what a reload tells to whom.
func TestSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, true, nil)
		a, b, g := router("a"), router("b"), Subject{KindGroup, "a"}
		s.Notify(to(b, StateMaster)) // before it is known
		s.Set(map[Subject][]Target{a: nil, b: {fifo("old")}, g: {fifo("old")}})
		s.Notify(to(a, StateBackup))
		s.Notify(to(a, StateMaster))
		s.Notify(to(g, StateBackup))
		s.expect(t, "old", "b init>master, a init>backup")

		s.Set(map[Subject][]Target{a: {fifo("new"), fifo("backups", StateBackup)}, b: {fifo("old")}, g: {fifo("new"), fifo("old")}})
		s.expect(t, "new", "a backup>master, a init>backup") // the group after the router
		s.expect(t, "backups", "")
		s.expect(t, "old", "b init>master, a init>backup")

		// The state that a target is told more of is present.
		s.Set(map[Subject][]Target{a: {fifo("new"), fifo("backups")}, b: {fifo("old")}, g: {fifo("new"), fifo("old")}})
		s.expect(t, "backups", "a backup>master")
		s.expect(t, "new", "a backup>master, a init>backup")

		// Who disappears has stopped, also to a target that disappears; what it says
		// itself comes too late.
		s.Set(map[Subject][]Target{a: {fifo("new")}})
		s.Notify(to(b, StateInit))
		s.Notify(to(g, StateInit))
		s.expect(t, "old", "b init>master, a init>backup, b master>stop, a backup>stop")
		s.expect(t, "new", "a backup>master, a init>backup, a backup>stop")
		if got := len(s.Status()); got != 1 {
			t.Errorf("there are %d targets", got)
		}
		if old := s.sinks["old"]; old.closed != 1 {
			t.Errorf("the target that is gone was closed %d times", old.closed)
		}
		if len(s.present) != 1 || len(s.targets) != 1 || len(s.sequence) != 1 {
			t.Errorf("it remembers %v, %v", s.present, s.targets)
		}

		// Who comes back begins anew.
		s.Set(map[Subject][]Target{a: {fifo("new")}, b: {fifo("old")}})
		s.Notify(to(b, StateBackup))
		s.expect(t, "old", "b init>backup")
	})
}

// TestRetiredTarget checks that a target that a reload removes gets what is news,
// and that one that comes back meanwhile goes on.
func TestRetiredTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &sink{took: time.Second}
		s := newStage(t, true, map[string]*sink{"slow": slow})
		a := router("a")
		with := map[Subject][]Target{a: {fifo("slow")}}
		s.Set(with)
		for range 10 {
			s.Notify(to(a, StateMaster))
			s.Notify(to(a, StateBackup))
		}
		synctest.Wait()
		s.Set(map[Subject][]Target{a: nil})
		s.Set(with)
		s.Notify(to(a, StateFault))
		time.Sleep(time.Minute)
		s.expect(t, "slow", "a init>master, a master>backup, a backup>fault")
		if st := s.Status()[0]; st.Dropped != 18 || st.Delivered != 3 {
			t.Errorf("%+v", st)
		}
	})
}

// TestOrderAndBound has 10,000 events for a target that is quick, one that is slow
// and one that hangs. Nobody waits.
func TestOrderAndBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, hangs := &sink{took: 100 * time.Millisecond}, &sink{hang: true}
		s := newStage(t, true, map[string]*sink{"slow": slow, "hangs": hangs})
		const subjects, rounds = 10, 1000
		targets := map[Subject][]Target{}
		for i := range subjects {
			targets[router(strconv.Itoa(i))] = []Target{fifo("quick"), fifo("slow"), fifo("hangs")}
		}
		s.Set(targets)
		began := time.Now()
		want := make([]string, 0, subjects*rounds)
		from := StateInit
		for round := range rounds {
			state := []State{StateBackup, StateMaster, StateFault}[round%3]
			for i := range subjects {
				s.Notify(to(router(strconv.Itoa(i)), state))
				want = append(want, fmt.Sprintf("%d %s>%s", i, from, state))
			}
			from = state
			synctest.Wait()
		}
		if d := time.Since(began); d != 0 {
			t.Errorf("Notify took %s", d)
		}
		if diff := cmp.Diff(want, s.sinks["quick"].got); diff != "" {
			t.Errorf("quick (-want +got)\n%s", diff)
		}
		for _, st := range s.Status() {
			if st.Waiting > maxQueue+1 || st.Target != "quick" && st.Dropped < 9000 {
				t.Errorf("%+v", st)
			}
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		// In their order, and the newest of each at the end.
		next := 0
		for _, line := range slow.got {
			for next < len(want) && want[next] != line {
				next++
			}
		}
		if next == len(want) {
			t.Error("slow got its events out of order")
		}
		if diff := cmp.Diff(want[len(want)-subjects:], slow.got[len(slow.got)-subjects:]); diff != "" {
			t.Errorf("slow, the end (-want +got)\n%s", diff)
		}
	})
}

func TestStop(t *testing.T) {
	for _, tt := range []struct {
		name string
		sink *sink
		want string
		took time.Duration
	}{
		{"at once", &sink{}, "a init>backup, a backup>master, a master>fault, a fault>stop", 0},
		{"slow", &sink{took: 300 * time.Millisecond}, "a init>backup, a fault>stop", 600 * time.Millisecond},
		{"what was under way takes too long", &sink{took: 1500 * time.Millisecond}, "", DrainLimit},
		{"hangs", &sink{hang: true}, "", DrainLimit},
		{"fails", &sink{err: errors.New("no")}, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, true, map[string]*sink{"x": tt.sink})
				s.Set(map[Subject][]Target{router("a"): {fifo("x"), fifo("other")}})
				s.Notify(to(router("a"), StateBackup))
				synctest.Wait()
				s.Notify(to(router("a"), StateMaster))
				s.Notify(to(router("a"), StateFault))
				s.Notify(to(router("a"), StateStop))
				if tt.name == "at once" {
					synctest.Wait()
				}
				began := time.Now()
				s.end()
				if took := time.Since(began); took != tt.took {
					t.Errorf("it took %s, want %s", took, tt.took)
				}
				if got := tt.sink.lines(); got != tt.want {
					t.Errorf("it got %q, want %q", got, tt.want)
				}
				if got := s.sinks["other"].lines(); !strings.HasSuffix(got, "a fault>stop") {
					t.Errorf("the other got %q", got)
				}
				if tt.sink.closed != 1 {
					t.Errorf("closed %d times", tt.sink.closed)
				}
			})
		})
	}
}

// TestStopAfterAHang checks that what hangs leaves time for the last event.
func TestStopAfterAHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &sink{hang: true}
		s := newStage(t, true, map[string]*sink{"x": x})
		s.Set(map[Subject][]Target{router("a"): {fifo("x")}})
		s.Notify(to(router("a"), StateMaster))
		synctest.Wait()
		x.hang, x.took = false, 900*time.Millisecond // for the next
		s.Notify(to(router("a"), StateStop))
		s.end()
		if got := x.lines(); got != "a master>stop" {
			t.Errorf("it got %q", got)
		}
	})
}

// TestBeforeRun checks that nothing is lost before Run, and nothing delivered.
func TestBeforeRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, false, nil)
		s.Set(map[Subject][]Target{router("a"): {fifo("x")}})
		s.Notify(to(router("a"), StateBackup))
		s.expect(t, "x", "")
		if st := s.Status(); len(st) != 1 || st[0].Waiting != 1 {
			t.Errorf("%+v", st)
		}
		s.run(t)
		s.expect(t, "x", "a init>backup")
	})
}

func TestStatusOfFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &sink{err: errors.New("no")}
		s := newStage(t, true, map[string]*sink{"x": x})
		s.Set(map[Subject][]Target{router("a"): {fifo("x")}})
		s.Notify(to(router("a"), StateBackup))
		synctest.Wait()
		want := []Status{{Target: "x", Failed: 1, Failing: true, LastError: "no", LastAt: time.Now()}}
		if diff := cmp.Diff(want, s.Status()); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		x.err = nil
		time.Sleep(time.Second)
		s.Notify(to(router("a"), StateMaster))
		synctest.Wait()
		want[0].Delivered, want[0].Failing = 1, false
		if diff := cmp.Diff(want, s.Status()); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}
