package vrrp

import (
	"testing"
	"time"
)

func TestPreemptDelay(t *testing.T) {
	c := v3(delay(10 * time.Second))
	sec := func(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }
	low := heard(c, lower, 50, time.Second)
	other := heard(c, higher, 60, time.Second)
	good := heard(c, higher, 150, time.Second)
	discarded := nothing.dropping(DropPriority)
	runAll(t, []routerTest{
		{"from start", c, asBackup(
			step{sec(1), low, nothing, sec(1) + down100},
			step{sec(4), low, nothing, sec(4) + down100},
			step{sec(7), low, nothing, sec(7) + down100},
			step{sec(9.999), low, nothing, sec(9.999) + down100},
			step{sec(10), low, discarded, sec(9.999) + down100},
			step{sec(9.999) + down100, Tick{}, toMaster(ReasonPreempt, 100), sec(10.999) + down100},
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
		{"anew for a master that appears later", c, asBackup(
			step{sec(1), good, nothing, sec(1) + down100},
			step{sec(20), low, nothing, sec(20) + down100},
			step{sec(29.999), low, nothing, sec(29.999) + down100},
			step{sec(30), low, discarded, sec(29.999) + down100},
		)},
		{"not anew for another lower one", c, asBackup(
			step{sec(1), low, nothing, sec(1) + down100},
			step{sec(5), other, nothing, sec(5) + down100},
			step{sec(9), low, nothing, sec(9) + down100},
			step{sec(10), other, discarded, sec(9) + down100},
			step{sec(11), low, discarded, sec(9) + down100},
		)},
		{"anew after being master", c, asMaster(
			step{sec(4), good, transition(StateMaster, StateBackup, ReasonHigherPriority), sec(4) + down100},
			step{sec(20), low, nothing, sec(20) + down100},
			step{sec(30), low, discarded, sec(20) + down100},
		)},
		{"ended by a reconfiguration", c, asBackup(
			step{sec(1), low, nothing, sec(1) + down100},
			step{sec(2), set(v3(delay(2 * time.Second))), nothing, sec(1) + down100},
			step{sec(2), low, discarded, sec(1) + down100},
		)},
		{"from when our priority rose", v3(priority(40), delay(5*time.Second)), []step{
			{0, Start{}, toBackup, 3*time.Second + 843750*time.Microsecond},
			{sec(1), low, nothing, sec(4) + 843750*time.Microsecond},
			{sec(9), set(v3(delay(5 * time.Second))), nothing, sec(1) + down100},
			{sec(9), low, nothing, sec(9) + down100},
			{sec(13.999), low, nothing, sec(13.999) + down100},
			{sec(14), low, discarded, sec(13.999) + down100},
		}},
		{"none for an owner that lost a tie", v3(delay(10*time.Second), owner), []step{
			{0, Start{}, transition(StateInit, StateMaster, ReasonOwner).advertising(255), sec(1)},
			{0, heard(c, higher, 255, sec(1)), transition(StateMaster, StateBackup, ReasonTie), sec(3) + 3906250},
			{sec(1), heard(c, lower, 254, sec(1)), discarded, sec(3) + 3906250},
		}},
		{"none for a new owner", v3(delay(10*time.Second), priority(200)), []step{
			{0, Start{}, toBackup, sec(3.21875)},
			{sec(1), set(v3(delay(10*time.Second), owner)), toMaster(ReasonOwner, 255), sec(2)},
		}},
	})
}
