package vrrp

import (
	"net/netip"
	"testing"
	"time"
)

// The tests of this file are named after the sections of RFC 9568 whose
// sentences they hold the router to. RFC 9568 says Active for master.

// "Skew_Time: Time to skew Active_Down_Interval in centiseconds. Calculated as
// (((256 - Priority) * Active_Adver_Interval) / 256)". "Active_Down_Interval:
// [...] Calculated as: (3 * Active_Adver_Interval) + Skew_Time".
func TestRFC9568_6_1_SkewTime(t *testing.T) {
	tests := []struct {
		priority       uint8
		interval       time.Duration
		skew, downtime time.Duration
	}{
		{100, time.Second, 609375 * time.Microsecond, 3609375 * time.Microsecond},
		{254, time.Second, 7812500, 3007812500},
		{1, time.Second, 996093750, 3996093750},
		{255, time.Second, 3906250, 3003906250},
		{100, 10 * ms, 6093750, 36093750},
		{100, 40950 * ms, 24953906250, 147803906250},
	}
	for _, tt := range tests {
		// The interval is the master's; our own does not matter.
		c := v3(priority(tt.priority), interval(7*time.Second))
		if got := c.SkewTime(tt.interval); got != tt.skew {
			t.Errorf("priority %d, %v: skew time %v, want %v", tt.priority, tt.interval, got, tt.skew)
		}
		if got := c.MasterDownInterval(tt.interval); got != tt.downtime {
			t.Errorf("priority %d, %v: down interval %v, want %v", tt.priority, tt.interval, got, tt.downtime)
		}
	}
}

// "Preempt_Mode: [...] Note: The exception is that the router that owns the
// IPvX address associated with the Virtual Router always preempts, independent of
// the setting of this flag."
func TestRFC9568_6_1_OwnerPreempts(t *testing.T) {
	c := v3(owner, noPreempt)
	// A tie between two owners makes one of them backup.
	run(t, c, []step{
		{0, Start{}, transition(StateInit, StateMaster, ReasonOwner).advertising(255), time.Second},
		{1, heard(c, higher, 255, time.Second), transition(StateMaster, StateBackup, ReasonTie), 1 + 3003906250},
		{2, heard(c, higher, 254, time.Second), nothing.dropping(DropPriority), 1 + 3003906250},
	})
}

// "If a Startup event is received, then: If the Priority = 255, i.e., the router
// owns the IPvX address(es) associated with the Virtual Router, then: Send an
// ADVERTISEMENT [...] Set the Adver_Timer to Advertisement_Interval. Transition
// to the {Active} state."
func TestRFC9568_6_4_1_StartupOfOwner(t *testing.T) {
	run(t, v3(owner), []step{
		{0, Start{}, transition(StateInit, StateMaster, ReasonOwner).advertising(255), time.Second},
	})
}

// "else // Router is not the address owner: Set the Active_Adver_Interval to
// Advertisement_Interval. Set the Active_Down_Timer to Active_Down_Interval.
// Transition to the {Backup} state."
func TestRFC9568_6_4_1_Startup(t *testing.T) {
	run(t, v3(), []step{{0, Start{}, toBackup, down100}})
	run(t, v3(interval(100*ms)), []step{{0, Start{}, toBackup, down100 / 10}})
	run(t, v3(), asBackup(step{time.Second, Start{}, nothing, down100})) // taking part already
	run(t, v3(), asMaster(step{4 * time.Second, Start{}, nothing, down100 + time.Second}))
}

// "The purpose of this state is to wait for a Startup event": nothing else does
// anything.
func TestRFC9568_6_4_1_Initialize(t *testing.T) {
	c := v3()
	run(t, c, []step{
		{0, Tick{}, nothing, never},
		{0, heard(c, higher, 150, time.Second), nothing.dropping(DropNotRunning), never},
		{0, heard(c, higher, 0, time.Second), nothing.dropping(DropNotRunning), never},
		{0, Stop{Reason: ReasonShutdown}, nothing, never},
		{0, Stop{Reason: ReasonLinkDown}, transition(StateInit, StateFault, ReasonLinkDown), never},
		{1, Tick{}, nothing, never},
		{1, heard(c, higher, 150, time.Second), nothing.dropping(DropNotRunning), never},
		{1, Stop{}, transition(StateFault, StateInit, ReasonShutdown), never},
	})
}

// "If a Shutdown event is received, then: Cancel the Active_Down_Timer.
// Transition to the {Initialize} state."
func TestRFC9568_6_4_2_Shutdown(t *testing.T) {
	for reason, state := range map[Reason]State{
		ReasonShutdown: StateInit, ReasonRemoved: StateInit,
		ReasonLinkDown: StateFault, ReasonNoAddress: StateFault, ReasonSocket: StateFault,
	} {
		run(t, v3(), asBackup(
			step{time.Second, Stop{Reason: reason}, transition(StateBackup, state, reason), never},
			step{down100, Tick{}, nothing, never},
		))
	}
}

