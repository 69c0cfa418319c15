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
	"github.com/understudy-ha/understudy/health"
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
			got := Plan(config, tt.roles, nil)
			if d := cmp.Diff(tt.want, got.Addresses, equal...); d != "" {
				t.Errorf("addresses (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tt.claims, got.Claims, equal...); d != "" {
				t.Errorf("claims (-want +got):\n%s", d)
			}
		})
	}
}

func TestPlanEntries(t *testing.T) {
	key := ServiceKey{Protocol: TCP, Address: port("10.0.0.1:80")}
	six := ServiceKey{FWMark: 3, IPv6: true}
	check := func(target string) health.Check {
		return health.Check{Type: health.TypeTCP, Target: port(target)}
	}
	spec := ServerSpec{Weight: 4, Forward: TUN}
	config := Config{Services: []Service{
		{
			Name: "web", Key: key,
			Spec: ServiceSpec{Scheduler: "rr", Persistence: 1500 * time.Millisecond, Mask: 24},
			Servers: []Server{
				{Address: port("10.0.1.1:80"), Spec: spec, Check: check("10.0.1.1:80")},
				{Address: port("10.0.1.2:80"), Spec: spec, Check: check("10.0.1.2:80")},
				{Address: port("10.0.1.3:80"), Spec: spec, Check: check("10.0.1.3:80")},
				{Address: port("10.0.1.4:80"), Spec: spec, Check: health.Check{Type: health.TypeNone}},
			},
		},
		{Name: "six", Key: six, Spec: ServiceSpec{Scheduler: "lc", Mask: 64}},
	}}
	status := func(c health.Check) health.Status {
		switch c.Target.Addr().String() {
		case "10.0.1.1":
			return health.Status{State: health.Up}
		case "10.0.1.2":
			return health.Status{State: health.Down}
		}
		return health.Status{}
	}
	server := func(a string) Key { return Key{Service: key, Server: port(a)} }
	want := func(i Intent, r Reason) Want[Spec] {
		return Want[Spec]{Intent: i, Reason: r, Name: "web", Spec: Spec{Server: spec}}
	}
	got := Plan(config, nil, status).Entries
	if d := cmp.Diff(map[Key]Want[Spec]{
		{Service: key}: {Hold, ReasonConfigured,
			Spec{Service: ServiceSpec{Scheduler: "rr", Persistence: time.Second, Mask: 24}}, "web"},
		server("10.0.1.1:80"): want(Hold, ReasonUp),
		server("10.0.1.2:80"): want(Absent, ReasonDown),
		server("10.0.1.3:80"): want(Keep, ReasonUnproved),
		server("10.0.1.4:80"): want(Hold, ReasonUnchecked),
		// Without persistence the mask is not of interest.
		{Service: six}: {Hold, ReasonConfigured, Spec{Service: ServiceSpec{Scheduler: "lc", Mask: 128}}, "six"},
	}, got, equal...); d != "" {
		t.Errorf("(-want +got):\n%s", d)
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
	final, look := settle(have, want, time.Time{})
	if d := cmp.Diff(map[string]int{"held": 1, "kept": 3, "present": 5}, final); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if !look.IsZero() {
		t.Errorf("look again at %v, want never", look)
	}
}

func TestDiff(t *testing.T) {
	a := ServiceKey{Protocol: TCP, Address: port("10.0.0.1:80")}
	b := ServiceKey{Protocol: TCP, Address: port("10.0.0.2:80")}
	mark := ServiceKey{FWMark: 9}
	service := func(s ServiceKey) Key { return Key{Service: s} }
	server := func(s ServiceKey, p string) Key { return Key{Service: s, Server: port(p)} }
	wlc, rr := Spec{Service: ServiceSpec{Scheduler: "wlc"}}, Spec{Service: ServiceSpec{Scheduler: "rr"}}
	heavy, light := Spec{Server: ServerSpec{Weight: 9}}, Spec{Server: ServerSpec{Weight: 1}}
	type table = map[Key]Spec
	for _, tt := range []struct {
		name       string
		have, want table
		foreign    map[ServiceKey]bool
		out        []string
	}{
		{name: "nothing", have: table{service(a): wlc}, want: table{service(a): wlc}},
		{
			name: "services before their servers, in order",
			want: table{
				server(b, "10.0.1.2:80"): light, server(b, "10.0.1.1:80"): light, service(b): wlc,
				service(a): rr, server(a, "10.0.1.1:80"): heavy, service(mark): rr,
			},
			out: []string{
				"create fwmark 9 (rr)",
				"create tcp 10.0.0.1:80 (rr)",
				"create tcp 10.0.0.1:80 -> 10.0.1.1:80 (nat weight 9)",
				"create tcp 10.0.0.2:80 (wlc)",
				"create tcp 10.0.0.2:80 -> 10.0.1.1:80 (nat weight 1)",
				"create tcp 10.0.0.2:80 -> 10.0.1.2:80 (nat weight 1)",
			},
		},
		{
			name: "creations before deletions, updates among them",
			have: table{service(a): wlc, server(a, "10.0.1.1:80"): light, server(a, "10.0.1.2:80"): light},
			want: table{service(a): rr, server(a, "10.0.1.2:80"): heavy, server(a, "10.0.1.3:80"): light},
			out: []string{
				"update tcp 10.0.0.1:80 (rr, was wlc)",
				"update tcp 10.0.0.1:80 -> 10.0.1.2:80 (nat weight 9, was nat weight 1)",
				"create tcp 10.0.0.1:80 -> 10.0.1.3:80 (nat weight 1)",
				"delete tcp 10.0.0.1:80 -> 10.0.1.1:80",
			},
		},
		{
			name: "a service takes its servers along",
			have: table{service(a): wlc, server(a, "10.0.1.1:80"): light, service(b): wlc, server(b, "10.0.1.1:80"): light},
			want: table{service(b): wlc},
			out:  []string{"delete tcp 10.0.0.1:80", "delete tcp 10.0.0.2:80 -> 10.0.1.1:80"},
		},
		{
			name:    "foreign ones stay, but what is wanted is made so",
			have:    table{service(a): wlc, server(a, "10.0.1.1:80"): light, service(b): wlc},
			want:    table{service(b): rr},
			foreign: map[ServiceKey]bool{a: true, b: true},
			out:     []string{"update tcp 10.0.0.2:80 (rr, was wlc)"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, c := range diff(tt.have, tt.want, func(k Key, _ Spec) bool { return !tt.foreign[k.Service] }, entryKind()) {
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
		{ServiceKey{Protocol: 132, Address: port("10.0.0.1:80")}, "protocol 132 10.0.0.1:80"},
		{ServiceKey{FWMark: 10}, "fwmark 10"},
		{ServiceKey{FWMark: 10, IPv6: true}, "fwmark 10 ipv6"},
		{Key{Service: ServiceKey{FWMark: 1}, Server: port("10.0.0.2:0")}, "fwmark 1 -> 10.0.0.2:0"},
		{AddrKey{"eth0", prefix("10.0.0.1/24")}, "10.0.0.1/24 on eth0"},
		{FlagOnePacket | FlagSched2 | 0x40, "one-packet,flag-2,0x40"},
		{Flags(0), ""},
		{NAT, "nat"}, {TUN, "tun"}, {DR, "dr"}, {Forward(1), "forward 1"},
		{Create, "create"}, {Update, "update"}, {Delete, "delete"}, {Op(9), "op 9"},
		{ServiceSpec{Scheduler: "sh", Flags: FlagSched1, Persistence: time.Minute, Mask: 24}, "sh (flag-1) persistent 60 s /24"},
		{ServerSpec{Weight: 2, Forward: DR, Upper: 9, Lower: 3}, "dr weight 2 connections 3..9"},
		{RoleUnknown, "unknown"}, {RoleBackup, "backup"}, {RoleMaster, "master"}, {RoleFault, "fault"},
		{Absent, "absent"}, {Keep, "keep"}, {Hold, "hold"},
	} {
		if got := tt.in.String(); got != tt.want {
			t.Errorf("String of %#v = %q, want %q", tt.in, got, tt.want)
		}
	}
}
