package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/configs"
	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/connsync"
	"github.com/understudy-ha/understudy/director/ipvs/genl"
	"github.com/understudy-ha/understudy/director/link"
	"github.com/understudy-ha/understudy/vrrp/notify"
)

// TestHoldUntilReady: routers that wait for readiness are held until it is there,
// each with its own limit, and others never.
func TestHoldUntilReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		e := newElections(link.New(log), notify.New(notify.Options{}), log, nil)
		var ready atomic.Bool
		begin := time.Now()
		e.ready = func(limit time.Duration) bool { return ready.Load() || time.Since(begin) >= limit }
		waiting := func(name string, vrid uint8, limit time.Duration) configs.VirtualRouter {
			r := virtualRouter(name, "eth0", vrid)
			r.PreemptWhenReady, r.ReadyLimit = true, limit
			return r
		}
		e.set([]configs.VirtualRouter{waiting("a", 51, 10*time.Second), waiting("b", 52, time.Hour), virtualRouter("c", "eth0", 53)}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- e.run(ctx) }()
		synctest.Wait()
		e.speakers[seat{link: "eth0"}].speaker.SetLink(link.State{}) // there is no such interface
		held := func() map[string]bool {
			synctest.Wait()
			list := map[string]bool{}
			for name, s := range e.status() {
				list[name] = s.Config.Hold
			}
			return list
		}
		for _, step := range []struct {
			what string
			do   func()
			want map[string]bool
		}{
			{"at first", func() {}, map[string]bool{"a": true, "b": true, "c": false}},
			{"after the limit of one", func() { time.Sleep(11 * time.Second) }, map[string]bool{"a": false, "b": true, "c": false}},
			{"a reload does not release", func() {
				e.set([]configs.VirtualRouter{waiting("b", 52, time.Hour), virtualRouter("c", "eth0", 53)}, nil)
			}, map[string]bool{"b": true, "c": false}},
			{"ready", func() { ready.Store(true); time.Sleep(2 * refreshEvery) }, map[string]bool{"b": false, "c": false}},
		} {
			step.do()
			if d := cmp.Diff(step.want, held()); d != "" {
				t.Errorf("%s: held (-want +got):\n%s", step.what, d)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestHandsOver: a backup that stops keeps its copies to itself.
func TestHandsOver(t *testing.T) {
	routers := []configs.VirtualRouter{virtualRouter("a", "eth0", 51)}
	for _, tt := range []struct {
		name    string
		routers []configs.VirtualRouter
		master  bool
		want    bool
	}{
		{"master", routers, true, true},
		{"backup", routers, false, false},
		{"without virtual routers everybody serves", nil, false, true},
	} {
		if got := handsOver(&configs.Config{Routers: tt.routers}, func(string) bool { return tt.master }); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
}

// TestElsewhere: of two directors that serve an address each, one that stops
// hands over the connections of its own alone.
func TestElsewhere(t *testing.T) {
	at := func(name string, addresses ...string) director.VirtualRouter {
		r := director.VirtualRouter{Name: name}
		for _, a := range addresses {
			r.Addresses = append(r.Addresses, netip.MustParsePrefix(a+"/32"))
		}
		return r
	}
	c := &configs.Config{Director: director.Config{Routers: []director.VirtualRouter{
		at("theirs", "192.0.2.101", "192.0.2.102"), at("ours", "192.0.2.103", "192.0.2.102"), // that one on two interfaces
	}}}
	f := elsewhere(c, func(name string) bool { return name == "ours" })
	for a, want := range map[string]bool{"192.0.2.101": true, "192.0.2.102": false, "192.0.2.103": false, "192.0.2.9": false, "2001:db8::1": false} {
		if got := f(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %t", a, got)
		}
	}
}

func TestSyncConfig(t *testing.T) {
	s := &configs.Sync{Interface: "eth1", ID: 3, MaxLen: 2000, Group: netip.MustParseAddr("224.0.0.81"), Port: 1, TTL: 2, Follow: "web", BeaconPort: 4, Secret: "x"}
	services := []director.Service{{Name: "web"}}
	want := &connsync.Config{Interface: "eth1", ID: 3, MaxLen: 2000, Group: s.Group, Port: 1, TTL: 2, Follow: "web", BeaconPort: 4, Secret: "x", Name: "lb1"}
	for _, tt := range []struct {
		name string
		in   configs.Config
		want *connsync.Config
	}{
		{"all", configs.Config{RouterID: "lb1", Sync: s, Director: director.Config{Services: services}}, want},
		{"exclusive", configs.Config{RouterID: "lb1", Sync: s, Director: director.Config{Exclusive: true}}, want},
		{"without services", configs.Config{RouterID: "lb1", Sync: s}, nil},
		{"without sync", configs.Config{RouterID: "lb1", Director: director.Config{Services: services}}, nil},
	} {
		if d := cmp.Diff(tt.want, syncConfig(&tt.in), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
}

// TestForwarding: servers are told with the kernel's numbers, under each key.
func TestForwarding(t *testing.T) {
	s := director.Service{
		Keys: []director.ServiceKey{
			{Protocol: director.TCP, Address: netip.MustParseAddrPort("192.0.2.1:80")},
			{FWMark: 7, IPv6: true},
		},
		Servers: []director.Server{{Address: netip.MustParseAddrPort("192.0.2.101:80"), Spec: director.ServerSpec{Forward: director.DR}}},
		Policy:  director.Policy{Sorry: director.Server{Address: netip.MustParseAddrPort("192.0.2.9:80"), Spec: director.ServerSpec{Forward: director.TUN}}},
	}
	var ids []genl.ServiceID
	forwarding(s, func(s *genl.Service, dests []genl.Destination) {
		ids = append(ids, s.ServiceID)
		if len(dests) != 2 || dests[0].Method != genl.DirectRoute || dests[1].Method != genl.Tunnelled || dests[1].Address.String() != "192.0.2.9" {
			t.Errorf("servers: %+v", dests)
		}
	})
	want := []genl.ServiceID{{Family: 2, Protocol: 6, Port: 80, Address: netip.MustParseAddr("192.0.2.1")}, {Family: 10, FWMark: 7}}
	if d := cmp.Diff(want, ids, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Errorf("services (-want +got):\n%s", d)
	}
	if len(s.Servers) != 1 {
		t.Error("the configuration has grown")
	}
}

func exampleSync() connsync.Status {
	now := time.Date(2026, time.January, 2, 3, 4, 5, 0, time.UTC)
	c := connsync.Config{Interface: "eth1", ID: 51, Group: netip.MustParseAddr("224.0.0.81"), Port: 8848, TTL: 1, BeaconPort: 8849, Name: "lb1"}
	d := genl.Daemon{State: genl.DaemonBackup, Interface: "eth1", ID: 51, MaxLen: 1472, Group: c.Group, Port: 8848, TTL: 1}
	m := d
	m.State = genl.DaemonMaster
	s := connsync.Status{
		AsOf: now, Enabled: true, Config: c, Ready: true, Reason: connsync.ReadySynced, Daemons: []genl.Daemon{m, d},
		Counts: connsync.Counts{Total: 1200, Synced: 200, Lasting: 900}, CountedAt: now, CountTook: time.Millisecond,
		Settings: connsync.Settings{Threshold: 3, Period: 50, Refresh: 10, Version: 1},
		Peers: []connsync.PeerStatus{
			{Name: "lb2", Address: netip.MustParseAddr("192.0.2.12"), Alive: true, Confirmed: true, Heard: now.Add(-300 * time.Millisecond), ID: 51,
				Flags: connsync.FlagMaster | connsync.FlagReceiving, Counts: connsync.Counts{Total: 1300, Synced: 1000, Lasting: 950},
				Probe: connsync.ProbeResult{At: now.Add(-8 * time.Second), Lag: 2700 * time.Millisecond}},
			{Name: "lb3", Address: netip.MustParseAddr("192.0.2.13"), Confirmed: true, Heard: now.Add(-90 * time.Second), ID: 51},
		},
		Fetched: connsync.ResyncStatus{State: connsync.ResyncDone, Peer: "lb2", Began: now.Add(-time.Minute), Ended: now.Add(-58 * time.Second), Sent: 950, Omitted: 3},
		Served:  connsync.ServedStatus{Peer: "lb3", Began: now.Add(-time.Hour), Ended: now.Add(-time.Hour)},
	}
	s.Drops[connsync.DropSecret], s.Dropped[connsync.DropSecret] = 4, now
	return s
}

func TestWriteSync(t *testing.T) {
	const want = `lb1  connections on eth1, group 224.0.0.81 port 8848, id 51; ready: synchronised
! lb3 has not been heard for 1m30s: is it down, is its link to eth1 cut, or is multicast 224.0.0.81 port 8849 filtered?
! 4 beacons had another secret or none: give all directors the same [director.sync] secret

KERNEL DAEMON  INTERFACE  ID  MAXLEN  GROUP       PORT  TTL
master         eth1       51  1472    224.0.0.81  8848  1
backup         eth1       51  1472    224.0.0.81  8848  1

  DIRECTOR  ADDRESS     HEARD  ROLE    READY  ENTRIES  OWN   SYNCED  LASTING  PROBED  LAG    MISSED
  lb1       here        -      -       yes    1200     1000  200     900      -       -      -
  lb2       192.0.2.12  0.30s  master  no     1300     300   1000    950      8.00s   2.70s  0
! lb3       192.0.2.13  1m30s  backup  no     0        0     0       0        -       -      0

  resync fetched from lb2 1m0s ago: done, 950 connections sent, 3 left out, in 2.00s
! resync sent to lb3 1h0m ago: failed, 0 connections sent, 0 left out
`
	// Over the control socket and back.
	b, err := json.Marshal(newSyncReply("lb1", exampleSync()))
	if err != nil {
		t.Fatal(err)
	}
	var reply syncReply
	if err := json.Unmarshal(b, &reply); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := writeSync(&out, reply); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	out.Reset()
	if err := writeSync(&out, newSyncReply("lb1", connsync.Status{Ready: true, Reason: connsync.ReadyUnsynced})); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "lb1  connections are not synchronised (no [director.sync]); ready: no synchronisation\n" {
		t.Errorf("without: %q", got)
	}
}

func TestWriteProbe(t *testing.T) {
	var out bytes.Buffer
	if err := writeProbe(&out, syncProbeReply{Peers: []syncProbe{{"lb2", true, 2700 * time.Millisecond}, {"lb3", false, 10 * time.Second}}}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff("arrived at lb2 after 2.70s\n! did not arrive at lb3 within 10s; see understudy sync status\n", out.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestSyncErrors(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	for _, args := range [][]string{{"sync", "status", "--socket", none}, {"sync", "probe", "--socket", none}} {
		if status, _, stderr := try(args...); status != 1 || !strings.Contains(stderr, "no daemon answers at "+none) {
			t.Errorf("%v: status %d, %q", args, status, stderr)
		}
	}
}
