package vrrp

import (
	"testing"
	"time"
)

func TestReconfigure(t *testing.T) {
	sec := time.Second
	good := heard(v3(), higher, 150, 2*sec)
	runAll(t, []routerTest{
		{"before start", v3(), []step{
			{0, set(v3(owner)), nothing, never},
			{1, Start{}, transition(StateInit, StateMaster, ReasonOwner).advertising(255), sec + 1},
		}},
		{"priority of a backup", v3(), asBackup(
			step{2 * sec, set(v3(priority(200))), nothing, 3*sec + 218750*time.Microsecond},
			step{2 * sec, set(v3(priority(1))), nothing, 3*sec + 996093750},
		)},
		{"priority of a backup again and again postpones nothing", v3(), asBackup(
			step{1 * sec, set(v3()), nothing, down100},
			step{2 * sec, set(v3()), nothing, down100},
			step{3 * sec, set(v3()), nothing, down100},
		)},
		{"priority of a backup after a farewell", v3(), asBackup(
			step{1 * sec, heard(v3(), higher, 0, sec), nothing, sec + skew100},
			step{1 * sec, set(v3(priority(254))), nothing, sec + 7812500},
		)},
		{"priority of a backup with a learnt interval", v3(), asBackup(
			step{1 * sec, good, nothing, 7*sec + 2*skew100},
			step{2 * sec, set(v3(priority(128))), nothing, 8 * sec},
		)},
		{"interval of a backup that has learnt one", v3(), asBackup(
			step{1 * sec, good, nothing, 7*sec + 2*skew100},
			step{1 * sec, set(v3(interval(100 * ms))), nothing, 7*sec + 2*skew100},
		)},
		{"interval of a backup that has not", v3(), asBackup(
			step{1 * sec, set(v3(interval(2 * sec))), nothing, 2 * down100},
		)},
		{"interval of a v2 backup", v2(), asBackup(
			step{1 * sec, set(v2(interval(2 * sec))), nothing, 6*sec + skew100},
			step{1 * sec, heard(v2(), higher, 150, sec), nothing.dropping(DropInterval), 6*sec + skew100},
		)},
		{"version of a backup that has learnt an interval", v3(), asBackup(
			step{1 * sec, good, nothing, 7*sec + 2*skew100},
			step{1 * sec, set(v2()), nothing, sec + down100},
		)},
		{"preempt", v3(noPreempt), asBackup(
			step{1 * sec, heard(v3(), lower, 50, sec), nothing, sec + down100},
			step{2 * sec, set(v3()), nothing, sec + down100},
			step{2 * sec, heard(v3(), lower, 50, sec), nothing.dropping(DropPriority), sec + down100},
		)},
		{"longer interval of a master", v3(), asMaster(
			step{4 * sec, set(v3(interval(5 * sec))), nothing.advertising(100), down100 + sec},
			step{down100 + sec, Tick{}, nothing.advertising(100), down100 + 6*sec},
		)},
		{"shorter interval of a master", v3(), asMaster(
			step{4 * sec, set(v3(interval(100 * ms))), nothing.advertising(100), 4*sec + 100*ms},
			step{4*sec + 100*ms, Tick{}, nothing.advertising(100), 4*sec + 200*ms},
		)},
		{"priority and addresses of a master", v3(), asMaster(
			step{4 * sec, set(v3(priority(20), func(c *Config) { c.Addresses = nil })), nothing, down100 + sec},
			step{down100 + sec, Tick{}, nothing.advertising(20), down100 + 2*sec},
		)},
		{"owner from backup", v3(), asBackup(
			step{1 * sec, set(v3(owner)), toMaster(ReasonOwner, 255), 2 * sec},
			step{1 * sec, set(v3(owner)), nothing, 2 * sec},
		)},
		{"owner from master", v3(), asMaster(
			step{4 * sec, set(v3(owner)), nothing, down100 + sec},
			step{down100 + sec, Tick{}, nothing.advertising(255), down100 + 2*sec},
		)},
		{"owner no more", v3(owner), []step{
			{0, Start{}, transition(StateInit, StateMaster, ReasonOwner).advertising(255), sec},
			{0, set(v3()), nothing, sec},
			{sec, Tick{}, nothing.advertising(100), 2 * sec},
			{sec, heard(v3(), higher, 150, sec), transition(StateMaster, StateBackup, ReasonHigherPriority), sec + down100},
		}},
		{"primary", v3(), asMaster(
			step{4 * sec, set(v3(func(c *Config) { c.Primary = higher })), nothing, down100 + sec},
			step{4 * sec, heard(v3(), higher, 100, sec), nothing.dropping(DropOwnAddress), down100 + sec},
			step{4 * sec, heard(v3(), own, 100, sec), nothing.advertising(100).dropping(DropPriority), down100 + sec},
		)},
		{"interval 0 is not a loop", v3(interval(0)), []step{
			{0, Start{}, toBackup, 36*ms + 93750},
			{sec, Tick{}, toMaster(ReasonMasterDown, 100), sec + 10*ms},
			{sec, set(v3(interval(-1))), nothing, sec + 10*ms},
		}},
	})
}
