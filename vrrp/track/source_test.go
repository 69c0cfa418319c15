package track

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRoll(t *testing.T) {
	kernel := map[int]process{10: {comm: "haproxy"}, 11: {comm: "python3", arg0: "uplinkd"}, 12: {comm: "bash", arg0: "bash"}}
	read := func(pid int) (process, bool) { p, ok := kernel[pid]; return p, ok }
	steps := []struct {
		name    string
		in      procEvent
		changed bool
		want    string
	}{
		{"a fork of nobody", procEvent{procFork, 12, 1}, false, "haproxy 0, uplinkd 0"},
		{"it executes one", procEvent{procName, 10, 0}, true, "haproxy 1, uplinkd 0"},
		{"that is called so by its argument", procEvent{procName, 11, 0}, true, "haproxy 1, uplinkd 1"},
		{"again", procEvent{procName, 11, 0}, false, "haproxy 1, uplinkd 1"},
		{"one forks", procEvent{procFork, 20, 10}, true, "haproxy 2, uplinkd 1"},
		{"the child executes another", procEvent{procName, 20, 0}, true, "haproxy 1, uplinkd 1"},
		{"nobody of interest", procEvent{procName, 12, 0}, false, "haproxy 1, uplinkd 1"},
		{"it ends", procEvent{procExit, 12, 0}, false, "haproxy 1, uplinkd 1"},
		{"one ends", procEvent{procExit, 10, 0}, true, "haproxy 0, uplinkd 1"},
	}
	r := roll{names: []string{"haproxy", "uplinkd"}, live: map[int]process{}}
	for _, step := range steps {
		changed := r.apply(step.in, read)
		got := fmt.Sprintf("haproxy %d, uplinkd %d", r.count("haproxy"), r.count("uplinkd"))
		if got != step.want || changed != step.changed {
			t.Errorf("%s: %s, changed %t; want %s, %t", step.name, got, changed, step.want, step.changed)
		}
	}
}

// TestProcesses has a kernel whose connector works, overflows, breaks and is
// refused.
func TestProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		live := map[int]process{7: {comm: "bird"}}
		scans := 0
		feed := newFakeFeed[procEvent]()
		refused := error(nil)
		p := newProcesses(w.report)
		p.dial = func() (f feedOf, err error) { w.mu.Lock(); defer w.mu.Unlock(); return feed, refused }
		p.scan = func(wanted func(process) bool) (map[int]process, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			scans++
			found := map[int]process{}
			for pid, p := range live {
				if wanted(p) {
					found[pid] = p
				}
			}
			return found, nil
		}
		p.read = func(pid int) (process, bool) { w.mu.Lock(); defer w.mu.Unlock(); p, ok := live[pid]; return p, ok }
		w.processes = newFollower(p)
		w.start(t)
		bird := Item{Target: Target{Kind: Process, Name: "bird", Count: 1}}
		w.Set(one(bird))
		kernel := func(f func()) { w.mu.Lock(); f(); w.mu.Unlock() }
		check := func(what string, fault bool, note string) {
			t.Helper()
			synctest.Wait()
			r := w.Lookup("web")
			if r.Fault != fault || r.Pending || !strings.Contains(r.Items[0].Note, note) || (note == "") != (r.Items[0].Note == "") {
				t.Errorf("%s: %+v", what, r)
			}
		}
		check("listed", false, "")
		kernel(func() { delete(live, 7) })
		feed.news <- heard[procEvent]{news: []procEvent{{what: procExit, pid: 7}}}
		check("an exit", true, "")
		kernel(func() { live[8] = process{comm: "bird"} })
		feed.news <- heard[procEvent]{news: []procEvent{{what: procFork, pid: 8, parent: 1}, {what: procName, pid: 8}}}
		check("a new one", false, "")
		feed.news <- heard[procEvent]{news: []procEvent{{what: procExit, pid: 8}}} // of another that had its number
		check("an old exit", true, "")
		time.Sleep(processRecheck)
		check("looked at again", false, "")
		kernel(func() { delete(live, 8) })
		feed.news <- heard[procEvent]{err: errOverflow}
		check("an exit that was lost", true, "")
		kernel(func() { live[9] = process{comm: "bird"} })
		time.Sleep(processResync)
		check("resync", false, "")

		kernel(func() { refused = errors.New("no such thing here") })
		feed.news <- heard[procEvent]{err: errors.New("boom")}
		check("the connector breaks", false, "boom")
		kernel(func() { delete(live, 9) })
		time.Sleep(processPoll)
		check("looked for", true, "boom")
		time.Sleep(resubscribe)
		check("refused", true, "no such thing here")
		kernel(func() { live[10] = process{comm: "bird"} })
		time.Sleep(processPoll)
		check("looked for", false, "no such thing here")
		kernel(func() { feed, refused = newFakeFeed[procEvent](), nil })
		time.Sleep(resubscribe)
		check("granted again", false, "")

		w.Set(nil)
		synctest.Wait()
		select {
		case <-feed.closed:
		default:
			t.Error("nothing is tracked, but the feed is open")
		}
		before := scans
		time.Sleep(time.Hour)
		if scans != before {
			t.Errorf("%d scans for nothing", scans-before)
		}
	})
}

type feedOf = feed[procEvent]

