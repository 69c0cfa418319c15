package vrrp

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// leaving is a master of priority 100 and 1s that has said farewell after 4s, and
// waits until by.
func leaving(reason Reason, by time.Duration, steps ...step) []step {
	return asMaster(append([]step{{4 * time.Second, Leave{Reason: reason}, nothing.advertising(0), by}}, steps...)...)
}

// TestLeave is about what happens while a master waits for its successor, beside
// TestRFC9568_6_4_3_Leave.
func TestLeave(t *testing.T) {
	const by = 5*time.Second + skew100
	at := 4200 * ms
	out := func(reason Reason) Output { return transition(StateMaster, StateInit, reason) }
	runAll(t, []routerTest{
		{"without a reason it is a shutdown", v3(), leaving(ReasonNone, by, step{by, Tick{}, out(ReasonShutdown), never})},
		{"because it is no longer configured", v3(), leaving(ReasonRemoved, by, step{by, Tick{}, out(ReasonRemoved), never})},
		{"because of a fault", v3(), leaving(ReasonTrack, by,
			step{at, heard(v3(), lower, 1, time.Second), transition(StateMaster, StateFault, ReasonTrack), never},
		)},
		{"because of a fault that is over", v3(), leaving(ReasonTrack, by,
			step{at, Start{}, nothing.advertising(100), at + time.Second},
			step{at + time.Second, Tick{}, nothing.advertising(100), at + 2*time.Second},
		)},
		{"a handover becomes a shutdown", v3(), leaving(ReasonHandover, by,
			step{at, Leave{Reason: ReasonShutdown}, nothing, by},
			step{by, Tick{}, out(ReasonShutdown), never},
		)},
		{"a shutdown does not become a handover", v3(), leaving(ReasonShutdown, by,
			step{at, Leave{Reason: ReasonHandover}, nothing, by},
			step{by, Tick{}, out(ReasonShutdown), never},
		)},
		{"a link that goes down ends it", v3(), leaving(ReasonHandover, by,
			step{at, Stop{Reason: ReasonLinkDown}, transition(StateMaster, StateFault, ReasonLinkDown), never},
		)},
		{"asked twice it says farewell once", v3(), leaving(ReasonShutdown, by, step{at, Leave{Reason: ReasonShutdown}, nothing, by})},
		{"another priority changes nothing", v3(), leaving(ReasonHandover, by,
			step{at, set(v3(priority(200))), nothing, by},
			step{by, Tick{}, nothing.advertising(200), by + time.Second},
		)},
		{"version 2 counts in seconds", v2(interval(5 * time.Second)), []step{
			{0, Start{}, toBackup, 15*time.Second + skew100},
			{15*time.Second + skew100, Tick{}, toMaster(ReasonMasterDown, 100), 20*time.Second + skew100},
			{16 * time.Second, Leave{Reason: ReasonShutdown}, nothing.advertising(0), 21*time.Second + skew100},
		}},
		{"an owner goes on if there is nobody else", v3(owner), []step{
			{0, Start{}, transition(StateInit, StateMaster, ReasonOwner).advertising(255), time.Second},
			{500 * ms, Leave{Reason: ReasonHandover}, nothing.advertising(0), 1500*ms + time.Second/256},
			{1500*ms + time.Second/256, Tick{}, nothing.advertising(255), 2500*ms + time.Second/256},
		}},
		{"a backup that is to hand over has nothing to", v3(), asBackup(step{time.Second, Leave{Reason: ReasonHandover}, nothing, down100})},
		{"nor has one that does not take part", v3(), []step{{0, Leave{Reason: ReasonHandover}, nothing, never}}},
		{"a backup with a fault", v3(), asBackup(step{time.Second, Leave{Reason: ReasonTrack}, transition(StateBackup, StateFault, ReasonTrack), never})},
	})
}

// TestLeavingStatus shows what the director sees of a leave: it must hold the
// addresses while one of these is true.
func TestLeavingStatus(t *testing.T) {
	type seen struct {
		State              State
		Leaving, Lingering bool
	}
	r := run(t, v3(), leaving(ReasonShutdown, 5*time.Second+skew100))
	check := func(what string, want seen) {
		t.Helper()
		s := r.Status()
		if diff := cmp.Diff(want, seen{s.State, s.Leaving, s.Lingering}); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", what, diff)
		}
	}
	check("after the farewell", seen{StateMaster, true, false})
	r.Step(t0.Add(4400*ms), heard(v3(), lower, 1, time.Second))
	check("when the successor is heard", seen{StateInit, false, true})
	r.Step(t0.Add(4400*ms+Linger), Tick{})
	check("at the end", seen{StateInit, false, false})
	if d := r.Deadline(); !d.IsZero() {
		t.Errorf("there is something to do at %v still", d)
	}
}

// TestRepeats is when a master announces its addresses once more. Each row begins
// with a backup that has been one since t0.
func TestRepeats(t *testing.T) {
	worse := heard(v3(), lower, 1, time.Second)
	took := time.Second + skew100 // of a farewell that comes after 1s
	farewell := []step{
		{time.Second, heard(v3(), lower, 0, time.Second), nothing, took},
		{took, Tick{}, toMaster(ReasonFarewell, 100), took + time.Second},
	}
	dead := []step{{down100, Tick{}, toMaster(ReasonMasterDown, 100), down100 + time.Second}}
	tests := []struct {
		name   string
		before []step
		at     map[time.Duration]Event // further events
		from   time.Duration           // what the times below count from
		want   []time.Duration
	}{
		{"after a farewell", farewell, nil, took, []time.Duration{Linger / 2, 2 * Linger}},
		{"after a crash not at all", dead, nil, down100, nil},
		{"after it has heard another one", dead, map[time.Duration]Event{down100 + 300*ms: worse}, down100 + 300*ms, []time.Duration{Linger / 2, 2 * Linger}},
		{
			"the last of many comes when all of them have let go", dead,
			map[time.Duration]Event{down100 + 100*ms: worse, down100 + 200*ms: worse, down100 + 300*ms: worse},
			down100 + 100*ms, []time.Duration{Linger / 2, 100*ms + 2*Linger, 200*ms + 2*Linger},
		},
		{
			"one that comes after the last", dead,
			map[time.Duration]Event{down100 + 100*ms: worse, down100 + 700*ms: worse},
			down100 + 100*ms, []time.Duration{Linger / 2, 2 * Linger, 600*ms + 2*Linger},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := run(t, v3(), asBackup(tt.before...))
			var got []time.Duration
			for now := tt.before[len(tt.before)-1].at; now < tt.from+3*time.Second; now += 25 * ms {
				before := r.Status().Repeats
				if ev := tt.at[now]; ev != nil {
					r.Step(t0.Add(now), ev)
				}
				r.Step(t0.Add(now), Tick{})
				if r.Status().Repeats != before {
					got = append(got, now-tt.from)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
