package configs

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"github.com/understudy-ha/understudy/director"
)

// tableLocal is the routing table that the kernel keeps itself (RT_TABLE_LOCAL of
// linux/rtnetlink.h).
const tableLocal = 255

// buildRoutes turns every [[vrrp.routes]] of a virtual router into a value; those
// that are wrong are left out.
func (b *builder) buildRoutes(r *record, t *routerTables) []director.Route {
	var routes []director.Route
	for _, rec := range r.tables("routes") {
		route, ok := b.route(rec)
		if !ok {
			continue
		}
		k := route.RouteKey
		if k.Destination.Addr().Is6() {
			k.Metric = cmp.Or(k.Metric, 1024) // what the kernel makes of none
		}
		if first, taken := t.routes[k]; taken {
			rec.problem("to", "%v stands already at %s; remove one of the two, or give it another metric", route.RouteKey, first)
			continue
		}
		t.routes[k] = rec.where("to")
		routes = append(routes, route)
	}
	return routes
}

// scopes are the words of scope.
var scopes = map[string]director.Scope{"global": director.ScopeGlobal, "site": director.ScopeSite, "link": director.ScopeLink, "host": director.ScopeHost}

// routeTypes are the words of type.
var routeTypes = map[string]director.RouteType{
	"unicast": director.Unicast, "blackhole": director.Blackhole, "unreachable": director.Unreachable, "prohibit": director.Prohibit,
}

// route reads one route.
func (b *builder) route(r *record) (director.Route, bool) {
	good := r.good("to", "via", "interface", "source", "table", "metric", "onlink", "scope", "type")
	via, ok := b.neighbour(r, "via")
	good = ok && good
	source, ok := b.neighbour(r, "source")
	good = ok && good
	if r.given("interface") && r.good("interface") && !b.checkInterface(r, "interface") {
		good = false
	}
	destination, ok := b.destination(r, via, source)
	if !ok || !good {
		return director.Route{}, false
	}
	out := director.Route{
		RouteKey: director.RouteKey{Table: uint32(r.integer("table")), Destination: destination, Metric: uint32(r.integer("metric"))},
		RouteSpec: director.RouteSpec{
			Type: routeTypes[r.text("type")], Via: via, Link: r.text("interface"), Source: source,
			OnLink: r.boolean("onlink"), Scope: scopes[r.text("scope")],
		},
	}
	if !r.given("scope") && !via.IsValid() && out.Type == director.Unicast && destination.Addr().Is4() {
		out.Scope = director.ScopeLink
	}
	return out, b.checkRoute(r, out)
}

// neighbour reads an address that a route names, if it does.
func (b *builder) neighbour(r *record, key string) (netip.Addr, bool) {
	if !r.given(key) || !r.good(key) {
		return netip.Addr{}, r.good(key)
	}
	a, err := hostAddress(r.text(key))
	if err == nil && a.IsLoopback() {
		err = fmt.Errorf("is a loopback address; write another")
	}
	if err != nil {
		r.problem(key, "%s = %s %v", key, quote(r.text(key)), err)
		return netip.Addr{}, false
	}
	return a, true
}

// destination reads to: a prefix, an address, or "default" in the family of
// whatever else the route names.
func (b *builder) destination(r *record, via, source netip.Addr) (netip.Prefix, bool) {
	if !r.good("to") {
		return netip.Prefix{}, false
	}
	if r.text("to") == "default" {
		for _, a := range []netip.Addr{via, source} {
			if a.IsValid() {
				return netip.PrefixFrom(a, 0).Masked(), true
			}
		}
		if r.good("via", "source") {
			r.problem("to", `to = "default" may be that of IPv4 or of IPv6 here; write "0.0.0.0/0" or "::/0"`)
		}
		return netip.Prefix{}, false
	}
	p, err := network(r.text("to"))
	if err != nil {
		r.problem("to", "to = %s %v", quote(r.text("to")), err)
		return netip.Prefix{}, false
	}
	return p, true
}

// network parses a prefix, or an address as the longest prefix.
func network(s string) (netip.Prefix, error) {
	a, err := netip.ParseAddr(s)
	p := netip.PrefixFrom(a, a.BitLen())
	if err != nil {
		host, bits, found := strings.Cut(s, "/")
		if a, err = netip.ParseAddr(host); err != nil {
			return p, notAddress(host)
		}
		if p, err = netip.ParsePrefix(s); err != nil && found {
			return p, fmt.Errorf("has the prefix length %s; write 0 to %d", quote(bits), a.BitLen())
		}
	}
	switch {
	case a.Is4In6():
		return p, fmt.Errorf("is an IPv4 address in IPv6 form; write it as IPv4")
	case a.Zone() != "":
		return p, fmt.Errorf("has a zone; remove it")
	case p != p.Masked():
		return p, fmt.Errorf("has bits beyond its prefix length; write %s, or the address alone", p.Masked())
	case a.IsMulticast():
		return p, fmt.Errorf("is multicast, which is routed by other means; write a unicast network")
	}
	return p, nil
}

