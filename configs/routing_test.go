package configs

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/director"
)

func TestRouting(t *testing.T) {
	c := parse(t, `
[[vrrp]]
name = "a"
interface = "eth0"
vrid = 1
addresses = ["192.0.2.100/24"]
extra_addresses = ["192.0.2.101", "198.51.100.1/24"]
routes = [
  { to = "default", via = "192.0.2.1", table = 100 },
  { to = "default", via = "fe80::1", interface = "eth1", metric = 5 },
  { to = "0.0.0.0/0", metric = 7 },
  { to = "2001:db8::/32", source = "2001:db8::1" },
  { to = "203.0.113.7", via = "198.51.100.9", onlink = true, source = "192.0.2.100", scope = "site" },
  { to = "10.0.0.0/8", type = "prohibit" },
]
rules = [
  { from = "192.0.2.100", table = 100, priority = 1000 },
  { from = "0.0.0.0/0", to = "198.51.100.0/24", iif = "eth1", table = 100, priority = 1001 },
  { to = "::/0", fwmark = 1, fwmask = 0xff, table = 254, priority = 1002 },
  { fwmark = 0, oif = "eth1", family = "ipv6", table = 100, priority = 1003 },
]
`)
	if got := c.Routers[0].Config.Addresses; len(got) != 1 {
		t.Errorf("advertised: %v, want the first address alone", got)
	}
	addr, prefix := netip.MustParseAddr, netip.MustParsePrefix
	key := func(table uint32, destination string, metric uint32) director.RouteKey {
		return director.RouteKey{Table: table, Destination: prefix(destination), Metric: metric}
	}
	route := func(k director.RouteKey, s director.RouteSpec) director.Route {
		return director.Route{RouteKey: k, RouteSpec: s}
	}
	want := director.VirtualRouter{
		Name: "a", Link: "eth0", Announce: c.Director.Routers[0].Announce,
		Addresses: []netip.Prefix{prefix("192.0.2.100/24"), prefix("192.0.2.101/32"), prefix("198.51.100.1/24")},
		Routes: []director.Route{
			route(key(100, "0.0.0.0/0", 0), director.RouteSpec{Type: director.Unicast, Via: addr("192.0.2.1")}),
			route(key(254, "::/0", 5), director.RouteSpec{Type: director.Unicast, Via: addr("fe80::1"), Link: "eth1"}),
			route(key(254, "0.0.0.0/0", 7), director.RouteSpec{Type: director.Unicast, Scope: director.ScopeLink}),
			route(key(254, "2001:db8::/32", 0), director.RouteSpec{Type: director.Unicast, Source: addr("2001:db8::1")}),
			route(key(254, "203.0.113.7/32", 0), director.RouteSpec{
				Type: director.Unicast, Via: addr("198.51.100.9"), OnLink: true, Source: addr("192.0.2.100"), Scope: director.ScopeSite,
			}),
			route(key(254, "10.0.0.0/8", 0), director.RouteSpec{Type: director.Prohibit}),
		},
		Rules: []director.Rule{
			{Priority: 1000, From: prefix("192.0.2.100/32"), Table: 100},
			{Priority: 1001, To: prefix("198.51.100.0/24"), In: "eth1", Table: 100},
			{Priority: 1002, IPv6: true, Mark: 1, Mask: 0xff, Table: 254},
			{Priority: 1003, IPv6: true, Mask: 1<<32 - 1, Out: "eth1", Table: 100},
		},
	}
	if d := cmp.Diff(want, c.Director.Routers[0], byValue); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
