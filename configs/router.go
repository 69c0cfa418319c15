package configs

import (
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/garp"
	"github.com/understudy-ha/understudy/vrrp"
)

// routerTables are what virtual routers must not have in common.
type routerTables struct {
	names   map[string]where
	vrids   map[vridKey]*record
	vips    map[vipKey]where
	devices map[string]where // of virtual MAC addresses, by name
	routes  map[director.RouteKey]where
	rules   map[director.Rule]where
}

type vridKey struct {
	link string
	vrid int64
	ipv6 bool // the two families know nothing of each other
}

type vipKey struct {
	link string
	addr netip.Addr
}

// buildRouters turns every [[vrrp]] into its two values.
func (b *builder) buildRouters() {
	t := routerTables{names: map[string]where{}, vrids: map[vridKey]*record{}, vips: map[vipKey]where{}, devices: map[string]where{},
		routes: map[director.RouteKey]where{}, rules: map[director.Rule]where{}}
	for _, r := range b.routers {
		b.unique(r, t.names)
		addresses := b.virtualAddresses(r, "addresses", &t)
		b.checkLink(r, &t, addresses)
		all := slices.Concat(addresses, b.virtualAddresses(r, "extra_addresses", &t))
		router := VirtualRouter{
			Config: vrrp.Config{
				Name:         r.text("name"),
				VRID:         uint8(r.integer("vrid")),
				Version:      vrrp.Version(r.integer("version")),
				Priority:     uint8(r.integer("priority")),
				Interval:     b.advertInterval(r),
				Preempt:      r.boolean("preempt"),
				PreemptDelay: r.duration("preempt_delay"),
				Password:     b.password(r),
			},
			Link:             r.text("interface"),
			Source:           b.source(r, all),
			PreemptWhenReady: r.text("preempt_when") == "ready" || !r.given("preempt_when") && b.director.table("sync") != nil,
			ReadyLimit:       r.duration("ready_limit"),
			Notify:           b.notifyTargets(r),
			Accept:           b.accept(r),
		}
		router.Config.Addresses = b.advertised(r, addresses)
		router.UnicastPeers = b.peers(r, router, all)
		b.strictness(r, &router)
		router.Track = b.tracks(r)
		b.checkPreempt(r)
		b.virtualMAC(r, &t, &router, addresses, all)
		b.config.Routers = append(b.config.Routers, router)
		kernel := director.VirtualRouter{
			Name:      router.Config.Name,
			Link:      router.Link,
			Addresses: all,
			Announce:  b.announce(r.table("garp")),
			Routes:    b.buildRoutes(r, &t),
			Rules:     b.buildRules(r, &t),
		}
		if router.Device != "" {
			kernel.Link, kernel.Parent = router.Device, router.Link
		}
		b.config.Director.Routers = append(b.config.Director.Routers, kernel)
	}
	b.checkDevices(&t)
}

// maxLink is the longest interface name: IFNAMSIZ of linux/if.h, less the
// closing zero.
const maxLink = 15

// checkLink checks the interface, and the VRID on it.
func (b *builder) checkLink(r *record, t *routerTables, addresses []netip.Prefix) {
	if !r.good("interface") || !b.checkInterface(r, "interface") {
		return
	}
	link := r.text("interface")
	if !r.good("vrid") {
		return
	}
	k := vridKey{link, r.integer("vrid"), len(addresses) > 0 && addresses[0].Addr().Is6()}
	if first := t.vrids[k]; first != nil {
		r.problem("vrid", "vrid = %d is taken on %s by the [[vrrp]] at %s; choose another, the same on all directors", k.vrid, link, first.where("vrid"))
		return
	}
	t.vrids[k] = r
}

// checkInterface checks the name of an interface by the rules of the kernel
// (dev_valid_name in net/core/dev.c).
func (b *builder) checkInterface(r *record, key string) bool {
	link := r.text(key)
	bad := func(c rune) bool { return c == '/' || c == ':' || unicode.IsSpace(c) || unicode.IsControl(c) }
	if link == "" || len(link) > maxLink || link == "." || link == ".." || strings.IndexFunc(link, bad) >= 0 {
		r.problem(key, "%s = %s is not the name of an interface; use 1 to %d bytes without slash, colon or space", key, quote(link), maxLink)
		return false
	}
	return true
}

