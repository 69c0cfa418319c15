package directortest

import (
	"net/netip"
	"testing"

	"github.com/understudy-ha/understudy/director"
)

type (
	routing      = map[director.RoutingKey]director.RoutingSpec
	routingSuite = suite[director.RoutingKey, director.RoutingSpec]
)

// TestRouting checks that newTable, called once per test, gives an empty table of
// routes and rules that honours the contract of director.Table, on a host whose
// interface link has 192.0.2.1/24 and 2001:db8::1/64.
func TestRouting(t *testing.T, link string, newTable func(t *testing.T) director.Table[director.RoutingKey, director.RoutingSpec]) {
	for name, f := range routingTests(link) {
		t.Run(name, func(t *testing.T) { f(routingSuite{t, newTable(t)}) })
	}
}

// RouteIs returns a change of a route in table 100.
func RouteIs(op director.Op, destination string, metric uint32, s director.RouteSpec) RoutingChange {
	if s.Type == 0 {
		s.Type = director.Unicast
	}
	return RoutingChange{
		Op:  op,
		Key: director.RoutingKey{Route: director.RouteKey{Table: 100, Destination: netip.MustParsePrefix(destination), Metric: metric}},
		New: director.RoutingSpec{Route: s, Ours: true},
	}
}

// RuleIs returns a change of a rule.
func RuleIs(op director.Op, r director.Rule) RoutingChange {
	return RoutingChange{Op: op, Key: director.RoutingKey{Rule: r}, New: director.RoutingSpec{Ours: true}}
}

