package lab

import (
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Has reports whether the node would answer for an address: whether any of its
// interfaces holds it, has a carrier, and does not still ask whether another
// host has it. What is held by an interface without carrier reaches nobody: a
// cut cable, or the protodown of a virtual router's macvlan.
func (n *Node) Has(addr netip.Addr) bool {
	n.lab.tb.Helper()
	family := netlink.FAMILY_V4
	if addr.Is6() {
		family = netlink.FAMILY_V6
	}
	// One dump of addresses is cheap; the links are asked only about a hit.
	list, err := n.nl.AddrList(nil, family)
	if err != nil {
		return false // a dump that was interrupted: whoever waits asks again
	}
	for _, a := range list {
		got, ok := netip.AddrFromSlice(a.IP)
		if !ok || got.Unmap() != addr || a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0 {
			continue
		}
		if link, err := n.nl.LinkByIndex(a.LinkIndex); err == nil && link.Attrs().RawFlags&unix.IFF_LOWER_UP != 0 {
			return true
		}
	}
	return false
}

// LinkLocal returns the IPv6 link-local address of the port's interface, or the
// zero Addr as long as it may not be used.
func (p *Port) LinkLocal() netip.Addr {
	p.Node.lab.tb.Helper()
	link, err := p.Node.nl.LinkByName(p.Ifname)
	if err != nil {
		p.Node.lab.tb.Fatalf("find %s on %s: %v", p.Ifname, p.Node.Name, err)
	}
	list, err := p.Node.nl.AddrList(link, netlink.FAMILY_V6)
	if err != nil {
		return netip.Addr{}
	}
	for _, a := range list {
		if got, ok := netip.AddrFromSlice(a.IP); ok && got.IsLinkLocalUnicast() && a.Flags&unix.IFA_F_TENTATIVE == 0 {
			return got
		}
	}
	return netip.Addr{}
}

// Macvlan adds an interface with a MAC address of its own on top of another, in
// bridge mode, up, with the addresses. It gets no link-local address by itself.
func (n *Node) Macvlan(name, parent, mac string, prefixes ...string) {
	n.lab.tb.Helper()
	n.MustRun("ip", "link", "add", name, "link", parent, "type", "macvlan", "mode", "bridge")
	n.MustRun("ip", "link", "set", name, "address", mac, "addrgenmode", "none")
	for _, p := range prefixes {
		n.Address(name, p)
	}
	n.MustRun("ip", "link", "set", name, "up")
}
