package garp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var (
	ourMAC   = MAC{2, 0, 0, 0, 0, 1}
	ownMAC   = MAC{0, 0, 0x5e, 0, 1, 51}
	theirMAC = MAC{2, 0, 0, 0, 0, 9}
)

// watchOf returns the watches of targets with one timing.
func watchOf(timing Timing, targets ...Target) map[Target]Watch {
	m := map[Target]Watch{}
	for _, t := range targets {
		m[t] = Watch{Own: ownMAC, Timing: timing}
	}
	return m
}

// play runs a lookout from epoch until end and returns what it says. At the times
// in events, which are offsets, the functions there are called.
func play(l *lookout, end time.Duration, events map[time.Duration]func(now time.Time)) (trace []string) {
	say := func(now time.Time, format string, args ...any) {
		trace = append(trace, fmt.Sprintf("%v ", now.Sub(epoch))+fmt.Sprintf(format, args...))
	}
	var at []time.Duration
	for d := range events {
		at = append(at, d)
	}
	slices.Sort(at)
	now := epoch
	for range 10000 {
		if len(at) > 0 && !epoch.Add(at[0]).After(now) {
			events[at[0]](now)
			at = at[1:]
		}
		begun, over := l.pass(now)
		for _, c := range begun {
			say(now, "begun %v %v", c.Target.Address, c.MAC)
		}
		for _, c := range over {
			say(now, "over %v %v after %d", c.Target.Address, c.MAC, c.Count)
		}
		for _, target := range l.probes(now) {
			say(now, "probe %v", target.Address)
			l.probed(now, target, nil)
		}
		next := l.deadline()
		if len(at) > 0 {
			next = earliest(next, epoch.Add(at[0]))
		}
		switch {
		case next.IsZero() || next.Sub(epoch) > end:
			return trace
		case next.Before(now) || next.Equal(now) && len(at) == 0:
			return append(trace, fmt.Sprintf("the deadline %v does not move on", next.Sub(epoch)))
		}
		now = next
	}
	return append(trace, "no end")
}

