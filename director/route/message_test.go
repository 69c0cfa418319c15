package route

import (
	"net/netip"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/link"
)

// body returns the payload of the only message in b, as the kernel would get it.
func body(tb testing.TB, req *nl.NetlinkRequest) []byte {
	tb.Helper()
	msgs, err := syscall.ParseNetlinkMessage(req.Serialize())
	if err != nil || len(msgs) != 1 {
		tb.Fatalf("ParseNetlinkMessage: %d messages, %v", len(msgs), err)
	}
	return msgs[0].Data
}

func TestRequestsParseAsRoutes(t *testing.T) {
	addr, prefix := netip.MustParseAddr, netip.MustParsePrefix
	for _, e := range []entry{
		{key: director.RouteKey{Table: 254, Destination: prefix("0.0.0.0/0")}, spec: director.RouteSpec{Type: director.Unicast, Via: addr("192.0.2.1")}},
		{key: director.RouteKey{Table: 70000, Destination: prefix("10.0.0.0/8"), Metric: 9}, index: 7,
			spec: director.RouteSpec{Type: director.Unicast, Scope: director.ScopeLink, Source: addr("192.0.2.9")}},
		{key: director.RouteKey{Table: 1, Destination: prefix("::/0"), Metric: 1024}, index: 7,
			spec: director.RouteSpec{Type: director.Unicast, Via: addr("fe80::1"), OnLink: true}},
		{key: director.RouteKey{Table: 255, Destination: prefix("2001:db8::/32"), Metric: 1}, spec: director.RouteSpec{Type: director.Prohibit}},
	} {
		e.tag = link.Protocol
		got, ok, err := parseRoute(body(t, routeRequest(unix.RTM_NEWROUTE, 0, e.key, e.spec, e.index)))
		if err != nil || !ok || got != e {
			t.Errorf("parseRoute = %+v, %v, %v, want %+v", got, ok, err, e)
		}
	}
}

func TestRequestsParseAsRules(t *testing.T) {
	prefix := netip.MustParsePrefix
	for _, r := range []director.Rule{
		{Priority: 1, Table: 254},
		{Priority: 32000, Table: 70000, From: prefix("192.0.2.0/24"), To: prefix("198.51.100.1/32"), Mark: 1, Mask: 3, In: "eth0", Out: "eth1"},
		{Priority: 5, Table: 100, IPv6: true, From: prefix("2001:db8::/32"), Mask: 1},
	} {
		want := ruleEntry{rule: r, tag: link.Protocol}
		got, ok, err := parseRule(body(t, ruleRequest(unix.RTM_NEWRULE, 0, r)))
		if err != nil || !ok || got != want {
			t.Errorf("parseRule = %+v, %v, %v, want %+v", got, ok, err, want)
		}
	}
}

func TestFits(t *testing.T) {
	marked := director.Rule{Priority: 1000, Table: 100, From: netip.MustParsePrefix("192.0.2.1/32"), Mark: 1, Mask: 1, In: "eth0"}
	for _, test := range []struct {
		name string
		told director.Rule
		want bool
	}{
		{"itself", marked, true},
		{"fewer conditions", director.Rule{Priority: 1000, Table: 100}, true},
		{"another priority", director.Rule{Priority: 1001, Table: 100}, false},
		{"another table", director.Rule{Priority: 1000, Table: 101}, false},
		{"another family", director.Rule{Priority: 1000, Table: 100, IPv6: true}, false},
		{"another source", director.Rule{Priority: 1000, Table: 100, From: netip.MustParsePrefix("192.0.2.0/24")}, false},
		{"another condition", director.Rule{Priority: 1000, Table: 100, Out: "eth0"}, false},
		{"another mask", director.Rule{Priority: 1000, Table: 100, Mark: 1, Mask: 3}, false},
	} {
		if got := (ruleEntry{rule: marked}).fits(test.told); got != test.want {
			t.Errorf("%s: fits = %v, want %v", test.name, got, test.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	k := director.RouteKey{Table: 100, Destination: netip.MustParsePrefix("2001:db8::/32"), Metric: 9}
	f.Add(body(f, routeRequest(unix.RTM_NEWROUTE, 0, k, director.RouteSpec{Type: director.Unicast, Via: netip.MustParseAddr("fe80::1")}, 7)))
	f.Add(body(f, ruleRequest(unix.RTM_NEWRULE, 0, director.Rule{Priority: 1, Table: 100, From: netip.MustParsePrefix("192.0.2.1/32"), In: "eth0", Mask: 1})))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, ok, err := parseRoute(b); err == nil && ok && !e.key.Destination.IsValid() {
			t.Errorf("parseRoute accepts %+v", e)
		}
		if e, ok, err := parseRule(b); err == nil && ok && e.rule.From.IsValid() && e.rule.From.Addr().Is6() != e.rule.IPv6 {
			t.Errorf("parseRule accepts %+v", e)
		}
	})
}
