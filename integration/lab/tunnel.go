package lab

import (
	"encoding/binary"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Decapsulate makes the node a real server behind an IP-in-IP tunnel.
func (n *Node) Decapsulate(vip netip.Addr) {
	n.lab.tb.Helper()
	n.Unwrap("tunl0")
	n.Sysctl("net.ipv4.conf.all.arp_ignore", "1")
	n.Sysctl("net.ipv4.conf.all.arp_announce", "2")
	n.Address("tunl0", vip.String()+"/32")
}

// Unwrap has the node take packets out of the tunnels of an interface that the
// kernel has for those that nobody else wants: tunl0 (IPv4 in IPv4), sit0 (IPv6
// in IPv4), gre0 (GRE without a checksum).
func (n *Node) Unwrap(ifname string) {
	n.lab.tb.Helper()
	link, err := n.nl.LinkByName(ifname)
	if err == nil {
		err = n.nl.LinkSetUp(link)
	}
	if err != nil {
		n.lab.tb.Fatalf("bring up %s on %s: %v", ifname, n.Name, err)
	}
	n.trustSources(ifname)
}

// UnwrapFrom has the node take packets of both families out of the IPv6 tunnel
// from one peer. The kernel's own ip6tnl0 takes no IPv4.
func (n *Node) UnwrapFrom(peer, own netip.Addr) {
	n.lab.tb.Helper()
	n.addTunnel(&netlink.Ip6tnl{LinkAttrs: netlink.LinkAttrs{Name: "any6"}, Local: own.AsSlice(), Remote: peer.AsSlice()})
}

// UnwrapChecked has the node take packets out of GRE that comes to one of its
// addresses and has a checksum: gre0 takes none with one.
func (n *Node) UnwrapChecked(own netip.Addr) {
	n.lab.tb.Helper()
	const checksum = 0x8000 // GRE_CSUM of linux/if_tunnel.h
	n.addTunnel(&netlink.Gretun{LinkAttrs: netlink.LinkAttrs{Name: "checked"}, Local: own.AsSlice(), IFlags: checksum})
}

func (n *Node) addTunnel(link netlink.Link) {
	n.lab.tb.Helper()
	name := link.Attrs().Name
	err := n.nl.LinkAdd(link)
	if err == nil {
		err = n.nl.LinkSetUp(link)
	}
	if err != nil {
		n.lab.tb.Fatalf("add the tunnel %s on %s: %v", name, n.Name, err)
	}
	n.trustSources(name)
}

// trustSources accepts packets on an interface though no route to their source
// leads back there: in a tunnel it is the client's.
func (n *Node) trustSources(ifname string) {
	n.lab.tb.Helper()
	n.Sysctl("net.ipv4.conf.all.rp_filter", "0")
	n.Sysctl("net.ipv4.conf."+ifname+".rp_filter", "0")
}

// UnwrapGUE has the node take packets out of generic UDP encapsulation (GUE) that
// comes to a port, and hand them to the other tunnels.
func (n *Node) UnwrapGUE(port int) {
	n.lab.tb.Helper()
	n.Must("listen for GUE", func() error {
		// The library's FouAdd names a protocol, which the kernel refuses here, and
		// keeps the family's number for good.
		family, err := netlink.GenlFamilyGet(netlink.FOU_GENL_NAME)
		if err != nil {
			return err
		}
		r := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_ACK)
		r.AddData(&nl.Genlmsg{Command: netlink.FOU_CMD_ADD, Version: 1})
		r.AddData(nl.NewRtAttr(netlink.FOU_ATTR_PORT, binary.BigEndian.AppendUint16(nil, uint16(port))))
		r.AddData(nl.NewRtAttr(netlink.FOU_ATTR_TYPE, []byte{netlink.FOU_ENCAP_GUE}))
		r.AddData(nl.NewRtAttr(netlink.FOU_ATTR_AF, []byte{unix.AF_INET}))
		_, err = r.Execute(unix.NETLINK_GENERIC, 0)
		return err
	})
}

// Mark puts a firewall mark on every packet that comes in on an interface.
func (n *Node) Mark(ifname string, mark uint32) {
	n.lab.tb.Helper()
	link, err := n.nl.LinkByName(ifname)
	if err == nil {
		err = n.nl.QdiscAdd(&netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: link.Attrs().Index, Parent: netlink.HANDLE_INGRESS, Handle: netlink.MakeHandle(0xffff, 0),
		}})
	}
	if err == nil {
		edit := netlink.NewSkbEditAction()
		edit.Mark = &mark
		err = n.nl.FilterAdd(&netlink.MatchAll{
			FilterAttrs: netlink.FilterAttrs{
				LinkIndex: link.Attrs().Index, Parent: netlink.MakeHandle(0xffff, 0), Priority: 1, Protocol: unix.ETH_P_ALL,
			},
			Actions: []netlink.Action{edit},
		})
	}
	if err != nil {
		n.lab.tb.Fatalf("mark what comes in on %s of %s: %v", ifname, n.Name, err)
	}
}
