package vrrp

import (
	"testing"
	"time"
)

// The tests of this file are named after the sections of RFC 3768, version 2,
// whose sentences they hold the router to where they differ from RFC 9568, and
// once through the states where they do not.

// "Skew_Time: Time to skew Master_Down_Interval in seconds. Calculated as: ( (256
// - Priority) / 256 )". "Master_Down_Interval: [...] Calculated as: (3 *
// Advertisement_Interval) + Skew_time". The skew time is a part of a second
// whatever the interval.
func TestRFC3768_6_1_SkewTime(t *testing.T) {
	for _, i := range []time.Duration{1, 2, 255} {
		c := v2(interval(i * time.Second))
		if got := c.SkewTime(c.Interval); got != skew100 {
			t.Errorf("%v: skew time %v, want %v", c.Interval, got, skew100)
		}
		if got, want := c.MasterDownInterval(c.Interval), 3*i*time.Second+skew100; got != want {
			t.Errorf("%v: down interval %v, want %v", c.Interval, got, want)
		}
	}
}

// "If the Priority = 255 [...]: Send an ADVERTISEMENT [...] Set the Adver_Timer
// to Advertisement_Interval. Transition to the {Master} state. else: Set the
// Master_Down_Timer to Master_Down_Interval. Transition to the {Backup} state."
func TestRFC3768_6_4_1_Startup(t *testing.T) {
	run(t, v2(interval(2*time.Second)), []step{{0, Start{}, toBackup, 6*time.Second + skew100}})
	run(t, v2(owner), []step{
		{0, Start{}, transition(StateInit, StateMaster, ReasonOwner).advertising(255), time.Second},
	})
}

// "Note: Exception is that the router that owns the IP address(es) associated with
// the virtual router always preempts independent of the setting of this flag."
func TestRFC3768_6_1_OwnerPreempts(t *testing.T) {
	c := v2(owner, noPreempt)
	run(t, c, []step{
		{0, Start{}, transition(StateInit, StateMaster, ReasonOwner).advertising(255), time.Second},
		{1, heard(c, higher, 255, time.Second), transition(StateMaster, StateBackup, ReasonTie), 1 + 3003906250},
		{2, heard(c, higher, 254, time.Second), nothing.dropping(DropPriority), 1 + 3003906250},
		{1 + 3003906250, Tick{}, transition(StateBackup, StateMaster, ReasonOwner).advertising(255), 1 + 4003906250},
	})
}

// "The purpose of this state is to wait for a Startup event."
func TestRFC3768_6_4_1_Initialize(t *testing.T) {
	run(t, v2(), []step{
		{0, Tick{}, nothing, never},
		{0, heard(v2(), higher, 150, time.Second), nothing.dropping(DropNotRunning), never},
		{0, heard(v2(), higher, 0, time.Second), nothing.dropping(DropNotRunning), never},
		{0, Stop{}, nothing, never},
	})
}

// "If a Shutdown event is received, then: Cancel the Master_Down_Timer. Transition to
// the {Initialize} state."
func TestRFC3768_6_4_2_Shutdown(t *testing.T) {
	run(t, v2(), asBackup(
		step{time.Second, Stop{}, transition(StateBackup, StateInit, ReasonShutdown), never},
		step{down100, Tick{}, nothing, never},
	))
}

// "If the Master_Down_Timer fires, then: Send an ADVERTISEMENT. [...] Set the
// Adver_Timer to Advertisement_Interval. Transition to the {Master} state."
func TestRFC3768_6_4_2_MasterDownTimer(t *testing.T) {
	run(t, v2(), asBackup(
		step{down100 - 1, Tick{}, nothing, down100},
		step{down100, Tick{}, toMaster(ReasonMasterDown, 100), down100 + time.Second},
	))
}

