package connsync

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

func TestDaemons(t *testing.T) {
	both, follow := testConfig("a"), testConfig("a")
	follow.Follow = "web"
	for _, tt := range []struct {
		name   string
		c      Config
		master bool
		want   []genl.DaemonState
	}{
		{"both", both, false, []genl.DaemonState{genl.DaemonBackup, genl.DaemonMaster}},
		{"both as master", both, true, []genl.DaemonState{genl.DaemonBackup, genl.DaemonMaster}},
		{"follows, backup", follow, false, []genl.DaemonState{genl.DaemonBackup}},
		{"follows, master", follow, true, []genl.DaemonState{genl.DaemonMaster}},
	} {
		var got []genl.DaemonState
		for _, d := range tt.c.daemons(tt.master) {
			got = append(got, d.State)
			if d.Interface != "eth0" || d.ID != 7 || d.Port != 8848 || d.Group != tt.c.Group || d.TTL != 1 {
				t.Errorf("%s: %+v", tt.name, d)
			}
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
}

func TestRepair(t *testing.T) {
	want := testConfig("a").daemons(true)
	backup, master := want[0], want[1]
	backup.MaxLen, master.MaxLen = 1472, 1472 // as the kernel reports them
	otherID, otherLink := master, backup
	otherID.ID, otherLink.Interface = 8, "eth1"
	long := testConfig("a")
	long.MaxLen = 9000
	for _, tt := range []struct {
		name       string
		have, want []genl.Daemon
		stale      bool
		changes    []genl.Message
	}{
		{"nothing runs", nil, want, false, []genl.Message{{Op: genl.NewDaemon, Daemon: want[0]}, {Op: genl.NewDaemon, Daemon: want[1]}}},
		{"all runs", []genl.Daemon{master, backup}, want, false, nil},
		{"one is missing", []genl.Daemon{master}, want, false, []genl.Message{{Op: genl.NewDaemon, Daemon: want[0]}}},
		{"one has another id", []genl.Daemon{otherID, backup}, want, false,
			[]genl.Message{{Op: genl.DelDaemon, Daemon: otherID}, {Op: genl.NewDaemon, Daemon: want[1]}}},
		{"one is elsewhere", []genl.Daemon{master, otherLink}, want, false,
			[]genl.Message{{Op: genl.DelDaemon, Daemon: otherLink}, {Op: genl.NewDaemon, Daemon: want[0]}}},
		{"not master any more", []genl.Daemon{master, backup}, want[:1], false, []genl.Message{{Op: genl.DelDaemon, Daemon: master}}},
		{"other length", []genl.Daemon{master, backup}, long.daemons(true)[:1], false,
			[]genl.Message{{Op: genl.DelDaemon, Daemon: backup}, {Op: genl.NewDaemon, Daemon: long.daemons(true)[0]}, {Op: genl.DelDaemon, Daemon: master}}},
		{"on an interface that is gone", []genl.Daemon{master, backup}, want, true, []genl.Message{
			{Op: genl.DelDaemon, Daemon: backup}, {Op: genl.NewDaemon, Daemon: want[0]},
			{Op: genl.DelDaemon, Daemon: master}, {Op: genl.NewDaemon, Daemon: want[1]}}},
	} {
		if d := cmp.Diff(tt.changes, repair(tt.have, tt.want, tt.stale), compareAddrs); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
	// What was begun and has failed half way is ours too, and so is what is left
	// of before; what fails again and again is not remembered again and again.
	old := []genl.Daemon{otherID}
	list := old
	for range 3 {
		list = ours(list, want, errors.New("no such device"))
	}
	if d := cmp.Diff([]genl.Daemon{otherID, want[0], want[1]}, list, compareAddrs); d != "" {
		t.Errorf("ours after a failure (-want +got):\n%s", d)
	}
	if d := cmp.Diff(want, ours(list, want, nil), compareAddrs); d != "" {
		t.Errorf("ours in the end (-want +got):\n%s", d)
	}
	// Of what runs when the configuration drops it, only what was ours goes.
	if d := cmp.Diff([]genl.Message{{Op: genl.DelDaemon, Daemon: master}}, removal([]genl.Daemon{master, otherLink}, want), compareAddrs); d != "" {
		t.Errorf("removal (-want +got):\n%s", d)
	}
}
