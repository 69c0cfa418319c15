package vrrp

import (
	"testing"
	"time"
)

func hold(c *Config) { c.Hold = true }

// TestHold: a router that is not ready leaves a live master alone, however bad,
// and nothing else changes.
func TestHold(t *testing.T) {
	c := v3(hold)
	sec := func(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }
	low := heard(c, lower, 50, time.Second)
	discarded := nothing.dropping(DropPriority)
	runAll(t, []routerTest{
		{"a worse master is left alone until it is released", c, asBackup(
			step{sec(1), low, nothing, sec(1) + down100},
			step{sec(60), low, nothing, sec(60) + down100},
			step{sec(60.5), set(v3()), nothing, sec(60) + down100},
			step{sec(61), low, discarded, sec(60) + down100},
			step{sec(60) + down100, Tick{}, toMaster(ReasonPreempt, 100), sec(61) + down100},
		)},
		{"a dead master is not waited for", c, asBackup(
			step{sec(1), low, nothing, sec(1) + down100},
			step{sec(1) + down100, Tick{}, toMaster(ReasonMasterDown, 100), sec(2) + down100},
		)},
		{"a farewell is not waited for", c, asBackup(
			step{sec(1), low, nothing, sec(1) + down100},
			step{sec(2), heard(c, lower, 0, time.Second), nothing, sec(2) + skew100},
			step{sec(2) + skew100, Tick{}, toMaster(ReasonFarewell, 100), sec(3) + skew100},
		)},
		{"held while it is about to preempt", v3(), asBackup(
			step{sec(1), low, discarded, down100},
			step{sec(3), set(c), nothing, sec(3) + down100},
			step{sec(4), low, nothing, sec(4) + down100},
		)},
		{"the delay runs meanwhile", v3(hold, delay(10*time.Second)), asBackup(
			step{sec(1), low, nothing, sec(1) + down100},
			step{sec(11), low, nothing, sec(11) + down100},
			step{sec(11.5), set(v3(delay(10 * time.Second))), nothing, sec(11) + down100},
			step{sec(12), low, discarded, sec(11) + down100},
		)},
		{"an owner is not held", v3(hold, owner), []step{
			{0, Start{}, transition(StateInit, StateMaster, ReasonOwner).advertising(255), sec(1)},
		}},
	})
}

// TestHeld: the status says when it is only the hold that keeps a router from
// taking over.
func TestHeld(t *testing.T) {
	at := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	c := v3(hold)
	r := New(c)
	r.Step(at, Start{})
	for _, tt := range []struct {
		name string
		ev   Event
		want bool
	}{
		{"a worse master", heard(c, lower, 50, time.Second), true},
		{"a better one", heard(c, higher, 150, time.Second), false},
		{"the worse one again", heard(c, lower, 50, time.Second), true},
		{"not while we would not preempt", set(v3(hold, noPreempt)), false},
		{"held again", set(c), false}, // until it is heard
		{"it is heard", heard(c, lower, 50, time.Second), true},
		{"released", set(v3()), false},
		{"held once more", set(c), false},
		{"it is heard again", heard(c, lower, 50, time.Second), true},
		{"it says farewell", heard(c, lower, 0, time.Second), false},
	} {
		r.Step(at, tt.ev)
		if got := r.Status().Held; got != tt.want {
			t.Errorf("%s: held = %t, want %t", tt.name, got, tt.want)
		}
	}
}