// "If the Priority in the ADVERTISEMENT is Zero, then: Set the Master_Down_Timer
// to Skew_Time."
func TestRFC3768_6_4_2_PriorityZero(t *testing.T) {
	c := v2(interval(2 * time.Second))
	run(t, c, []step{
		{0, Start{}, toBackup, 6*time.Second + skew100},
		{time.Second, heard(c, higher, 0, 2*time.Second), nothing, time.Second + skew100},
		{time.Second + skew100, Tick{}, toMaster(ReasonFarewell, 100), 3*time.Second + skew100},
	})
}

// "If Preempt_Mode is False, or If the Priority in the ADVERTISEMENT is greater
// than or equal to the local Priority, then: Reset the Master_Down_Timer to
// Master_Down_Interval. else: Discard the ADVERTISEMENT."
func TestRFC3768_6_4_2_Accept(t *testing.T) {
	for _, p := range []uint8{100, 255} {
		run(t, v2(), asBackup(step{time.Second, heard(v2(), lower, p, time.Second), nothing, time.Second + down100}))
	}
	run(t, v2(noPreempt), asBackup(step{time.Second, heard(v2(), lower, 1, time.Second), nothing, time.Second + down100}))
	run(t, v2(), asBackup(
		step{time.Second, heard(v2(), higher, 99, time.Second), nothing.dropping(DropPriority), down100},
		step{down100, Tick{}, toMaster(ReasonPreempt, 100), down100 + time.Second},
	))
}

// "If a Shutdown event is received, then: Cancel the Adver_Timer. Send an
// ADVERTISEMENT with Priority = 0. Transition to the {Initialize} state." and
// "If the Adver_Timer fires, then: Send an ADVERTISEMENT. Reset the Adver_Timer
// to Advertisement_Interval."
func TestRFC3768_6_4_3_Timer(t *testing.T) {
	run(t, v2(), asMaster(
		step{down100 + time.Second, Tick{}, nothing.advertising(100), down100 + 2*time.Second},
		step{down100 + time.Second, Stop{}, transition(StateMaster, StateInit, ReasonShutdown).advertising(0), never},
	))
}

// "If the Priority in the ADVERTISEMENT is Zero, then: Send an ADVERTISEMENT.
// Reset the Adver_Timer to Advertisement_Interval. else: If the Priority in the
// ADVERTISEMENT is greater than the local Priority, or If the Priority in the
// ADVERTISEMENT is equal to the local Priority and the primary IP Address of the
// sender is greater than the local primary IP Address, then: Cancel Adver_Timer.
// Set Master_Down_Timer to Master_Down_Interval. Transition to the {Backup}
// state. else: Discard ADVERTISEMENT." This router answers as well, as RFC 9568 has it.
func TestRFC3768_6_4_3_Received(t *testing.T) {
	at := 4 * time.Second
	run(t, v2(), asMaster(step{at, heard(v2(), higher, 0, time.Second), nothing.advertising(100), 5 * time.Second}))
	run(t, v2(), asMaster(step{at, heard(v2(), lower, 101, time.Second), transition(StateMaster, StateBackup, ReasonHigherPriority), at + down100}))
	run(t, v2(), asMaster(step{at, heard(v2(), higher, 100, time.Second), transition(StateMaster, StateBackup, ReasonTie), at + down100}))
	for _, low := range []Received{heard(v2(), lower, 100, time.Second), heard(v2(), higher, 99, time.Second)} {
		run(t, v2(), asMaster(step{at, low, nothing.advertising(100).dropping(DropPriority), down100 + time.Second}))
	}
}

// "MUST verify that the Adver Interval in the packet is the same as the locally
// configured for this virtual router. If the above check fails, the receiver
// MUST discard the packet". Priority 0 is no exception.
func TestRFC3768_7_1_Interval(t *testing.T) {
	for _, p := range []uint8{0, 50, 150, 255} {
		bad := heard(v2(), higher, p, 2*time.Second)
		run(t, v2(), asBackup(step{time.Second, bad, nothing.dropping(DropInterval), down100}))
		run(t, v2(), asMaster(step{4 * time.Second, bad, nothing.dropping(DropInterval), down100 + time.Second}))
	}
}