// checkRoute checks what the parts of a route have to do with each other.
func (b *builder) checkRoute(r *record, out director.Route) bool {
	six := out.Destination.Addr().Is6()
	family := func(a netip.Addr) bool { return !a.IsValid() || a.Is6() == six }
	switch {
	case out.Table == tableLocal:
		r.problem("table", "table = 255 is the kernel's own table of local addresses; choose another")
	case out.Type != director.Unicast && (out.Via.IsValid() || out.Link != "" || out.Source.IsValid() || out.OnLink || r.given("scope")):
		r.problem("type", "type = %q leads nowhere; remove via, interface, source, onlink and scope, or the type", out.Type)
	case !family(out.Via):
		r.problem("via", "via = %q is of another address family than to = %q; write a gateway of the same", out.Via, out.Destination)
	case !family(out.Source):
		r.problem("source", "source = %q is of another address family than to = %q; write an address of the same", out.Source, out.Destination)
	case out.OnLink && !out.Via.IsValid():
		r.problem("onlink", "onlink = true says where the gateway is, and there is none; add via, or remove it")
	case six && r.given("scope"):
		r.problem("scope", "scope = %q is for IPv4, routes of IPv6 have none; remove it", out.Scope)
	case out.Via.IsValid() && (out.Scope == director.ScopeLink || out.Scope == director.ScopeHost):
		r.problem("scope", "scope = %q is for what needs no gateway; remove scope, or via", out.Scope)
	case out.Scope == director.ScopeHost:
		r.problem("scope", `scope = "host" is for addresses of this host itself; write "link"`)
	default:
		return true
	}
	return false
}

// buildRules turns every [[vrrp.rules]] of a virtual router into a value; those
// that are wrong are left out.
func (b *builder) buildRules(r *record, t *routerTables) []director.Rule {
	var rules []director.Rule
	for _, rec := range r.tables("rules") {
		rule, ok := b.rule(rec)
		if !ok {
			continue
		}
		if first, taken := t.rules[rule]; taken {
			rec.problem("priority", "this rule stands already at %s; remove one of the two", first)
			continue
		}
		t.rules[rule] = rec.where("priority")
		rules = append(rules, rule)
	}
	return rules
}

// rule reads one rule.
func (b *builder) rule(r *record) (director.Rule, bool) {
	good := r.good("from", "to", "fwmark", "fwmask", "iif", "oif", "table", "priority", "family")
	rule := director.Rule{
		Priority: uint32(r.integer("priority")), Table: uint32(r.integer("table")),
		In: r.text("iif"), Out: r.text("oif"), IPv6: r.text("family") == "ipv6",
	}
	for _, key := range []string{"iif", "oif"} {
		if r.given(key) && r.good(key) && !b.checkInterface(r, key) {
			good = false
		}
	}
	said := ""
	if r.given("family") {
		said = "family"
	}
	for _, key := range []string{"from", "to"} {
		if !r.given(key) || !r.good(key) {
			continue
		}
		p, err := network(r.text(key))
		if err != nil {
			r.problem(key, "%s = %s %v", key, quote(r.text(key)), err)
			good = false
			continue
		}
		six := p.Addr().Is6()
		if said != "" && r.good(said) && six != rule.IPv6 {
			r.problem(key, "%s = %q is of another address family than %s; a rule is for one", key, r.text(key), said)
			good = false
			continue
		}
		rule.IPv6, said = six, key
		if p.Bits() == 0 {
			continue // any address
		}
		if key == "from" {
			rule.From = p
		} else {
			rule.To = p
		}
	}
	return rule, b.ruleMark(r, &rule) && good
}

// ruleMark reads fwmark and fwmask.
func (b *builder) ruleMark(r *record, rule *director.Rule) bool {
	if !r.good("fwmark", "fwmask") {
		return false
	}
	if !r.given("fwmark") {
		if r.given("fwmask") {
			r.problem("fwmask", "fwmask is given without fwmark; add fwmark, or remove it")
			return false
		}
		return true
	}
	rule.Mark, rule.Mask = uint32(r.integer("fwmark")), 1<<32-1
	if r.given("fwmask") {
		rule.Mask = uint32(r.integer("fwmask"))
	}
	if rule.Mark&^rule.Mask != 0 {
		r.problem("fwmark", "fwmark = %#x has bits that fwmask = %#x leaves out, so no packet can have it; widen fwmask", rule.Mark, rule.Mask)
		return false
	}
	return true
}
