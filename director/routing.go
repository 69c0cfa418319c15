package director

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// RouteType is what a route does, with the kernel's values (RTN_* of
// linux/rtnetlink.h).
type RouteType uint8

// The types of routes.
const (
	Unicast     RouteType = 1
	Blackhole   RouteType = 6 // drops in silence
	Unreachable RouteType = 7 // drops with ICMP host unreachable
	Prohibit    RouteType = 8 // drops with ICMP administratively prohibited
)

// Scope is how far away the destination of an IPv4 route is, with the kernel's
// values (RT_SCOPE_* of linux/rtnetlink.h). Routes of IPv6 have none.
type Scope uint8

// The scopes.
const (
	ScopeGlobal Scope = 0   // behind a gateway
	ScopeSite   Scope = 200 // inside of the site
	ScopeLink   Scope = 253 // on the link itself
	ScopeHost   Scope = 254 // on this host
)

// TableMain is the routing table that is used where nothing else is said
// (RT_TABLE_MAIN of linux/rtnetlink.h).
const TableMain = 254

// defaultMetric6 is what the kernel gives an IPv6 route without a metric
// (IP6_RT_PRIO_USER of linux/ipv6_route.h).
const defaultMetric6 = 1024

// RouteKey is what tells a route from others: there is one for a destination and
// a metric in a table.
type RouteKey struct {
	Table       uint32
	Destination netip.Prefix // without host bits
	Metric      uint32       // the lowest wins; of IPv6: 0 stands for 1024
}

// RouteSpec is where a route leads.
type RouteSpec struct {
	Type   RouteType  // 0: Unicast
	Via    netip.Addr // gateway; not valid: none
	Link   string     // interface; of a unicast route, empty: the one that leads to Via, or else that of the virtual router
	Source netip.Addr // preferred source address; not valid: the kernel's choice
	Scope  Scope      // IPv4
	OnLink bool       // Via is on Link, whatever the addresses there say
}

// Route is a route of a virtual router.
type Route struct {
	RouteKey
	RouteSpec
}

// Rule chooses a routing table for packets. All of it tells it from others.
type Rule struct {
	Priority uint32 // the lowest is looked at first
	IPv6     bool
	From, To netip.Prefix // of the packet, without host bits; not valid: any
	Mark     uint32       // firewall mark of the packet, in the bits of Mask
	Mask     uint32       // 0: any mark
	In, Out  string       // interface that it comes from, and socket bound to; empty: any
	Table    uint32
}

// RoutingKey names a route or a rule in the kernel; the other one is zero.
type RoutingKey struct {
	Route RouteKey
	Rule  Rule
}

// RoutingSpec is the content of a route; of a rule, only ownership.
type RoutingSpec struct {
	Route RouteSpec
	Ours  bool // carries our protocol tag (RTA_PROTOCOL, and FRA_PROTOCOL of kernel 4.17 or later)
}

// IsRule reports whether k names a rule rather than a route.
func (k RoutingKey) IsRule() bool { return k.Rule != Rule{} }

// Is6 reports whether k is about IPv6.
func (k RoutingKey) Is6() bool {
	return k.Rule.IPv6 || k.Route.Destination.Addr().Is6()
}

