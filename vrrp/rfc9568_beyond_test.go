package vrrp

import (
	"testing"
	"time"
)

// The tests of this file are named after the steps of RFC 9568 that a router goes
// beyond: where it waits, or goes on, and the RFC has it change state at once.

// "If a Shutdown event is received, then: Cancel the Adver_Timer. Send an ADVERTISEMENT
// with Priority = 0. Transition to the {Initialize} state." A router that leaves does
// the last step when it hears its successor, or when every backup must have spoken.
func TestRFC9568_6_4_3_Leave(t *testing.T) {
	const by = 5*time.Second + skew100
	c := v3()
	left := transition(StateMaster, StateInit, ReasonShutdown)
	leave := func(reason Reason, steps ...step) []step {
		return asMaster(append([]step{{4 * time.Second, Leave{Reason: reason}, nothing.advertising(0), by}}, steps...)...)
	}
	runAll(t, []routerTest{
		{"until the successor is heard", c, leave(ReasonShutdown,
			step{4200 * ms, heard(c, lower, 0, time.Second), nothing, by}, // another farewell
			step{4300 * ms, Tick{}, nothing, by},
			step{4400 * ms, heard(c, lower, 1, time.Second), left, never},
		)},
		{"until nobody can come any more", c, leave(ReasonShutdown,
			step{by - 1, Tick{}, nothing, by},
			step{by, Tick{}, left, never},
		)},
		{"until it has to stop at once", c, leave(ReasonShutdown, step{4100 * ms, Stop{}, left, never})},
		{"unless it is to stay", c, leave(ReasonShutdown, step{4100 * ms, Start{}, nothing.advertising(100), 5100 * ms})},
		{"as backup of its successor", c, leave(ReasonHandover,
			step{4400 * ms, heard(c, lower, 1, time.Second), transition(StateMaster, StateBackup, ReasonHandover), 4400*ms + down100},
		)},
		{"as master, if there is no successor", c, leave(ReasonHandover, step{by, Tick{}, nothing.advertising(100), by + time.Second})},
	})
	for _, tt := range []struct {
		config Config
		want   time.Duration
	}{
		{v3(), time.Second + skew100},
		{v3(interval(10 * ms)), 10*ms + 156*10*ms/256},
		{v2(), time.Second + skew100},
		{v2(interval(255 * time.Second)), 10*time.Second + skew100}, // RFC 3768 has skew times of less than a second
	} {
		if got := tt.config.LeaveTime(); got != tt.want {
			t.Errorf("version %v at %v: leaves within %v, want %v", tt.config.Version, tt.config.Interval, got, tt.want)
		}
	}
	for _, state := range [][]step{asBackup(), nil} {
		r := run(t, c, state)
		if out := r.Step(t0.Add(4*time.Second), Leave{Reason: ReasonShutdown}); out.Advertise || r.Status().State != StateInit {
			t.Errorf("not master: %+v, %v", out, r.Status().State)
		}
	}
}

// "It MUST NOT respond to ARP requests for the IPv4 address(es) associated with the
// Virtual Router" as a backup: not before its successor has had time to take the
// addresses.
func TestRFC9568_6_4_2_Linger(t *testing.T) {
	at := func(d time.Duration) time.Time { return t0.Add(4*time.Second + d) }
	r := run(t, v3(), asMaster())
	r.Step(at(0), heard(v3(), lower, 150, time.Second))
	if s := r.Status(); s.State != StateBackup || !s.Lingering || !r.Deadline().Equal(at(Linger)) {
		t.Errorf("%+v until %v", s, r.Deadline())
	}
	if r.Step(at(Linger-1), Tick{}); !r.Status().Lingering {
		t.Error("too short")
	}
	if r.Step(at(Linger), Tick{}); r.Status().Lingering {
		t.Error("too long")
	}
	for reason, want := range map[Reason]bool{ReasonShutdown: true, ReasonTrack: true, ReasonLinkDown: false, ReasonNoAddress: false, ReasonSocket: false} {
		r := run(t, v3(), asMaster())
		r.Step(at(0), Stop{Reason: reason})
		if got := r.Status().Lingering; got != want {
			t.Errorf("stopped for %v: lingers %v, want %v", reason, got, want)
		}
	}
}

// "If a Startup event is received": not with a Priority of 255, but by a process that
// was master a moment ago, the first case is taken too.
func TestRFC9568_6_4_1_Resume(t *testing.T) {
	run(t, v3(), []step{
		{0, Resume{}, transition(StateInit, StateMaster, ReasonResumed).advertising(100), time.Second},
		{time.Second, Tick{}, nothing.advertising(100), 2 * time.Second},
	})
	// Whoever has taken over meanwhile is given way to as ever.
	run(t, v3(), []step{
		{0, Resume{}, transition(StateInit, StateMaster, ReasonResumed).advertising(100), time.Second},
		{1, heard(v3(), lower, 150, time.Second), transition(StateMaster, StateBackup, ReasonHigherPriority), 1 + down100},
	})
	run(t, v3(), asBackup(step{time.Second, Resume{}, nothing, down100}))
}

// "If the Active_Down_Timer fires, then: [...] Transition to the {Active} state": a
// member of a group when the others are ready to.
func TestRFC9568_6_4_2_Grouped(t *testing.T) {
	c := v3(func(c *Config) { c.Grouped = true })
	runAll(t, []routerTest{
		{"it waits to be told", c, asBackup(
			step{down100, Tick{}, nothing, never},
			step{10 * time.Second, Lead{}, toMaster(ReasonMasterDown, 100), 11 * time.Second},
		)},
		{"a master that speaks again is followed", c, asBackup(
			step{down100, Tick{}, nothing, never},
			step{5 * time.Second, heard(c, lower, 150, time.Second), nothing, 5*time.Second + down100},
			step{5*time.Second + down100, Tick{}, nothing, never},
		)},
		{"but not if the others are master already", c, asBackup(
			step{down100, Tick{}, nothing, never},
			step{5 * time.Second, heard(c, lower, 150, time.Second), nothing, 5*time.Second + down100},
			step{5 * time.Second, Lead{}, toMaster(ReasonGroup, 100), 6 * time.Second},
			step{5 * time.Second, heard(c, lower, 150, time.Second), transition(StateMaster, StateBackup, ReasonHigherPriority), 5*time.Second + down100},
		)},
		{"it gives way with the others", c, asBackup(
			step{down100, Tick{}, nothing, never},
			step{4 * time.Second, Lead{}, toMaster(ReasonMasterDown, 100), 5 * time.Second},
			step{4500 * ms, Concede{}, transition(StateMaster, StateBackup, ReasonGroup), 4500*ms + down100},
		)},
		{"it leaves the master of another member to its successor", c, asBackup(step{time.Second, Expect{}, nothing, time.Second + skew100})},
	})
}
