package configs

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/vrrp"
)

// virtualMAC reads what concerns the virtual MAC address, and sets that of the
// router, whose advertised addresses come first in all. It gives link-local
// addresses the prefix length of their network, in place: on an interface of their own they are alone, and nothing else makes the
// route that answers take.
func (b *builder) virtualMAC(r *record, t *routerTables, router *VirtualRouter, addresses, all []netip.Prefix) {
	if !r.good("virtual_mac", "virtual_mac_interface") {
		return
	}
	if !r.boolean("virtual_mac") {
		if r.text("virtual_mac_interface") != "" {
			r.warn("virtual_mac_interface", "virtual_mac_interface has no effect without virtual_mac = true; remove one of the two")
		}
		return
	}
	if len(addresses) == 0 || !r.good("vrid") {
		return // there is an error already
	}
	ipv6 := addresses[0].Addr().Is6()
	name, key := fmt.Sprintf("vrrp4.%d", router.Config.VRID), "virtual_mac"
	if ipv6 {
		name = fmt.Sprintf("vrrp6.%d", router.Config.VRID)
	}
	if r.text("virtual_mac_interface") != "" {
		key = "virtual_mac_interface"
		if !b.checkInterface(r, key) {
			return
		}
		name = r.text(key)
	}
	if first, taken := t.devices[name]; taken {
		r.problem(key, "the virtual MAC address would be on the interface %s, as that of the [[vrrp]] at %s; set virtual_mac_interface for one of the two", name, first)
		return
	}
	t.devices[name] = r.where(key)
	router.VirtualMAC, router.Device = vrrp.VirtualMAC(router.Config.VRID, ipv6), name
	for i, p := range all {
		if a := p.Addr(); a.Is6() && a.IsLinkLocalUnicast() && p.IsSingleIP() {
			all[i] = netip.PrefixFrom(a, 64) // RFC 4291 section 2.5.6
		}
	}
}

// checkDevices refuses virtual MAC addresses on the interfaces of virtual
// routers.
func (b *builder) checkDevices(t *routerTables) {
	for _, r := range b.routers {
		if where, taken := t.devices[r.text("interface")]; taken && r.good("interface") {
			b.errorf(where.file, where.line, "the virtual MAC address would be on the interface %s, which is that of the [[vrrp]] at %s; set virtual_mac_interface to another name",
				r.text("interface"), r.where("interface"))
		}
	}
}

// accept reports whether this host takes in what is sent to the addresses. Their
// owner always does (RFC 9568 section 6.4.3).
func (b *builder) accept(r *record) bool {
	if !r.good("accept", "priority") || r.boolean("accept") {
		return true
	}
	if r.integer("priority") == vrrp.PriorityOwner {
		r.warn("accept", "accept = false has no effect with priority 255, the owner takes in what is sent to its addresses; lower the priority or remove it")
		return true
	}
	return false
}

// checkAccept refuses services that this host serves itself at addresses for
// which it takes nothing in.
func (b *builder) checkAccept() {
	closed := make(map[netip.Addr]where)
	for i, v := range b.config.Routers {
		if v.Accept || i >= len(b.routers) {
			continue
		}
		for _, p := range b.config.Director.Routers[i].Addresses {
			closed[p.Addr()] = b.routers[i].where("accept")
		}
	}
	if len(closed) == 0 {
		return
	}
	local := func(s director.Server) bool { return s.Address.IsValid() && s.Spec.Forward == director.Local }
	for i, s := range b.config.Director.Services {
		if !slices.ContainsFunc(s.Servers, local) && !local(s.Policy.Sorry) {
			continue
		}
		for _, k := range s.Keys {
			if at, ok := closed[k.Address.Addr()]; ok {
				b.errorf(b.named[i].file, b.named[i].line, "forward = \"local\" gets nothing that is sent to %s, because of accept = false at %s; remove one of the two", k.Address.Addr(), at)
				break
			}
		}
	}
}