func routingTests(link string) map[string]func(routingSuite) {
	var (
		addr   = netip.MustParseAddr
		prefix = netip.MustParsePrefix
		gate   = director.RouteSpec{Via: addr("192.0.2.254"), Link: link}
		gate6  = director.RouteSpec{Via: addr("2001:db8::fe"), Link: link}
		local  = director.RouteSpec{Link: link, Scope: director.ScopeLink}
		from   = director.Rule{Priority: 1000, From: prefix("192.0.2.100/32"), Table: 100}
		from6  = director.Rule{Priority: 1000, IPv6: true, From: prefix("2001:db8::100/128"), Table: 100}
	)
	holds := func(s routingSuite, changes ...RoutingChange) {
		s.t.Helper()
		want := routing{}
		for _, c := range changes {
			want[c.Key] = c.New
		}
		s.holds(want)
	}
	return map[string]func(routingSuite){
		"empty": func(s routingSuite) { s.holds(nil) },
		"kinds of routes": func(s routingSuite) {
			onlink := director.RouteSpec{Via: addr("203.0.113.1"), Link: link, OnLink: true}
			source, source6 := gate, gate6
			source.Source, source6.Source = addr("192.0.2.1"), addr("2001:db8::1")
			s.createdAsGiven(
				RouteIs(create, "0.0.0.0/0", 0, gate),
				RouteIs(create, "0.0.0.0/0", 5, gate),
				RouteIs(create, "::/0", 1024, gate6),
				RouteIs(create, "::/0", 7, director.RouteSpec{Via: addr("fe80::1"), Link: link}),
				RouteIs(create, "198.51.100.0/24", 0, local),
				RouteIs(create, "198.51.101.0/24", 0, director.RouteSpec{Link: link, Scope: director.ScopeGlobal}),
				RouteIs(create, "2001:db8:1::/48", 1024, director.RouteSpec{Link: link}),
				RouteIs(create, "198.51.102.0/24", 0, onlink),
				RouteIs(create, "198.51.103.0/24", 0, source),
				RouteIs(create, "2001:db8:2::/48", 1024, source6),
				RouteIs(create, "198.51.104.0/24", 0, director.RouteSpec{Type: director.Blackhole}),
				RouteIs(create, "198.51.105.0/24", 0, director.RouteSpec{Type: director.Unreachable}),
				RouteIs(create, "198.51.106.0/24", 0, director.RouteSpec{Type: director.Prohibit}),
				RouteIs(create, "2001:db8:4::/48", 1024, director.RouteSpec{Type: director.Blackhole}),
				RouteIs(create, "2001:db8:5::/48", 1024, director.RouteSpec{Type: director.Unreachable}),
				RouteIs(create, "2001:db8:6::/48", 1024, director.RouteSpec{Type: director.Prohibit}))
		},
		"kinds of rules": func(s routingSuite) {
			s.createdAsGiven(
				RuleIs(create, from),
				RuleIs(create, from6),
				RuleIs(create, director.Rule{Priority: 1001, To: prefix("198.51.100.0/24"), Table: 300}),
				RuleIs(create, director.Rule{Priority: 1002, Mark: 1, Mask: 1<<32 - 1, Table: 100}),
				RuleIs(create, director.Rule{Priority: 1003, Mark: 0x10, Mask: 0xf0, Table: 100}),
				RuleIs(create, director.Rule{Priority: 1004, Mask: 0xf0, IPv6: true, Table: 70000}),
				RuleIs(create, director.Rule{Priority: 1005, In: link, Table: 100}),
				RuleIs(create, director.Rule{Priority: 1006, Out: "absent0", IPv6: true, Table: director.TableMain}),
				RuleIs(create, director.Rule{Priority: 1007, From: prefix("192.0.2.0/24"), To: prefix("198.51.100.0/24"), Mark: 2, Mask: 3, In: link, Table: 100}))
		},
		"the kernel finds the interface": func(s routingSuite) {
			c, c6 := gate, gate6
			c.Link, c6.Link = "", ""
			s.apply(RouteIs(create, "0.0.0.0/0", 0, c), RouteIs(create, "::/0", 1024, c6))
			s.apply(RouteIs(create, "0.0.0.0/0", 0, c), RouteIs(create, "::/0", 1024, c6))
			holds(s, RouteIs(create, "0.0.0.0/0", 0, gate), RouteIs(create, "::/0", 1024, gate6))
		},
		"a gateway over a route": func(s routingSuite) {
			s.createdAsGiven(
				RouteIs(create, "203.0.113.1/32", 0, local),
				RouteIs(create, "0.0.0.0/0", 0, director.RouteSpec{Via: addr("203.0.113.1"), Link: link}))
		},
		"delete": func(s routingSuite) {
			s.apply(RouteIs(create, "0.0.0.0/0", 0, gate), RouteIs(create, "::/0", 1024, gate6), RuleIs(create, from), RuleIs(create, from6))
			s.apply(RouteIs(remove, "0.0.0.0/0", 0, gate), RuleIs(remove, from6))
			holds(s, RouteIs(create, "::/0", 1024, gate6), RuleIs(create, from))
			s.apply(RouteIs(remove, "0.0.0.0/0", 0, gate), RuleIs(remove, from6), RouteIs(remove, "::/0", 1024, gate6), RuleIs(remove, from))
			s.holds(nil)
		},
		"metrics are told apart": func(s routingSuite) {
			s.apply(RouteIs(create, "0.0.0.0/0", 100, gate), RouteIs(create, "0.0.0.0/0", 5, gate))
			s.apply(RouteIs(remove, "0.0.0.0/0", 0, gate))
			s.apply(RouteIs(remove, "0.0.0.0/0", 100, gate))
			holds(s, RouteIs(create, "0.0.0.0/0", 5, gate))
		},
		"update": func(s routingSuite) {
			other, other6 := gate, gate6
			other.Via, other6.Via = addr("192.0.2.253"), addr("2001:db8::fd")
			s.apply(RouteIs(create, "0.0.0.0/0", 0, gate), RouteIs(create, "::/0", 1024, gate6), RouteIs(create, "198.51.100.0/24", 0, gate), RouteIs(create, "2001:db8:7::/48", 1024, gate6))
			s.apply(RouteIs(update, "0.0.0.0/0", 0, other), RouteIs(update, "::/0", 1024, other6),
				RouteIs(update, "198.51.100.0/24", 0, director.RouteSpec{Type: director.Blackhole}), RouteIs(create, "2001:db8:7::/48", 1024, director.RouteSpec{Link: link}))
			holds(s, RouteIs(create, "0.0.0.0/0", 0, other), RouteIs(create, "::/0", 1024, other6),
				RouteIs(create, "198.51.100.0/24", 0, director.RouteSpec{Type: director.Blackhole}), RouteIs(create, "2001:db8:7::/48", 1024, director.RouteSpec{Link: link}))
		},
		"failures are attributed": func(s routingSuite) {
			source := gate
			source.Source = addr("192.0.2.77")
			s.failsOn([]RoutingChange{
				RouteIs(create, "0.0.0.0/0", 0, gate),
				RouteIs(create, "0.0.0.0/0", 1, director.RouteSpec{Via: addr("203.0.113.9"), Link: link}),
				RouteIs(create, "0.0.0.0/0", 2, source),
				RuleIs(create, from),
			}, 1, 2)
			holds(s, RouteIs(create, "0.0.0.0/0", 0, gate), RuleIs(create, from))
		},
		"a rule with fewer conditions": func(s routingSuite) {
			marked := from
			marked.Mark, marked.Mask = 1, 1
			all := director.Rule{Priority: 1000, Table: 100}
			s.apply(RuleIs(create, marked), RuleIs(create, from), RuleIs(create, all))
			holds(s, RuleIs(create, marked), RuleIs(create, from), RuleIs(create, all))
			s.apply(RuleIs(remove, all), RuleIs(remove, from), RuleIs(remove, marked))
			s.holds(nil)
		},
		"cancelled": func(s routingSuite) {
			s.apply(RuleIs(create, from))
			s.cancelled(RouteIs(create, "0.0.0.0/0", 0, gate), routing{{Rule: from}: {Ours: true}})
		},
	}
}
