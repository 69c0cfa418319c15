package vrrp

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestStatus(t *testing.T) {
	sec := time.Second
	tests := []struct {
		name   string
		config Config
		steps  []step
		want   Status
	}{
		{"new", v3(), nil, Status{}},
		{"started", v3(), asBackup(), Status{
			State: StateBackup, Since: t0, Reason: ReasonStartup, MasterInterval: sec,
		}},
		{
			"a better master", v3(),
			asBackup(step{sec, heard(v3(), higher, 150, 2*sec), nothing, 7*sec + 2*skew100}),
			Status{
				State: StateBackup, Since: t0, Reason: ReasonStartup, Settled: true,
				Master: higher, MasterPriority: 150, MasterInterval: 2 * sec,
			},
		},
		{
			"a worse master is seen, not accepted", v3(),
			asBackup(step{sec, heard(v3(), lower, 50, 2*sec), nothing.dropping(DropPriority), down100}),
			Status{
				State: StateBackup, Since: t0, Reason: ReasonStartup, Settled: true,
				Master: lower, MasterPriority: 50, MasterInterval: sec,
			},
		},
		{
			"after its farewell nobody is", v3(),
			asBackup(
				step{sec, heard(v3(), higher, 150, sec), nothing, sec + down100},
				step{2 * sec, heard(v3(), higher, 0, sec), nothing, 2*sec + skew100},
			),
			Status{State: StateBackup, Since: t0, Reason: ReasonStartup, Settled: true, MasterInterval: sec},
		},
		{
			"the farewell of another", v3(),
			asBackup(
				step{sec, heard(v3(), higher, 150, sec), nothing, sec + down100},
				step{2 * sec, heard(v3(), lower, 0, sec), nothing, 2*sec + skew100},
			),
			Status{
				State: StateBackup, Since: t0, Reason: ReasonStartup, Settled: true,
				Master: higher, MasterPriority: 150, MasterInterval: sec,
			},
		},
		{
			"a farewell to one who has heard nothing", v3(),
			asBackup(step{sec, heard(v3(), lower, 0, sec), nothing, sec + skew100}),
			Status{State: StateBackup, Since: t0, Reason: ReasonStartup, Settled: false, MasterInterval: sec},
		},
		{"master", v3(), asMaster(), Status{
			State: StateMaster, Since: t0.Add(down100), Reason: ReasonMasterDown, Settled: true, Epoch: 1,
			Master: own, MasterPriority: 100, MasterInterval: sec,
		}},
		{
			"master with another configuration", v3(),
			asMaster(step{down100, set(v3(priority(20))), nothing, down100 + sec}),
			Status{
				State: StateMaster, Since: t0.Add(down100), Reason: ReasonMasterDown, Settled: true, Epoch: 1,
				Master: own, MasterPriority: 20, MasterInterval: sec,
			},
		},
		{
			"yielded", v3(),
			asMaster(step{4 * sec, heard(v3(), higher, 150, sec), transition(StateMaster, StateBackup, ReasonHigherPriority), 4*sec + down100}),
			Status{
				State: StateBackup, Since: t0.Add(4 * sec), Reason: ReasonHigherPriority, Settled: true, Lingering: true, Epoch: 1,
				Master: higher, MasterPriority: 150, MasterInterval: sec,
			},
		},
		{
			"fault, and another", v3(),
			asMaster(
				step{4 * sec, Stop{Reason: ReasonLinkDown}, transition(StateMaster, StateFault, ReasonLinkDown).advertising(0), never},
				step{5 * sec, Stop{Reason: ReasonNoAddress}, nothing, never},
			),
			Status{State: StateFault, Since: t0.Add(4 * sec), Reason: ReasonNoAddress, Epoch: 1},
		},
		{
			"master again", v3(),
			asMaster(
				step{4 * sec, Stop{Reason: ReasonLinkDown}, transition(StateMaster, StateFault, ReasonLinkDown).advertising(0), never},
				step{5 * sec, Start{}, transition(StateFault, StateBackup, ReasonStartup), 5*sec + down100},
				step{9 * sec, Tick{}, toMaster(ReasonMasterDown, 100), 10 * sec},
			),
			Status{
				State: StateMaster, Since: t0.Add(9 * sec), Reason: ReasonMasterDown, Settled: true, Epoch: 2,
				Master: own, MasterPriority: 100, MasterInterval: sec,
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := run(t, tt.config, tt.steps).Status()
			if diff := cmp.Diff(tt.want, got, equalAddrs); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