func (b *builder) advertInterval(r *record) time.Duration {
	if !r.good("version", "advert_interval") {
		return 0
	}
	d := r.duration("advert_interval")
	switch {
	case r.integer("version") == 2 && d%time.Second != 0:
		r.problem("advert_interval", "advert_interval = %q is not whole seconds, as version 2 needs; choose 1s to 255s, or version = 3", short(d))
	case r.integer("version") == 3 && d > maxInterval3:
		r.problem("advert_interval", "advert_interval = %q is out of range; choose 10ms to 40.95s, or version = 2", short(d))
	case r.integer("version") == 3 && d%(10*time.Millisecond) != 0:
		r.problem("advert_interval", "advert_interval = %q is too fine; choose a multiple of 10ms", short(d))
	}
	return d
}

// maxInterval3 is the greatest interval that version 3 can say: 12 bits of
// centiseconds (RFC 9568 section 5.2.7).
const maxInterval3 = 40950 * time.Millisecond

// virtualAddresses reads a list of addresses that a virtual router moves; those
// that are wrong are left out.
func (b *builder) virtualAddresses(r *record, key string, t *routerTables) []netip.Prefix {
	var ps []netip.Prefix
	for _, e := range r.list(key) {
		p, err := virtualAddress(e.text)
		if err != nil {
			b.errorf(r.file, e.line, "%s holds %s, which %v", key, quote(e.text), err)
			continue
		}
		k := vipKey{r.text("interface"), p.Addr()}
		if first, taken := t.vips[k]; taken {
			b.errorf(r.file, e.line, "address %s stands on %s already at %s; remove one of the two", p.Addr(), k.link, first)
			continue
		}
		t.vips[k] = where{r.file, e.line}
		ps = append(ps, p)
	}
	return ps
}

// advertised returns the addresses that go into the advertisements: those of the
// family of the first. One packet carries one family (RFC 9568 section 5.2.9).
func (b *builder) advertised(r *record, addresses []netip.Prefix) []netip.Addr {
	var list []netip.Addr
	for _, p := range addresses {
		if p.Addr().Is6() == addresses[0].Addr().Is6() {
			list = append(list, p.Addr())
		}
	}
	if len(list) == 0 || !list[0].Is6() {
		return list
	}
	if r.good("version") && r.integer("version") == 2 {
		r.problem("addresses", "version 2 cannot advertise IPv6 addresses, and the first of these is one; write an IPv4 address first, or set version = 3")
	}
	first := slices.IndexFunc(list, netip.Addr.IsLinkLocalUnicast)
	switch {
	case first < 0:
		r.warn("addresses", "no address is link-local; RFC 9568 wants one as the first (fe80::...), and hosts that learn their router from advertisements need it")
	case first > 0:
		r.problem("addresses", "the link-local address %s is not the first IPv6 address, as RFC 9568 wants; move it to the front", list[first])
	}
	return list
}

// unicast parses an address that a router sends from or to.
func unicast(s string) (netip.Addr, error) {
	a, err := hostAddress(s)
	if err != nil {
		return netip.Addr{}, err
	}
	if err := virtual(a); err != nil {
		return netip.Addr{}, err
	}
	return a, nil
}

func (b *builder) source(r *record, addresses []netip.Prefix) netip.Addr {
	if !r.given("source") || !r.good("source") {
		return netip.Addr{}
	}
	a, err := unicast(r.text("source"))
	if err != nil {
		r.problem("source", "source = %s %v", quote(r.text("source")), err)
		return netip.Addr{}
	}
	if len(addresses) > 0 && addresses[0].Addr().Is6() != a.Is6() {
		r.problem("source", "source = %q is not of the family of the advertised addresses, which is that of the first; write one that is", a)
	}
	for _, p := range addresses {
		if p.Addr() == a && r.good("priority") && r.integer("priority") != vrrp.PriorityOwner {
			r.problem("source", "source = %q is one of the addresses, which this router has only while it is master; write its own address", a)
		}
	}
	return a
}

