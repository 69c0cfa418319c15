package configs

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/understudy-ha/understudy/director"
)

var protocols = map[string]director.Protocol{"tcp": director.TCP, "udp": director.UDP, "sctp": director.SCTP}

var protocolNames = map[director.Protocol]string{director.TCP: "tcp", director.UDP: "udp", director.SCTP: "sctp"}

// keyNames are the keys of which a service has one.
var keyNames = []string{"address", "addresses", "fwmark", "fwmarks"}

// maxKeys bounds the keys of all services, in which a line of a file may stand
// for many.
const maxKeys = 1 << 16

// group is what the kernel calls a service: one key or several, the first of
// which stands for the others where it must be one.
type group []director.ServiceKey

// families reports which there are.
func (g group) families() (v4, v6 bool) {
	for _, k := range g {
		v4, v6 = v4 || !k.Is6(), v6 || k.Is6()
	}
	return v4, v6
}

// protocol is that of all keys; 0 with fwmarks.
func (g group) protocol() director.Protocol {
	if len(g) == 0 {
		return 0
	}
	return g[0].Protocol
}

// serviceKeys returns what the kernel calls the service: nothing where that
// could not be found out whole.
func (b *builder) serviceKeys(r *record, t *serviceTables) group {
	name := ""
	for _, n := range keyNames {
		switch {
		case !r.given(n):
		case name != "":
			r.problem(n, "the service has both %s and %s; remove one of the two", name, n)
			return nil
		default:
			name = n
		}
	}
	if name == "" {
		b.errorf(r.file, r.line, "%s has no address; add address = \"IP:PORT\", or one of addresses, fwmark and fwmarks", r.name)
		return nil
	}
	marked := name == "fwmark" || name == "fwmarks"
	switch {
	case marked && r.given("protocol"):
		r.problem("protocol", "protocol is not for a service with %s, which has what the firewall marks; remove it", name)
	case !marked && r.given("family"):
		r.problem("family", "family is for a service with fwmark only; remove it, the address says it already")
	}
	known := r.good(name, "protocol", "family")
	var g group
	add := func(k director.ServiceKey, line int) bool {
		if first, taken := t.keys[k]; taken {
			if slices.Contains(g, k) {
				b.errorf(r.file, line, "the service %s stands here already, at %s; remove one of the two", describeKey(k), first)
				return false
			}
			b.errorf(r.file, line, "the service %s stands at %s already; put the servers of both into one", describeKey(k), first)
			return false
		}
		if b.keys++; b.keys > maxKeys {
			if b.keys == maxKeys+1 {
				b.errorf(r.file, line, "all services together have more than %d addresses; split the configuration over several directors", maxKeys)
			}
			known = false
			return false
		}
		t.keys[k] = where{r.file, line}
		g = append(g, k)
		return true
	}
	mark := func(n int64, line int) {
		if n > 0 {
			add(director.ServiceKey{FWMark: uint32(n), IPv6: r.text("family") == "ipv6"}, line)
		}
	}
	span := func(what, text string, line int) {
		first, last, err := addressRange(what, text)
		if err != nil {
			b.errorf(r.file, line, "%v", err)
			known = false
			return
		}
		if first.Port() == 0 && r.good("persistence") && r.duration("persistence") == 0 {
			which := ""
			if name == "addresses" {
				which = ", which"
			}
			b.errorf(r.file, line, "%s %s%s has port 0, every port, which the kernel takes only with persistence; write the port, or set persistence", what, quote(text), which)
		}
		if !r.good("protocol") {
			return
		}
		for a := first.Addr(); ; a = a.Next() {
			ap := netip.AddrPortFrom(a, first.Port())
			if !add(director.ServiceKey{Protocol: protocols[r.text("protocol")], Address: ap}, line) || a == last {
				return
			}
		}
	}
	switch name {
	case "address":
		span("address =", r.text(name), int(r.field(name).line))
	case "addresses":
		for _, e := range r.list(name) {
			span("addresses holds", e.text, e.line)
		}
		if len(g) > maxGroup {
			r.problem(name, "addresses stand for %d addresses; one service can have at most %d, split it", len(g), maxGroup)
		}
	case "fwmark":
		mark(r.integer(name), int(r.field(name).line))
	case "fwmarks":
		for _, e := range r.list(name) {
			mark(e.number, e.line)
		}
	}
	if !known {
		return nil
	}
	return g
}

// addressRange parses "address:port", and after "addresses holds" also
// "first-last:port". The error is a whole message; what is its beginning.
func addressRange(what, s string) (first netip.AddrPort, last netip.Addr, err error) {
	single := what == "address ="
	fail := func(err error) (netip.AddrPort, netip.Addr, error) {
		which := " "
		if !single {
			which = ", which "
		}
		return netip.AddrPort{}, netip.Addr{}, fmt.Errorf("%s %s%s%w", what, quote(s), which, err)
	}
	low, high, isRange := strings.Cut(s, "-")
	if single && isRange {
		return fail(fmt.Errorf("is a range; write addresses = [%s]", quote(s)))
	}
	if !isRange {
		first, err = endpoint(s)
		if err != nil {
			return fail(err)
		}
		return first, first.Addr(), nil
	}
	end, err := endpoint(bracket(high))
	if err == nil {
		last = end.Addr()
		var a netip.Addr
		if a, err = hostAddress(strings.Trim(low, "[]")); err == nil {
			first = netip.AddrPortFrom(a, end.Port())
		}
	}
	switch {
	case err != nil:
		return fail(err)
	case first.Addr().Is6() != last.Is6():
		return fail(fmt.Errorf("is a range over two address families; write two"))
	case last.Less(first.Addr()):
		return fail(fmt.Errorf("is a range that ends before it begins; exchange the two addresses"))
	case distant(first.Addr(), last):
		return fail(fmt.Errorf("is a range of more than %d addresses; split it", maxRange))
	}
	return first, last, nil
}

// bracket gives the end of "[first-last]:port" back its bracket.
func bracket(high string) string {
	if strings.Contains(high, "]") && !strings.HasPrefix(high, "[") {
		return "[" + high
	}
	return high
}

// distant reports whether the range from a to b, not before a, has more than
// maxRange addresses.
func distant(a, b netip.Addr) bool {
	x, y := a.AsSlice(), b.AsSlice()
	n := len(x) - 2
	if !slices.Equal(x[:n-1], y[:n-1]) { // beyond the last three bytes
		return true
	}
	value := func(s []byte) int { return int(s[n-1])<<16 | int(s[n])<<8 | int(s[n+1]) }
	return value(y)-value(x) >= maxRange
}

func describeKey(k director.ServiceKey) string {
	switch {
	case k.FWMark != 0 && k.IPv6:
		return fmt.Sprintf("with fwmark %d and family ipv6", k.FWMark)
	case k.FWMark != 0:
		return fmt.Sprintf("with fwmark %d", k.FWMark)
	}
	return fmt.Sprintf("at %s, %s,", k.Address, protocolNames[k.Protocol])
}