func TestRouteFinding(t *testing.T) {
	found := []route{
		{prefix: prefix("0.0.0.0/0"), via: address("192.0.2.1"), index: 2},
		{prefix: prefix("10.0.0.0/8"), via: address("192.0.2.9"), index: 2, dead: true},
		{prefix: prefix("::/0"), via: address("fe80::1"), index: 3},
		{prefix: prefix("192.0.2.0/24"), index: 2},
	}
	index := func(name string) int { return map[string]int{"eth0": 2, "eth1": 3}[name] }
	tests := []struct {
		name string
		in   Target
		want finding
	}{
		{"any", Target{Prefix: prefix("0.0.0.0/0")}, finding{state: Pass, reason: "it is in the table"}},
		{"via and device", Target{Prefix: prefix("::/0"), Via: address("fe80::1"), Device: "eth1"}, finding{state: Pass, reason: "it is in the table"}},
		{"connected", Target{Prefix: prefix("192.0.2.0/24"), Device: "eth0"}, finding{state: Pass, reason: "it is in the table"}},
		{"another gateway", Target{Prefix: prefix("0.0.0.0/0"), Via: address("192.0.2.2")}, finding{state: Fail, reason: "there is another route to this destination only"}},
		{"another device", Target{Prefix: prefix("0.0.0.0/0"), Device: "eth1"}, finding{state: Fail, reason: "there is another route to this destination only"}},
		{"no such device", Target{Prefix: prefix("0.0.0.0/0"), Device: "eth7"}, finding{state: Fail, reason: "there is no interface eth7"}},
		{"a longer prefix does not count", Target{Prefix: prefix("192.0.0.0/16")}, finding{state: Fail, reason: "there is no such route"}},
		{"dead", Target{Prefix: prefix("10.0.0.0/8")}, finding{state: Fail, reason: "its interface is down, or without carrier"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := routeFinding(tt.in, found, index); got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestRoutes checks what makes the table be listed, and that a large one is not
// listed all the time.
func TestRoutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		feed := newFakeFeed[routeEvent]()
		lists, took := 0, time.Duration(0)
		r := newRoutes(w.report)
		r.dial = func() (f routeFeed, err error) { return feed, nil }
		r.list = func(v4, v6 bool, wanted func(netip.Prefix) bool) ([]route, error) {
			w.mu.Lock()
			lists++
			d := took
			w.mu.Unlock()
			time.Sleep(d)
			if !v4 || v6 || !wanted(prefix("0.0.0.0/0")) || wanted(prefix("10.0.0.0/8")) {
				t.Error("listed too much or too little")
			}
			return nil, nil
		}
		w.routes = newFollower(r)
		w.start(t)
		w.Set(one(Item{Target: Target{Kind: Route, Prefix: prefix("0.0.0.0/0")}, Weight: -5}))
		expect := func(what string, want int) {
			t.Helper()
			synctest.Wait()
			w.mu.Lock()
			defer w.mu.Unlock()
			if lists != want {
				t.Errorf("%s: listed %d times, want %d", what, lists, want)
			}
		}
		hear := func(p netip.Prefix) { feed.news <- heard[routeEvent]{news: []routeEvent{{p}}} }
		expect("at first", 1)
		hear(prefix("10.0.0.0/8"))
		expect("another route", 1)
		hear(prefix("0.0.0.0/0"))
		expect("ours", 2)
		hear(netip.Prefix{})
		expect("an interface", 3)
		time.Sleep(routeResync)
		expect("resync", 4)
		w.mu.Lock()
		took = time.Second
		w.mu.Unlock()
		hear(netip.Prefix{})
		time.Sleep(time.Second)
		expect("a large table", 5)
		hear(netip.Prefix{})
		time.Sleep((routeShare-1)*time.Second - 1)
		expect("its rest", 5)
		time.Sleep(time.Nanosecond)
		expect("after it", 6)
		time.Sleep(time.Second)
		if r := w.Lookup("web"); r.Adjust != -5 {
			t.Errorf("%+v", r)
		}
	})
}

type routeFeed = feed[routeEvent]

func TestParseNumber(t *testing.T) {
	for in, want := range map[string]int{"0": 0, "7": 7, "-60": -60, "+5": 5, "254": 254, "255": 254, "-99999999999999999999": -254, "99999999999999999999": 254} {
		if got, err := parseNumber(in); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "-", "+-1", "1 2", "0x1", "1.5", "eins", "1_0", "١"} {
		if got, err := parseNumber(in); err == nil {
			t.Errorf("%q: %d, want an error", in, got)
		}
	}
}

func TestParseStat(t *testing.T) {
	for _, tt := range []struct {
		in, comm string
		alive    bool
	}{
		{"12 (bird) S 1 12", "bird", true},
		{"12 (a) b (c) R 1 12", "a) b (c", true},
		{"12 (bird) Z 1 12", "", false},
		{"12 (bird) X 1 12", "", false},
		{"12 bird S", "", false},
		{"12 (bird)", "", false},
		{"12 )bird( S", "", false},
		{"", "", false},
	} {
		if comm, alive := parseStat([]byte(tt.in)); comm != tt.comm || alive != tt.alive {
			t.Errorf("%q: %q, %t", tt.in, comm, alive)
		}
	}
	for in, want := range map[string]string{"/usr/sbin/bird\x00-f\x00": "bird", "bird\x00": "bird", "": "", "\x00x\x00": "", "nginx: worker process": "nginx: worker process"} {
		if got := firstArgument([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestLinkFinding(t *testing.T) {
	want := []State{Fail, Fail, Pass}
	got := []State{linkFinding(false, false).state, linkFinding(true, false).state, linkFinding(true, true).state}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
