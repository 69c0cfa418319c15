package garp

import (
	"fmt"
	"maps"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func target(n int) Target {
	return Target{Link: "eth0", Address: netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})}
}

// run plays p until end from now on and returns when what was announced, as
// offsets from epoch. Announcing takes no time.
func run(p *Plan, now, end time.Time) (trace []string) {
	for range 10000 {
		if t, ok := p.Next(now); ok {
			trace = append(trace, fmt.Sprintf("%v %d", now.Sub(epoch), t.Address.As4()[3]))
			p.Sent(now, t)
			continue
		}
		d := p.Deadline()
		if d.IsZero() || d.After(end) {
			return trace
		}
		now = d
	}
	return append(trace, "no end")
}

func TestPlanSchedules(t *testing.T) {
	const s = time.Second
	tests := []struct {
		name     string
		schedule Schedule
		want     []string // until 20 s
	}{
		{"nothing", Schedule{}, nil},
		{"back to back", Schedule{Count: 3}, []string{"0s 1", "0s 1", "0s 1"}},
		{"spaced", Schedule{Count: 3, Interval: s}, []string{"0s 1", "1s 1", "2s 1"}},
		{"second burst", Schedule{Count: 2, Interval: s, RepeatAfter: 5 * s}, []string{"0s 1", "1s 1", "5s 1", "6s 1"}},
		{"second burst waits for the first", Schedule{Count: 3, Interval: 4 * s, RepeatAfter: 5 * s}, []string{"0s 1", "4s 1", "8s 1", "12s 1", "16s 1", "20s 1"}},
		{"refresh", Schedule{Count: 1, RepeatAfter: 5 * s, Refresh: 7 * s}, []string{"0s 1", "5s 1", "12s 1", "19s 1"}},
		{"refresh alone", Schedule{Refresh: 8 * s}, []string{"8s 1", "16s 1"}},
		{"no second burst of nothing", Schedule{RepeatAfter: 5 * s}, nil},
		{"negative", Schedule{Count: -1, Interval: -s, RepeatAfter: -s, Refresh: -s}, nil},
		{"negative interval", Schedule{Count: 2, Interval: -s}, []string{"0s 1", "0s 1"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var p Plan
			p.Set(epoch, map[Target]Claim{target(1): {Schedule: test.schedule}})
			if diff := cmp.Diff(test.want, run(&p, epoch, epoch.Add(20*s))); diff != "" {
				t.Errorf("announcements (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlanSet(t *testing.T) {
	const s = time.Second
	claim := Claim{Schedule: Schedule{Count: 2, Interval: 2 * s, Refresh: 5 * s}, Epoch: 1}
	again := claim
	again.Epoch = 2
	longer := claim
	longer.Schedule.Count = 3
	slower := claim
	slower.Schedule.Interval = 4 * s
	tests := []struct {
		name string
		then map[Target]Claim // at 1 s
		want []string         // from 1 s until 8 s
	}{
		{"unchanged", map[Target]Claim{target(1): claim}, []string{"2s 1", "7s 1"}},
		{"new epoch", map[Target]Claim{target(1): again}, []string{"1s 1", "3s 1", "8s 1"}},
		{"longer", map[Target]Claim{target(1): longer}, []string{"2s 1", "4s 1"}},
		{"slower", map[Target]Claim{target(1): slower}, []string{"4s 1"}},
		{"removed", map[Target]Claim{}, nil},
		{"nil", nil, nil},
		{"replaced", map[Target]Claim{target(2): claim}, []string{"1s 2", "3s 2", "8s 2"}},
		{"another", map[Target]Claim{target(1): claim, target(2): claim}, []string{"1s 2", "2s 1", "3s 2", "7s 1", "8s 2"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var p Plan
			p.Set(epoch, map[Target]Claim{target(1): claim})
			run(&p, epoch, epoch)
			p.Set(epoch.Add(s), test.then)
			if diff := cmp.Diff(test.want, run(&p, epoch.Add(s), epoch.Add(8*s))); diff != "" {
				t.Errorf("announcements (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlanFirstOnesFirst(t *testing.T) {
	claims := map[Target]Claim{}
	for n := range 200 {
		claims[target(n)] = Claim{Schedule: Schedule{Count: 5}}
	}
	var p Plan
	p.Set(epoch, claims)
	counts := map[Target]int{}
	for i := range 1000 {
		next, ok := p.Next(epoch)
		if !ok {
			t.Fatalf("nothing is due after %d announcements", i)
		}
		if counts[next] != i/200 {
			t.Fatalf("announcement %d is number %d of %v", i, counts[next]+1, next)
		}
		counts[next]++
		p.Sent(epoch, next)
		if i == 300 { // one that comes late is not behind the second round
			late := maps.Clone(claims)
			late[target(999)] = Claim{Schedule: Schedule{Count: 1}}
			p.Set(epoch, late)
			if next, _ := p.Next(epoch); next != target(999) {
				t.Fatalf("the new target is behind %v", next)
			}
			p.Sent(epoch, target(999))
		}
	}
	if next, ok := p.Next(epoch); ok {
		t.Errorf("%v is still due", next)
	}
}

func TestPlanFailed(t *testing.T) {
	var p Plan
	p.Set(epoch, map[Target]Claim{target(1): {Schedule: Schedule{Count: 2, Interval: 10 * time.Second}}})
	now := epoch
	var tries []time.Duration
	for {
		next, ok := p.Next(now)
		if !ok {
			d := p.Deadline()
			if d.IsZero() {
				break
			}
			if !d.After(now) {
				t.Fatalf("the deadline %v is not after %v, and nothing is due", d, now)
			}
			now = d
			continue
		}
		tries = append(tries, now.Sub(epoch))
		p.Failed(now, next)
	}
	const ms = time.Millisecond
	delays := []time.Duration{0, 50 * ms, 150 * ms, 350 * ms, 750 * ms, 1550 * ms, 2550 * ms, 3550 * ms, 4550 * ms, 5550 * ms, 6550 * ms}
	var want []time.Duration
	for _, start := range []time.Duration{0, 16550 * ms} { // 10 s after the first was given up
		for _, d := range delays {
			want = append(want, start+d)
		}
	}
	if diff := cmp.Diff(want, tries); diff != "" {
		t.Errorf("tries (-want +got):\n%s", diff)
	}
}

// A plan under random use, checked against what the schedule promises.
func TestPlanProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		durations := rapid.SampledFrom([]time.Duration{0, time.Second, 3 * time.Second, 10 * time.Second})
		claims := rapid.MapOfN(
			rapid.Custom(func(t *rapid.T) Target { return target(rapid.IntRange(0, 5).Draw(t, "target")) }),
			rapid.Custom(func(t *rapid.T) Claim {
				return Claim{
					Epoch: rapid.Uint64Range(0, 2).Draw(t, "epoch"),
					Schedule: Schedule{
						Count:       rapid.IntRange(0, 3).Draw(t, "count"),
						Interval:    durations.Draw(t, "interval"),
						RepeatAfter: durations.Draw(t, "repeat"),
						Refresh:     durations.Draw(t, "refresh"),
					},
				}
			}), 0, 6)
		var p Plan
		now := epoch
		set := map[Target]Claim{}
		last := map[Target]time.Time{}
		rounds := map[Target]int{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				next := claims.Draw(t, "claims")
				for target, claim := range next {
					if old, ok := set[target]; !ok || old.Epoch != claim.Epoch {
						delete(last, target)
						delete(rounds, target)
					}
				}
				for target := range set {
					if _, ok := next[target]; !ok {
						delete(last, target)
						delete(rounds, target)
					}
				}
				set = next
				p.Set(now, set)
			case 1:
				now = now.Add(durations.Draw(t, "wait"))
			default:
				deadline := p.Deadline()
				target, ok := p.Next(now)
				if ok != (!deadline.IsZero() && !deadline.After(now)) {
					t.Fatalf("Next = %v, but the deadline is %v from now", ok, deadline.Sub(now))
				}
				if !ok {
					break
				}
				claim, claimed := set[target]
				if !claimed {
					t.Fatalf("%v is announced and not claimed", target)
				}
				for other, r := range rounds {
					if r < rounds[target] && !p.entries[other].at.IsZero() && !p.entries[other].at.After(now) {
						t.Fatalf("%v is announced in round %d, %v still in %d", target, rounds[target], other, r)
					}
				}
				if rapid.Bool().Draw(t, "fails") {
					p.Failed(now, target)
					break
				}
				s := claim.Schedule
				least := s.Interval
				if s.Refresh > 0 {
					least = min(least, s.Refresh)
				}
				if at, ok := last[target]; ok && now.Sub(at) < least {
					t.Fatalf("%v is announced after %v, least is %v", target, now.Sub(at), least)
				}
				last[target] = now
				rounds[target]++
				p.Sent(now, target)
			}
			if n := len(p.waiting.entries) + len(p.ready.entries); n > len(set) {
				t.Fatalf("%d entries for %d targets", n, len(set))
			}
		}
	})
}
