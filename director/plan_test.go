package director

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/understudy-ha/understudy/garp"
)

var equal = []cmp.Option{
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmpopts.EquateEmpty(),
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func port(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestPlanAddresses(t *testing.T) {
	schedule := garp.Schedule{Count: 3}
	config := Config{Routers: []VirtualRouter{
		{Name: "a", Link: "eth0", Addresses: []netip.Prefix{prefix("10.0.0.1/24")}, Announce: schedule},
		{Name: "b", Link: "eth0", Addresses: []netip.Prefix{prefix("10.0.0.1/24"), prefix("10.0.0.2/24")}},
	}}
	first, second := AddrKey{"eth0", prefix("10.0.0.1/24")}, AddrKey{"eth0", prefix("10.0.0.2/24")}
	want := func(i Intent, r Reason, name string) Want[AddrSpec] {
		return Want[AddrSpec]{Intent: i, Reason: r, Name: name, Spec: AddrSpec{Ours: true}}
	}
	for _, tt := range []struct {
		name   string
		roles  map[string]RoleState
		want   map[AddrKey]Want[AddrSpec]
		claims map[AddrKey]garp.Claim
	}{
		{
			name: "nobody is known", roles: nil,
			want: map[AddrKey]Want[AddrSpec]{first: want(Keep, ReasonUnsettled, "a"), second: want(Keep, ReasonUnsettled, "b")},
		},
		{
			name:  "master and backup of one address",
			roles: map[string]RoleState{"a": {RoleMaster, 7}, "b": {RoleBackup, 3}},
			want:  map[AddrKey]Want[AddrSpec]{first: want(Hold, ReasonMaster, "a"), second: want(Absent, ReasonBackup, "b")},
			claims: map[AddrKey]garp.Claim{
				first: {Schedule: schedule, Epoch: 7},
			},
		},
		{
			name:  "the later one is stronger",
			roles: map[string]RoleState{"a": {RoleFault, 7}, "b": {RoleMaster, 3}},
			want:  map[AddrKey]Want[AddrSpec]{first: want(Hold, ReasonMaster, "b"), second: want(Hold, ReasonMaster, "b")},
			claims: map[AddrKey]garp.Claim{
				first: {Epoch: 3}, second: {Epoch: 3},
			},
		},
		{
			name:  "fault",
			roles: map[string]RoleState{"a": {Role: RoleFault}, "b": {Role: RoleFault}},
			want:  map[AddrKey]Want[AddrSpec]{first: want(Absent, ReasonFault, "a"), second: want(Absent, ReasonFault, "b")},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Plan(config, tt.roles)
			if d := cmp.Diff(tt.want, got.Addresses, equal...); d != "" {
				t.Errorf("addresses (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tt.claims, got.Claims, equal...); d != "" {
				t.Errorf("claims (-want +got):\n%s", d)
			}
		})
	}
}

func TestSettle(t *testing.T) {
	want := map[string]Want[int]{
		"held":    {Intent: Hold, Spec: 1},
		"absent":  {Intent: Absent, Spec: 2},
		"kept":    {Intent: Keep, Spec: 3},
		"unkept":  {Intent: Keep, Spec: 4},
		"present": {Intent: Hold, Spec: 5},
	}
	have := map[string]int{"kept": 30, "absent": 2, "present": 5, "foreign": 6}
	final := settle(have, want)
	if d := cmp.Diff(map[string]int{"held": 1, "kept": 3, "present": 5}, final); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestDifferences(t *testing.T) {
	a := ServiceKey{Protocol: TCP, Address: port("10.0.0.1:80")}
	service, server := Key{Service: a}, func(p string) Key { return Key{Service: a, Server: port(p)} }
	wlc, rr := ServiceSpec{Scheduler: "wlc"}, ServiceSpec{Scheduler: "rr"}
	heavy, light := ServerSpec{Weight: 9}, ServerSpec{Weight: 1}
	type table = map[Key]Spec
	for _, tt := range []struct {
		name string
		have table
		want wanting
		out  []string
	}{
		{name: "nothing", have: table{service: {Service: wlc}}, want: wanting{spec: wlc}},
		{
			name: "a service before its servers, in their order",
			want: wanting{spec: rr, servers: []placement{{port("10.0.1.2:80"), light}, {port("10.0.1.1:80"), heavy}}},
			out: []string{
				"create tcp 10.0.0.1:80 (rr)",
				"create tcp 10.0.0.1:80 -> 10.0.1.2:80 (nat weight 1)",
				"create tcp 10.0.0.1:80 -> 10.0.1.1:80 (nat weight 9)",
			},
		},
		{
			name: "creations before deletions, updates among them",
			have: table{service: {Service: wlc}, server("10.0.1.4:80"): {Server: light}, server("10.0.1.1:80"): {Server: light}, server("10.0.1.2:80"): {Server: light}},
			want: wanting{spec: rr, servers: []placement{{port("10.0.1.2:80"), heavy}, {port("10.0.1.3:80"), light}}},
			out: []string{
				"update tcp 10.0.0.1:80 (rr, was wlc)",
				"update tcp 10.0.0.1:80 -> 10.0.1.2:80 (nat weight 9, was nat weight 1)",
				"create tcp 10.0.0.1:80 -> 10.0.1.3:80 (nat weight 1)",
				"delete tcp 10.0.0.1:80 -> 10.0.1.1:80",
				"delete tcp 10.0.0.1:80 -> 10.0.1.4:80",
			},
		},
		{
			name: "a dump that missed the service",
			have: table{server("10.0.1.1:80"): {Server: light}},
			want: wanting{spec: rr, servers: []placement{{port("10.0.1.1:80"), light}}},
			out:  []string{"create tcp 10.0.0.1:80 (rr)"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c changes
			c.differences(a, gather(tt.have)[a], tt.want)
			var got []string
			for _, c := range append(c.come, c.leave...) {
				got = append(got, c.String())
			}
			if d := cmp.Diff(tt.out, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestDiffAddressesKeepsForeignContent(t *testing.T) {
	byHand := AddrKey{"eth0", prefix("10.0.0.1/24")}
	got := diff(map[AddrKey]AddrSpec{byHand: {}}, map[AddrKey]AddrSpec{byHand: {Ours: true}},
		func(AddrKey, AddrSpec) bool { return true }, addressKind())
	if len(got) != 0 {
		t.Errorf("diff = %v, want an address configured by hand left alone", got)
	}
}

func TestFailures(t *testing.T) {
	broken, other := errors.New("broken"), errors.New("other")
	byKey, rest := failures[int](errors.Join(
		&ChangeError[int]{Op: Create, Key: 1, Err: broken},
		errors.Join(other, &ChangeError[int]{Op: Delete, Key: 2, Err: broken}),
	))
	if len(byKey) != 2 || byKey[1] != broken || byKey[2] != broken || len(rest) != 1 || rest[0] != other {
		t.Errorf("failures = %v, %v", byKey, rest)
	}
	if byKey, rest := failures[int](nil); len(byKey)+len(rest) != 0 {
		t.Errorf("failures(nil) = %v, %v", byKey, rest)
	}
}

func TestStrings(t *testing.T) {
	for _, tt := range []struct {
		in   fmt.Stringer
		want string
	}{
		{ServiceKey{Protocol: TCP, Address: port("10.0.0.1:80")}, "tcp 10.0.0.1:80"},
		{ServiceKey{Protocol: UDP, Address: port("[::1]:53")}, "udp [::1]:53"},
		{ServiceKey{Protocol: SCTP, Address: port("10.0.0.1:80")}, "sctp 10.0.0.1:80"},
		{ServiceKey{Protocol: 1, Address: port("10.0.0.1:80")}, "protocol 1 10.0.0.1:80"},
		{ServiceKey{FWMark: 10}, "fwmark 10"},
		{ServiceKey{FWMark: 10, IPv6: true}, "fwmark 10 ipv6"},
		{Key{Service: ServiceKey{FWMark: 1}, Server: port("10.0.0.2:0")}, "fwmark 1 -> 10.0.0.2:0"},
		{AddrKey{"eth0", prefix("10.0.0.1/24")}, "10.0.0.1/24 on eth0"},
		{FlagOnePacket | FlagSched2 | 0x40, "one-packet,flag-2,0x40"},
		{Flags(0), ""},
		{NAT, "nat"}, {TUN, "tun"}, {DR, "dr"}, {Local, "local"}, {Forward(9), "forward 9"},
		{Create, "create"}, {Update, "update"}, {Delete, "delete"}, {Op(9), "op 9"},
		{ServiceSpec{Scheduler: "sh", Flags: FlagSched1, Persistence: time.Minute, Mask: 24}, "sh (flag-1) persistent 60 s /24"},
		{ServerSpec{Weight: 2, Forward: DR, Upper: 9, Lower: 3}, "dr weight 2 connections 3..9"},
		{ServerSpec{Weight: 1, Forward: TUN, Tunnel: Tunnel{Type: GUE, Port: 6080, Checksum: RemoteChecksum}}, "tun (gue port 6080, remote checksum) weight 1"},
		{ServerSpec{Weight: 1, Forward: TUN, Tunnel: Tunnel{Type: GRE, Checksum: Checksum}}, "tun (gre, checksum) weight 1"},
		{ServiceSpec{Scheduler: "rr", Engine: "sip", Persistence: time.Second, Mask: 32}, "rr persistent 1 s /32 by sip"},
		{QuorumUnknown, "unknown"}, {QuorumKept, "kept"}, {QuorumLost, "lost"}, {Quorum(9), "quorum 9"},
		{RoleUnknown, "unknown"}, {RoleBackup, "backup"}, {RoleMaster, "master"}, {RoleFault, "fault"},
		{Absent, "absent"}, {Drain, "drain"}, {Keep, "keep"}, {Hold, "hold"},
	} {
		if got := tt.in.String(); got != tt.want {
			t.Errorf("String of %#v = %q, want %q", tt.in, got, tt.want)
		}
	}
}
