package vrrp

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCompare(t *testing.T) {
	other := netip.MustParseAddr("192.0.2.11")
	two := []netip.Addr{netip.MustParseAddr("192.0.2.100"), netip.MustParseAddr("192.0.2.101")}
	base := Config{Name: "web", VRID: 51, Version: V3, Priority: 100, Interval: time.Second, Primary: netip.MustParseAddr("192.0.2.10"), Addresses: two}
	advert := Advertisement{Version: V3, VRID: 51, Priority: 150, Interval: time.Second, Addresses: two}
	tests := []struct {
		name string
		edit func(c *Config, a *Advertisement)
		drop Drop
		want []Condition
		say  string
	}{
		{"nothing", func(*Config, *Advertisement) {}, DropNone, nil, ""},
		{"another order", func(_ *Config, a *Advertisement) { a.Addresses = []netip.Addr{two[1], two[0]} }, DropNone, nil, ""},
		{"an address less", func(_ *Config, a *Advertisement) { a.Addresses = two[:1] }, DropNone, []Condition{ConditionAddresses}, "without 192.0.2.101"},
		{"an address more", func(c *Config, _ *Advertisement) { c.Addresses = two[:1] }, DropNone, []Condition{ConditionAddresses}, "and also 192.0.2.101"},
		{"the interval of a master", func(_ *Config, a *Advertisement) { a.Interval = 100 * time.Millisecond }, DropNone, []Condition{ConditionInterval}, "every 100ms, this one is set to 1s"},
		{"the interval in version 2", func(c *Config, a *Advertisement) { c.Version, a.Version, a.Interval = V2, V2, 2*time.Second }, DropInterval, []Condition{ConditionInterval}, "every 2s"},
		{"the version", func(_ *Config, a *Advertisement) { a.Version = V2 }, DropVersion, []Condition{ConditionVersion}, "version 2, this one 3"},
		{"a password", func(c *Config, a *Advertisement) { c.Version, a.Version, c.Password = V2, V2, "p" }, DropAuthType, []Condition{ConditionAuth}, "type 0 where this one has 1"},
		{"the priority", func(_ *Config, a *Advertisement) { a.Priority = 100 }, DropPriority, nil, ""},
		{"the priority of a group", func(c *Config, a *Advertisement) { c.Grouped, a.Priority = true, 100 }, DropPriority, []Condition{ConditionSamePriority}, "priority 100"},
		{"two owners", func(c *Config, a *Advertisement) { c.Priority, a.Priority = 255, 255 }, DropOwner, []Condition{ConditionSamePriority}, "priority 255, too"},
		{"a lower one", func(_ *Config, a *Advertisement) { a.Priority = 1 }, DropPriority, nil, ""},
		{"our address", func(*Config, *Advertisement) {}, DropOwnAddress, []Condition{ConditionOwnAddress}, "our own address"},
		{"not for us", func(_ *Config, a *Advertisement) { a.VRID, a.Addresses = 52, nil }, DropVRID, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, a := base, advert
			tt.edit(&c, &a)
			rx := Received{Src: other, Advert: a}
			var got []Condition
			c.Compare(rx, tt.drop, func(x Condition) { got = append(got, x) })
			if !slices.Equal(got, tt.want) {
				t.Fatalf("got %v, want %v", got, tt.want)
			}
			if len(got) > 0 && !strings.Contains(c.Explain(got[0], rx), tt.say) {
				t.Errorf("says %q, want %q in it", c.Explain(got[0], rx), tt.say)
			}
		})
	}
}

func TestMatches(t *testing.T) {
	var (
		local, global = netip.MustParseAddr("fe80::200"), netip.MustParseAddr("fd00::200")
		one, two      = netip.MustParseAddr("192.0.2.100"), netip.MustParseAddr("192.0.2.101")
	)
	type list = []netip.Addr
	tests := []struct {
		name        string
		version     Version
		priority    uint8
		ours, heard list
		want        bool
	}{
		{"the same", V3, 100, list{one, two}, list{one, two}, true},
		{"another order", V3, 100, list{one, two}, list{two, one}, true},
		{"one less", V3, 100, list{one, two}, list{one}, false},
		{"an owner", V3, 255, list{one, two}, list{one}, false},
		{"version 2", V2, 254, list{one, two}, list{one}, false},
		{"an owner in version 2", V2, 255, list{one, two}, list{one}, true},
		{"link-local first", V3, 100, list{local, global}, list{local, global}, true},
		{"link-local last", V3, 100, list{local, global}, list{global, local}, false},
		{"none link-local", V3, 100, list{global}, list{global}, false},
		{"nothing", V3, 100, list{one}, nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := Advertisement{Version: tt.version, Priority: tt.priority, Addresses: tt.heard}
			if got := (Config{Version: tt.version, Addresses: tt.ours}).Matches(a); got != tt.want {
				t.Errorf("%v and %v: %t", tt.ours, tt.heard, got)
			}
		})
	}
}

func TestExplainIsBounded(t *testing.T) {
	var many []netip.Addr
	for i := range 200 {
		many = append(many, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
	}
	c := Config{Addresses: many[:1]}
	if s := c.Explain(ConditionAddresses, Received{Advert: Advertisement{Addresses: many}}); len(s) > 200 || !strings.Contains(s, "194 more") {
		t.Errorf("%d bytes: %s", len(s), s)
	}
	if s := c.Explain(ConditionVRID, Received{Advert: Advertisement{VRID: 52, Addresses: many}}); len(s) > 200 || !strings.Contains(s, "195 more") {
		t.Errorf("%d bytes: %s", len(s), s)
	}
}

func TestRivals(t *testing.T) {
	a, b, c := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")
	tests := []struct {
		name  string
		heard []netip.Addr
		want  bool // after the last
	}{
		{"one master", []netip.Addr{a, a, a, a}, false},
		{"a successor", []netip.Addr{a, a, b, b, b}, false},
		{"it comes back", []netip.Addr{a, a, b, b, b, a, a}, false},
		{"once across", []netip.Addr{a, b, a, a, a}, false},
		{"in turn", []netip.Addr{a, b, a, b}, true},
		{"at different intervals", []netip.Addr{a, a, b, a, b}, true},
		{"three", []netip.Addr{a, b, c, a, b, c}, false}, // of which two are soon heard by each other
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var r Rivals
			got := false
			for _, src := range tt.heard {
				got = r.Hear(src)
			}
			if got != tt.want {
				t.Errorf("got %t, want %t", got, tt.want)
			}
		})
	}
}

func TestConditionNames(t *testing.T) {
	seen := map[string]bool{}
	for i := range Condition(NumConditions) {
		if s := i.String(); s == "" || seen[s] {
			t.Errorf("condition %d is called %q", i, s)
		} else {
			seen[s] = true
		}
	}
	if s := Condition(NumConditions).String(); !strings.HasPrefix(s, "condition(") {
		t.Errorf("beyond the last: %q", s)
	}
}