// Compare orders routes by table, destination and metric, and rules after them by
// priority.
func (k RoutingKey) Compare(o RoutingKey) int {
	a, b := k.Rule, o.Rule
	return cmp.Or(
		compareBool(k.IsRule(), o.IsRule()),
		compareBool(k.Is6(), o.Is6()),
		cmp.Compare(k.Route.Table, o.Route.Table),
		comparePrefix(k.Route.Destination, o.Route.Destination),
		cmp.Compare(k.Route.Metric, o.Route.Metric),
		cmp.Compare(a.Priority, b.Priority),
		comparePrefix(a.From, b.From),
		comparePrefix(a.To, b.To),
		cmp.Compare(a.Mark, b.Mark),
		cmp.Compare(a.Mask, b.Mask),
		cmp.Compare(a.In, b.In),
		cmp.Compare(a.Out, b.Out),
		cmp.Compare(a.Table, b.Table),
	)
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// Satisfies reports whether what is there will do for want, of which a part may
// be left to the kernel.
func (s RoutingSpec) Satisfies(want RoutingSpec) bool {
	w := want.Route
	if w.Link == "" {
		w.Link = s.Route.Link
	}
	return s.Route == w
}

// canonical returns r as the kernel gives it back, for a virtual router on link.
func (r Route) canonical(link string) Route {
	r.Type = cmp.Or(r.Type, Unicast)
	r.Destination = r.Destination.Masked()
	if r.Destination.Addr().Is6() {
		r.Metric = cmp.Or(r.Metric, defaultMetric6)
		r.Scope = ScopeGlobal
	}
	if r.Type == Unicast && r.Link == "" && (!r.Via.IsValid() || r.OnLink || r.Via.Is6() && r.Via.IsLinkLocalUnicast()) {
		r.Link = link
	}
	return r
}

// String returns "unicast", "blackhole", "unreachable" or "prohibit".
func (t RouteType) String() string {
	switch t {
	case Unicast:
		return "unicast"
	case Blackhole:
		return "blackhole"
	case Unreachable:
		return "unreachable"
	case Prohibit:
		return "prohibit"
	}
	return "type " + strconv.Itoa(int(t))
}

// String returns "global", "site", "link" or "host".
func (s Scope) String() string {
	switch s {
	case ScopeGlobal:
		return "global"
	case ScopeSite:
		return "site"
	case ScopeLink:
		return "link"
	case ScopeHost:
		return "host"
	}
	return "scope " + strconv.Itoa(int(s))
}

// String returns what ip-route(8) shows of a route: "route default table 100",
// with "ipv6 " before it for IPv6.
func (k RouteKey) String() string {
	s := "route " + destination(k.Destination)
	if k.Destination.Addr().Is6() {
		s = "ipv6 " + s
	}
	if k.Table != TableMain {
		s += fmt.Sprintf(" table %d", k.Table)
	}
	if k.Metric != 0 {
		s += fmt.Sprintf(" metric %d", k.Metric)
	}
	return s
}

func destination(p netip.Prefix) string {
	if p.Bits() == 0 {
		return "default"
	}
	return p.String()
}

// String returns "via 192.0.2.1 dev eth0", as ip-route(8) does.
func (s RouteSpec) String() string {
	var words []string
	if s.Type != Unicast && s.Type != 0 {
		words = append(words, s.Type.String())
	}
	if s.Via.IsValid() {
		words = append(words, "via "+s.Via.String())
	}
	if s.Link != "" {
		words = append(words, "dev "+s.Link)
	}
	if s.Source.IsValid() {
		words = append(words, "src "+s.Source.String())
	}
	if s.Scope != ScopeGlobal {
		words = append(words, "scope "+s.Scope.String())
	}
	if s.OnLink {
		words = append(words, "onlink")
	}
	return strings.Join(words, " ")
}

// String returns what ip-rule(8) shows of a rule: "rule 1000: from
// 192.0.2.100/32 lookup 100", with "ipv6 " before it for IPv6.
func (r Rule) String() string {
	var b strings.Builder
	if r.IPv6 {
		b.WriteString("ipv6 ")
	}
	fmt.Fprintf(&b, "rule %d: from ", r.Priority)
	if r.From.IsValid() {
		b.WriteString(r.From.String())
	} else {
		b.WriteString("all")
	}
	if r.To.IsValid() {
		b.WriteString(" to " + r.To.String())
	}
	if r.Mask != 0 {
		fmt.Fprintf(&b, " fwmark %#x", r.Mark)
		if r.Mask != 1<<32-1 {
			fmt.Fprintf(&b, "/%#x", r.Mask)
		}
	}
	if r.In != "" {
		b.WriteString(" iif " + r.In)
	}
	if r.Out != "" {
		b.WriteString(" oif " + r.Out)
	}
	if r.Table == TableMain {
		return b.String() + " lookup main"
	}
	return b.String() + fmt.Sprintf(" lookup %d", r.Table)
}

// String returns the route or the rule.
func (k RoutingKey) String() string {
	if k.IsRule() {
		return k.Rule.String()
	}
	return k.Route.String()
}

// String returns where a route leads, and whether it carries our tag.
func (s RoutingSpec) String() string {
	whose := "untagged"
	if s.Ours {
		whose = "ours"
	}
	if s.Route == (RouteSpec{}) {
		return whose
	}
	return s.Route.String() + ", " + whose
}