// peers reads unicast_peers; those that are wrong are left out.
func (b *builder) peers(r *record, router VirtualRouter, addresses []netip.Prefix) []netip.Addr {
	var peers []netip.Addr
	seen := make(map[netip.Addr]bool)
	vips := make(map[netip.Addr]bool)
	for _, p := range addresses {
		vips[p.Addr()] = true
	}
	for _, e := range r.list("unicast_peers") {
		a, err := unicast(e.text)
		advice := ""
		switch {
		case err != nil:
			advice = err.Error()
		case len(router.Config.Addresses) > 0 && a.Is6() != router.Config.Addresses[0].Is6():
			advice = "is not of the family of the advertised addresses, which is that of the first; write an address that is"
		case a == router.Source:
			advice = "is the source of this router itself; name only the other directors"
		case vips[a]:
			advice = "is one of the virtual addresses; write the peer's own address"
		case seen[a]:
			advice = "stands there twice; remove one"
		}
		if advice != "" {
			b.errorf(r.file, e.line, "unicast_peers holds %s, which %s", quote(e.text), advice)
			continue
		}
		seen[a] = true
		peers = append(peers, a)
	}
	return peers
}

// maxPassword is the room for a password in an advertisement (RFC 2338 section
// 5.3.10).
const maxPassword = 8

func (b *builder) password(r *record) string {
	auth := r.table("auth")
	if auth == nil || !r.good("version") {
		return ""
	}
	if r.integer("version") != 2 {
		r.problem("auth", "auth is for version 2 only, version 3 has no authentication; remove it, or set version = 2")
		return ""
	}
	if !auth.good("password") {
		return ""
	}
	s := auth.text("password")
	if s == "" || len(s) > maxPassword || !printable(s) {
		auth.problem("password", "password is %d bytes long or holds unprintable ones; use 1 to %d printable bytes", len(s), maxPassword)
	}
	return s
}

// checkPreempt warns of settings that the owner of the addresses overrides:
// it always preempts (RFC 9568 section 6.1).
func (b *builder) checkPreempt(r *record) {
	if !r.good("priority", "preempt", "preempt_delay") {
		return
	}
	owner := r.integer("priority") == vrrp.PriorityOwner
	if r.text("preempt_when") == "ready" && (owner || !r.boolean("preempt")) {
		r.warn("preempt_when", "preempt_when = \"ready\" has no effect with priority 255, which always preempts, or with preempt = false; remove one of the two")
	}
	if b.director.table("sync") != nil && r.text("preempt_when") == "always" && r.boolean("preempt") && !owner {
		r.warn("preempt_when", "with preempt_when = \"always\" a director that comes back takes over before it knows the connections of the other, and these break; set preempt_when = \"ready\"")
	}
	switch delay := r.duration("preempt_delay"); {
	case owner && !r.boolean("preempt"):
		r.warn("preempt", "preempt = false has no effect with priority 255, the owner always preempts; lower the priority or remove it")
	case owner && delay > 0:
		r.warn("preempt_delay", "preempt_delay has no effect with priority 255, the owner always preempts; lower the priority or remove it")
	case !r.boolean("preempt") && delay > 0:
		r.warn("preempt_delay", "preempt_delay has no effect with preempt = false; remove one of the two")
	}
}

// announce reads [vrrp.garp].
func (b *builder) announce(r *record) garp.Schedule {
	if r == nil {
		return garp.Schedule{}
	}
	s := garp.Schedule{
		Count:       int(r.integer("count")),
		Interval:    r.duration("interval"),
		RepeatAfter: r.duration("repeat_after"),
		Refresh:     r.duration("refresh"),
	}
	burst := time.Duration(max(s.Count-1, 0)) * s.Interval
	if r.good("count", "interval", "repeat_after") && s.RepeatAfter > 0 && s.RepeatAfter <= burst {
		r.problem("repeat_after", "repeat_after = %q begins before the first burst is over, which takes %s; lengthen it, or 0s for no repetition",
			short(s.RepeatAfter), short(burst))
	}
	return s
}