// "If the Active_Down_Timer fires, then: Send an ADVERTISEMENT. [...] Set the
// Adver_Timer to Advertisement_Interval. Transition to the {Active} state."
func TestRFC9568_6_4_2_ActiveDownTimer(t *testing.T) {
	run(t, v3(), asBackup(
		step{down100 - 1, Tick{}, nothing, down100},
		step{down100, Tick{}, toMaster(ReasonMasterDown, 100), down100 + time.Second},
	))
	// The interval of a master is its own, not the one that it learnt.
	run(t, v3(), asBackup(
		step{0, heard(v3(), higher, 150, 10*time.Second), nothing, 10 * down100},
		step{10 * down100, Tick{}, toMaster(ReasonMasterDown, 100), 10*down100 + time.Second},
	))
}

// "If the Priority in the ADVERTISEMENT is 0, then: Set the Active_Down_Timer to
// Skew_Time."
func TestRFC9568_6_4_2_PriorityZero(t *testing.T) {
	run(t, v3(), asBackup(
		step{time.Second, heard(v3(), higher, 150, time.Second), nothing, time.Second + down100},
		step{2 * time.Second, heard(v3(), higher, 0, time.Second), nothing, 2*time.Second + skew100},
		step{2*time.Second + skew100 - 1, Tick{}, nothing, 2*time.Second + skew100},
		step{2*time.Second + skew100, Tick{}, toMaster(ReasonFarewell, 100), 3*time.Second + skew100},
	))
	// Somebody else may have been quicker.
	run(t, v3(), asBackup(
		step{time.Second, heard(v3(), higher, 0, time.Second), nothing, time.Second + skew100},
		step{time.Second + 1, heard(v3(), lower, 150, time.Second), nothing, time.Second + 1 + down100},
		step{time.Second + 1 + down100, Tick{}, toMaster(ReasonMasterDown, 100), 2*time.Second + 1 + down100},
	))
	// The skew time is a part of the interval that was learnt.
	run(t, v3(), asBackup(
		step{0, heard(v3(), higher, 150, 100*ms), nothing, down100 / 10},
		step{1, heard(v3(), higher, 0, 100*ms), nothing, 1 + skew100/10},
	))
}

// "If Preempt_Mode is False, or if the Priority in the ADVERTISEMENT is greater
// than or equal to the local Priority, then: Set the Active_Adver_Interval to the
// Max Advertise Interval contained in the ADVERTISEMENT. Recompute the Skew_Time.
// Recompute the Active_Down_Interval. Set the Active_Down_Timer to
// Active_Down_Interval."
func TestRFC9568_6_4_2_Accept(t *testing.T) {
	for _, p := range []uint8{100, 101, 254, 255} {
		run(t, v3(), asBackup(
			step{time.Second, heard(v3(), lower, p, 2*time.Second), nothing, time.Second + 2*down100},
			step{2 * time.Second, heard(v3(), lower, p, 100*ms), nothing, 2*time.Second + down100/10},
		))
	}
	for _, p := range []uint8{1, 99, 100, 255} {
		run(t, v3(noPreempt), asBackup(
			step{time.Second, heard(v3(), lower, p, 2*time.Second), nothing, time.Second + 2*down100},
		))
	}
}

// "else // preempt was true and priority was less than the local priority: Discard
// the ADVERTISEMENT".
func TestRFC9568_6_4_2_Discard(t *testing.T) {
	for _, p := range []uint8{1, 99} {
		run(t, v3(), asBackup(
			step{time.Second, heard(v3(), higher, p, 10*time.Second), nothing.dropping(DropPriority), down100},
			step{down100, Tick{}, toMaster(ReasonPreempt, 100), down100 + time.Second},
		))
	}
}

// "If a Shutdown event is received, then: Cancel the Adver_Timer. Send an
// ADVERTISEMENT with Priority = 0. Transition to the {Initialize} state."
func TestRFC9568_6_4_3_Shutdown(t *testing.T) {
	for reason, state := range map[Reason]State{
		ReasonShutdown: StateInit, ReasonRemoved: StateInit,
		ReasonLinkDown: StateFault, ReasonNoAddress: StateFault, ReasonSocket: StateFault,
	} {
		run(t, v3(), asMaster(
			step{4 * time.Second, Stop{Reason: reason}, transition(StateMaster, state, reason).advertising(0), never},
			step{5 * time.Second, Tick{}, nothing, never},
		))
	}
}

// "If the Adver_Timer fires, then: Send an ADVERTISEMENT. Reset the Adver_Timer
// to Advertisement_Interval."
func TestRFC9568_6_4_3_AdverTimer(t *testing.T) {
	run(t, v3(), asMaster(
		step{down100 + 1*time.Second, Tick{}, nothing.advertising(100), down100 + 2*time.Second},
		step{down100 + 2*time.Second, Tick{}, nothing.advertising(100), down100 + 3*time.Second},
	))
}

