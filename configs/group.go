package configs

import (
	"net/netip"
	"slices"

	"github.com/understudy-ha/understudy/vrrp"
	"github.com/understudy-ha/understudy/vrrp/notify"
)

// Group is a [[group]]: virtual routers that change state together.
type Group struct {
	Name    string
	Members []string // names of virtual routers
	Notify  []notify.Target
}

// buildGroups reads every [[group]]. The virtual routers must have been read.
func (b *builder) buildGroups() {
	names := map[string]where{}
	taken := map[string]where{}
	for _, r := range b.groups {
		b.unique(r, names)
		g := Group{Name: r.text("name"), Notify: b.notifyTargets(r)}
		first := -1 // of the members, among the virtual routers
		for _, e := range r.list("vrrp") {
			i := b.routerIndex(e.text)
			switch before, twice := taken[e.text]; {
			case i < 0:
				b.errorf(r.file, e.line, "vrrp names %s, and there is no such [[vrrp]]; name those that are to change state together", quote(e.text))
				continue
			case twice:
				b.errorf(r.file, e.line, "%s is in a group already at %s; remove one of the two", quote(e.text), before)
				continue
			}
			taken[e.text] = where{r.file, e.line}
			router := &b.config.Routers[i]
			router.Group, router.Config.Grouped = g.Name, true
			g.Members = append(g.Members, e.text)
			if first < 0 {
				first = i
				continue
			}
			// Members that are better here and worse there would take turns for ever.
			if p := b.config.Routers[first].Config.Priority; router.Config.Priority != p && b.routers[i].good("priority") && b.routers[first].good("priority") {
				b.errorf(r.file, e.line, "%s has the priority %d, and %s of the same group has %d; give them one, so that one director is the better for all of them",
					quote(e.text), router.Config.Priority, quote(b.config.Routers[first].Config.Name), p)
			}
		}
		if len(g.Members) == 1 {
			r.warn("vrrp", "a group of one virtual router changes nothing; add the others, or remove the group")
		}
		b.config.Groups = append(b.config.Groups, g)
	}
}

// routerIndex returns the number of the virtual router called name, or -1.
func (b *builder) routerIndex(name string) int {
	for i, r := range b.config.Routers {
		if r.Config.Name == name && name != "" {
			return i
		}
	}
	return -1
}

var checksums = map[string]vrrp.Checksum{"rfc5798": vrrp.ChecksumRFC5798, "rfc9568": vrrp.ChecksumRFC9568, "any": vrrp.ChecksumAny}

// strictness checks the keys that say how closely others are looked at.
func (b *builder) strictness(r *record, router *VirtualRouter) {
	router.PeerTTL = uint8(r.integer("peer_ttl"))
	router.Strict = r.boolean("strict")
	router.Config.Checksum = checksums[r.text("checksum")]
	unicast := len(router.UnicastPeers) > 0
	v3 := router.Config.Version == vrrp.V3
	ipv4 := len(router.Config.Addresses) > 0 && router.Config.Addresses[0].Is4()
	if r.given("peer_ttl") && r.good("peer_ttl") && router.PeerTTL < 255 && !unicast {
		r.problem("peer_ttl", "peer_ttl = %d is for unicast_peers, multicast does not pass a router; remove it", router.PeerTTL)
	}
	if router.Config.Checksum != vrrp.ChecksumRFC5798 && (!v3 || !ipv4) {
		r.warn("checksum", "checksum = %s has an effect with version 3 and IPv4 alone; remove it", quote(r.text("checksum")))
	}
	if router.Strict && unicast {
		r.problem("strict", "strict = true and unicast_peers contradict each other, RFC 9568 knows multicast only; remove one of the two")
	}
	if all := router.Config.Addresses; router.Strict && v3 && !ipv4 && !slices.ContainsFunc(all, netip.Addr.IsLinkLocalUnicast) && len(all) > 0 {
		r.problem("strict", "strict = true drops advertisements of IPv6 addresses without a link-local one, and addresses holds none; write one as the first (fe80::...), or remove strict")
	}
}