func TestLookout(t *testing.T) {
	const s = time.Second
	vip, vip6 := on("eth0", "10.0.0.1"), on("eth0", "fd00::1")
	timing := Timing{Settle: s, Probe: 60 * s, Expire: 60 * s}
	type event struct {
		at  time.Duration
		mac MAC    // zero: Set
		on  Target // or what is set alone; zero: nothing
	}
	tests := []struct {
		name   string
		timing Timing
		first  []Target
		events []event
		end    time.Duration
		want   []string
	}{
		{"peace", timing, []Target{vip, vip6}, nil, 130 * s, []string{
			"1s probe 10.0.0.1", "1s probe fd00::1", "1m1s probe 10.0.0.1", "1m1s probe fd00::1", "2m1s probe 10.0.0.1", "2m1s probe fd00::1",
		}},
		{"probed once", Timing{Settle: s, Expire: 60 * s}, []Target{vip}, nil, 1000 * s, []string{"1s probe 10.0.0.1"}},
		{"no timing", Timing{}, []Target{vip}, nil, 1000 * s, []string{"0s probe 10.0.0.1"}},
		{"negative timing", Timing{Settle: -s, Probe: -s, Expire: -s}, []Target{vip}, []event{{5 * s, theirMAC, vip}}, 1000 * s, []string{"0s probe 10.0.0.1"}},
		{"claims while it is taken over", timing, []Target{vip}, []event{{0, theirMAC, vip}, {s / 2, theirMAC, vip}}, 50 * s, []string{"1s probe 10.0.0.1"}},
		{"claims of our own", timing, []Target{vip}, []event{{5 * s, ourMAC, vip}, {6 * s, ownMAC, vip}}, 50 * s, []string{"1s probe 10.0.0.1"}},
		{"claims elsewhere", timing, []Target{vip}, []event{{5 * s, theirMAC, vip6}, {5 * s, theirMAC, on("eth1", "10.0.0.1")}}, 50 * s, []string{"1s probe 10.0.0.1"}},
		{"one claim", timing, []Target{vip}, []event{{5 * s, theirMAC, vip}}, 100 * s, []string{
			"1s probe 10.0.0.1", "6s begun 10.0.0.1 02:00:00:00:00:09", "1m1s probe 10.0.0.1", "1m4s probe 10.0.0.1",
			"1m5s over 10.0.0.1 02:00:00:00:00:09 after 1",
		}},
		{"a holder that answers", timing, []Target{vip}, []event{{s + s/10, theirMAC, vip}, {61*s + s/10, theirMAC, vip}}, 70 * s, []string{
			"1s probe 10.0.0.1", "2.1s begun 10.0.0.1 02:00:00:00:00:09", "1m0.1s probe 10.0.0.1",
		}},
		{"we give way", timing, []Target{vip, vip6}, []event{{5 * s, theirMAC, vip}, {5*s + s/2, MAC{}, vip6}}, 50 * s, []string{
			"1s probe 10.0.0.1", "1s probe fd00::1",
		}},
		{"we give way late", timing, []Target{vip}, []event{{5 * s, theirMAC, vip}, {10 * s, MAC{}, Target{}}}, 50 * s, []string{
			"1s probe 10.0.0.1", "6s begun 10.0.0.1 02:00:00:00:00:09", "10s over 10.0.0.1 02:00:00:00:00:09 after 1",
		}},
		{"two rivals", timing, []Target{vip6}, []event{{5 * s, theirMAC, vip6}, {7 * s, MAC{2, 0, 0, 0, 0, 7}, vip6}}, 50 * s, []string{
			"1s probe fd00::1", "6s begun fd00::1 02:00:00:00:00:09", "8s begun fd00::1 02:00:00:00:00:07",
		}},
		{"short expiry", Timing{Settle: 2 * s, Expire: s}, []Target{vip}, []event{{5 * s, theirMAC, vip}}, 50 * s, []string{
			"2s probe 10.0.0.1", "7s begun 10.0.0.1 02:00:00:00:00:09", "7s probe 10.0.0.1", "9s over 10.0.0.1 02:00:00:00:00:09 after 1",
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := &lookout{hw: map[string]MAC{"eth0": ourMAC, "eth1": ourMAC}}
			l.set(epoch, watchOf(test.timing, test.first...))
			var late []string
			events := map[time.Duration]func(time.Time){}
			for _, e := range test.events {
				before := events[e.at]
				events[e.at] = func(now time.Time) {
					if before != nil {
						before(now)
					}
					if e.mac != (MAC{}) {
						l.see(now, e.on.Link, sighting{address: e.on.Address, mac: e.mac})
						return
					}
					set := watchOf(test.timing, e.on)
					if e.on == (Target{}) {
						set = nil
					}
					for _, c := range l.set(now, set) {
						late = append(late, fmt.Sprintf("%v over %v %v after %d", now.Sub(epoch), c.Target.Address, c.MAC, c.Count))
					}
				}
			}
			got := append(play(l, test.end, events), late...)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("trace (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLookoutConflicts(t *testing.T) {
	const s = time.Second
	v4, v6 := on("eth0", "::ffff:10.0.0.1"), on("eth0", "fe80::1%eth0")
	l := &lookout{hw: map[string]MAC{"eth0": ourMAC}}
	l.set(epoch, watchOf(DefaultTiming, v4, v6, on("eth0", "ff02::1"), Target{Link: "eth0"}))
	at := func(d time.Duration, s sighting) verdict { return l.see(epoch.Add(d), "eth0", s) }
	at(5*s, sighting{netip.MustParseAddr("10.0.0.1"), theirMAC, netip.Addr{}})
	at(6*s, sighting{netip.MustParseAddr("10.0.0.1"), theirMAC, netip.Addr{}})
	at(5*s, sighting{netip.MustParseAddr("fe80::1"), theirMAC, netip.MustParseAddr("fe80::9")})
	at(7*s, sighting{netip.MustParseAddr("fe80::1"), theirMAC, netip.Addr{}})
	if list := l.conflicts(); len(list) > 0 {
		t.Errorf("conflicts before they are told of: %+v", list)
	}
	l.pass(epoch.Add(8 * s))
	want := []Conflict{
		{v4, theirMAC, ARP, netip.Addr{}, epoch.Add(5 * s), epoch.Add(6 * s), 2},
		{v6, theirMAC, ND, netip.MustParseAddr("fe80::9"), epoch.Add(5 * s), epoch.Add(7 * s), 2},
	}
	if diff := cmp.Diff(want, l.conflicts(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("conflicts (-want +got):\n%s", diff)
	}
	// The link has taken the address that was somebody else's.
	l.hw["eth0"] = theirMAC
	if _, over := l.pass(epoch.Add(8 * s)); len(over) != 2 || len(l.conflicts()) > 0 {
		t.Errorf("over: %v, and still %v, want two and none", over, l.conflicts())
	}
}

func TestLookoutBoundsRivals(t *testing.T) {
	l := &lookout{hw: map[string]MAC{"eth0": ourMAC}}
	l.set(epoch, watchOf(DefaultTiming, on("eth0", "10.0.0.1")))
	now := epoch.Add(time.Minute)
	counts := map[verdict]int{}
	for i := range 1000 {
		counts[l.see(now, "eth0", sighting{netip.MustParseAddr("10.0.0.1"), MAC{4, 0, 0, 0, byte(i >> 8), byte(i)}, netip.Addr{}})]++
	}
	if diff := cmp.Diff(map[verdict]int{news: maxRivals, surplus: 1000 - maxRivals}, counts); diff != "" {
		t.Errorf("verdicts (-want +got):\n%s", diff)
	}
	l.pass(now.Add(time.Second))
	if got := len(l.conflicts()); got != maxRivals {
		t.Errorf("%d conflicts, want %d", got, maxRivals)
	}
	l.pass(now.Add(time.Minute))
	if v := l.see(now.Add(time.Minute), "eth0", sighting{netip.MustParseAddr("10.0.0.1"), theirMAC, netip.Addr{}}); v != news {
		t.Errorf("when the others are over, a new rival is %v, want %v", v, news)
	}
}

func TestLookoutRetriesProbes(t *testing.T) {
	target := on("eth0", "10.0.0.1")
	l := &lookout{hw: map[string]MAC{}}
	l.set(epoch, watchOf(DefaultTiming, target))
	now := l.deadline()
	for i := range 5 {
		if list := l.probes(now); len(list) != 1 {
			t.Fatalf("attempt %d: probes %v, want one", i, list)
		}
		l.probed(now, target, errDeaf)
		if next := l.deadline(); next.Sub(now) != probeRetry {
			t.Fatalf("attempt %d: again after %v, want %v", i, next.Sub(now), probeRetry)
		}
		now = l.deadline()
	}
	l.probed(now, target, nil)
	if next := l.deadline(); next.Sub(now) != time.Minute {
		t.Errorf("again after %v, want a minute", next.Sub(now))
	}
	l.probed(now, on("eth0", "10.0.0.9"), nil) // not watched any more
}

// A lookout under random use, checked against what Timing and Conflict promise.
func TestLookoutProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		durations := rapid.SampledFrom([]time.Duration{-time.Second, 0, time.Second, 3 * time.Second, 10 * time.Second})
		targets := []Target{target(0), target(1), on("eth0", "fd00::1"), on("eth1", "10.0.0.0")}
		macs := []MAC{ourMAC, ownMAC, theirMAC, {4, 0, 0, 0, 0, 1}}
		l := &lookout{hw: map[string]MAC{"eth0": ourMAC, "eth1": theirMAC}}
		now := epoch
		set := map[Target]Watch{}
		since := map[Target]time.Time{}
		probed := map[Target]bool{}
		told := map[string]bool{}
		name := func(c Conflict) string { return fmt.Sprint(c.Target, c.MAC) }
		tell := func(begun, over []Conflict) {
			for _, c := range over {
				if !told[name(c)] {
					t.Fatalf("%v is over and has not begun", c)
				}
				delete(told, name(c))
			}
			for _, c := range begun {
				if told[name(c)] {
					t.Fatalf("%v has begun twice", c)
				}
				told[name(c)] = true
				if wait := now.Sub(c.First); wait < set[c.Target].Timing.settle() {
					t.Fatalf("%v is told of after %v", c, wait)
				}
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				next := map[Target]Watch{}
				for _, target := range targets {
					if rapid.Bool().Draw(t, "held") {
						w := Watch{Timing: Timing{durations.Draw(t, "settle"), durations.Draw(t, "probe"), durations.Draw(t, "expire")}}
						if rapid.Bool().Draw(t, "own") {
							w.Own = ownMAC
						}
						next[target] = w
						if _, ok := set[target]; !ok {
							since[target] = now
							delete(probed, target)
						}
					}
				}
				over := l.set(now, next)
				set = next
				tell(nil, over)
			case 1:
				now = now.Add(max(0, durations.Draw(t, "wait")))
			case 2:
				target := rapid.SampledFrom(targets).Draw(t, "target")
				mac := rapid.SampledFrom(macs).Draw(t, "mac")
				w, held := set[target]
				ours := mac == l.hw[target.Link] || mac == w.Own
				early := now.Sub(since[target]) < w.Timing.settle()
				v := l.see(now, target.Link, sighting{address: target.Address, mac: mac})
				if (v == nothing) != (!held || ours || early) {
					t.Fatalf("%v at %v is %v; held %v, ours %v, early %v", target, mac, v, held, ours, early)
				}
			default:
				tell(l.pass(now))
				for _, target := range l.probes(now) {
					if _, held := set[target]; !held {
						t.Fatalf("%v is probed and not held", target)
					}
					if !probed[target] && now.Sub(since[target]) < set[target].Timing.settle() {
						t.Fatalf("%v is first probed after %v", target, now.Sub(since[target]))
					}
					probed[target] = true
					l.probed(now, target, nil)
				}
				if again := l.probes(now); len(again) > 0 {
					t.Fatalf("%v are to be probed twice", again)
				}
				if at := l.deadline(); !at.IsZero() && !at.After(now) {
					t.Fatalf("the deadline is %v from now, and everything is done", at.Sub(now))
				}
			}
			var listed []string
			for _, c := range l.conflicts() {
				listed = append(listed, name(c))
				if _, held := set[c.Target]; !held {
					t.Fatalf("%v is not held", c)
				}
				if c.Last.Before(c.First) || c.Count == 0 || c.MAC == l.hw[c.Target.Link] {
					t.Fatalf("conflict %+v", c)
				}
			}
			var want []string
			for n := range told {
				want = append(want, n)
			}
			slices.Sort(want)
			slices.Sort(listed)
			if strings.Join(want, "\n") != strings.Join(listed, "\n") {
				t.Fatalf("conflicts are %v, and %v were told of", listed, want)
			}
		}
	})
}