// "If the Priority in the ADVERTISEMENT is 0, then: Send an ADVERTISEMENT. Reset
// the Adver_Timer to Advertisement_Interval."
func TestRFC9568_6_4_3_PriorityZero(t *testing.T) {
	run(t, v3(), asMaster(
		step{4 * time.Second, heard(v3(), higher, 0, time.Second), nothing.advertising(100), 5 * time.Second},
	))
}

// "If the Priority in the ADVERTISEMENT is greater than the local Priority [...]
// then: Cancel Adver_Timer. Set the Active_Adver_Interval to the Max Advertise
// Interval contained in the ADVERTISEMENT. Recompute the Skew_Time. Recompute the
// Active_Down_Interval. Set the Active_Down_Timer to Active_Down_Interval.
// Transition to the {Backup} state." It says so of a master that does not preempt
// too.
func TestRFC9568_6_4_3_HigherPriority(t *testing.T) {
	for _, c := range []Config{v3(), v3(noPreempt), v3(delay(time.Hour))} {
		for _, p := range []uint8{101, 255} {
			run(t, c, asMaster(
				step{
					4 * time.Second, heard(c, lower, p, 2*time.Second),
					transition(StateMaster, StateBackup, ReasonHigherPriority), 4*time.Second + 2*down100,
				},
			))
		}
	}
}

// "[...] or the Priority in the ADVERTISEMENT is equal to the local Priority and
// the primary IPvX address of the sender is greater than the local primary IPvX
// address (based on an unsigned integer comparison of the IPvX addresses in
// network byte order), then: [the same]".
func TestRFC9568_6_4_3_Tie(t *testing.T) {
	run(t, v3(), asMaster(
		step{4 * time.Second, heard(v3(), lower, 100, time.Second), nothing.advertising(100).dropping(DropPriority), down100 + time.Second},
		step{4 * time.Second, heard(v3(), higher, 100, time.Second), transition(StateMaster, StateBackup, ReasonTie), 4*time.Second + down100},
	))
	// Unsigned: 128.0.0.1 is greater than 127.0.0.1.
	for _, tt := range []struct {
		own, src netip.Addr
		want     State
	}{
		{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("128.0.0.1"), StateBackup},
		{netip.MustParseAddr("128.0.0.1"), netip.MustParseAddr("127.0.0.1"), StateMaster},
	} {
		c := v3(func(c *Config) { c.Primary = tt.own })
		r := run(t, c, asMaster())
		r.Step(t0.Add(4*time.Second), heard(c, tt.src, 100, time.Second))
		if got := r.Status().State; got != tt.want {
			t.Errorf("%v hears %v: %v, want %v", tt.own, tt.src, got, tt.want)
		}
	}
}

// "else // new Active Router logic: Discard the ADVERTISEMENT. Send an ADVERTISEMENT
// immediately to assert the {Active} state to the sending VRRP Router". The
// timer goes on.
func TestRFC9568_6_4_3_LowerPriority(t *testing.T) {
	answer := nothing.advertising(100).dropping(DropPriority)
	silence := nothing.dropping(DropPriority)
	for _, p := range []uint8{1, 99} {
		low := heard(v3(), higher, p, time.Second)
		run(t, v3(), asMaster(
			step{4 * time.Second, low, answer, down100 + time.Second},
			// Not without end: so often between two advertisements of its own.
			step{4 * time.Second, low, answer, down100 + time.Second},
			step{4 * time.Second, low, answer, down100 + time.Second},
			step{4 * time.Second, low, silence, down100 + time.Second},
			step{4 * time.Second, heard(v3(), higher, 0, time.Second), nothing, down100 + time.Second},
			step{down100 + time.Second, Tick{}, nothing.advertising(100), down100 + 2*time.Second},
			step{down100 + time.Second, low, answer, down100 + 2*time.Second},
		))
	}
}

// An owner yields to nobody but, by its address, to another owner. It answers, as
// section 6.4.3 has it.
func TestRFC9568_6_4_3_Owner(t *testing.T) {
	c := v3(owner)
	dropped := nothing.advertising(255).dropping(DropOwner)
	run(t, c, []step{
		{0, Start{}, transition(StateInit, StateMaster, ReasonOwner).advertising(255), time.Second},
		{1, heard(c, higher, 254, time.Second), dropped, time.Second},
		{2, heard(c, lower, 255, time.Second), dropped, time.Second},
		{3, heard(c, higher, 0, time.Second), nothing.advertising(255), time.Second + 3},
		{4, heard(c, higher, 255, time.Second), transition(StateMaster, StateBackup, ReasonTie), 4 + 3003906250},
	})
}
