package lab

import (
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"
)

// Switch is an Ethernet switch: a bridge in a namespace of its own, without
// spanning tree and without multicast snooping.
type Switch struct {
	node   *Node
	bridge netlink.Link

	mu    sync.Mutex
	ports map[int]*Port // by the index of the switch's end
}

// Switch adds a switch.
func (l *Lab) Switch(name string) *Switch {
	l.tb.Helper()
	n := l.Node(name)
	off := false
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}, MulticastSnooping: &off}
	err := n.nl.LinkAdd(br)
	if err == nil {
		err = n.nl.LinkSetUp(br)
	}
	if err != nil {
		l.tb.Fatalf("make switch %s: %v", name, err)
	}
	return &Switch{node: n, bridge: br, ports: make(map[int]*Port)}
}

// port returns the port with that index, or nil.
func (s *Switch) port(index int) *Port {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ports[index]
}

// Port is a cable from a node's interface to a switch.
type Port struct {
	Node   *Node
	Ifname string

	sw  *Switch
	far string // the switch's end
}

// Connect gives the node an interface on the switch, up, with the addresses.
func (s *Switch) Connect(n *Node, ifname string, prefixes ...string) *Port {
	l := n.lab
	l.tb.Helper()
	l.mu.Lock()
	l.links++
	far := fmt.Sprintf("port%d", l.links)
	l.mu.Unlock()
	// Made in the switch's namespace, so that no name clashes on the machine.
	veth := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: far, TxQLen: 1000},
		PeerName:      ifname,
		PeerNamespace: netlink.NsFd(n.ns),
	}
	p := &Port{Node: n, Ifname: ifname, sw: s, far: far}
	err := s.node.nl.LinkAdd(veth)
	if err == nil {
		s.mu.Lock()
		s.ports[veth.Index] = p
		s.mu.Unlock()
		err = s.node.nl.LinkSetMaster(veth, s.bridge)
	}
	if err == nil {
		err = s.node.nl.LinkSetUp(veth)
	}
	var near netlink.Link
	if err == nil {
		near, err = n.nl.LinkByName(ifname)
	}
	if err == nil {
		err = n.nl.LinkSetUp(near)
	}
	if err != nil {
		l.tb.Fatalf("connect %s of %s: %v", ifname, n.Name, err)
	}
	for _, a := range prefixes {
		n.Address(ifname, a)
	}
	return p
}

// Cut takes the carrier away, as a pulled cable does.
func (p *Port) Cut() { p.set("cut", (*netlink.Handle).LinkSetDown) }

// Mend puts the carrier back. The kernel may take up to a second to notice.
func (p *Port) Mend() { p.set("mend", (*netlink.Handle).LinkSetUp) }

// Isolate takes the port out of the switch: frames are lost both ways, and the
// host keeps its carrier.
func (p *Port) Isolate() { p.set("isolate", (*netlink.Handle).LinkSetNoMaster) }

// Rejoin puts an isolated port back into the switch.
func (p *Port) Rejoin() {
	p.set("rejoin", func(h *netlink.Handle, link netlink.Link) error { return h.LinkSetMaster(link, p.sw.bridge) })
}

func (p *Port) set(what string, f func(*netlink.Handle, netlink.Link) error) {
	l := p.Node.lab
	l.tb.Helper()
	h := p.sw.node.nl
	link, err := h.LinkByName(p.far)
	if err == nil {
		err = f(h, link)
	}
	if err != nil {
		l.tb.Fatalf("%s %s of %s: %v", what, p.Ifname, p.Node.Name, err)
	}
}

// HWAddr returns the MAC address of the node's interface.
func (p *Port) HWAddr() net.HardwareAddr {
	p.Node.lab.tb.Helper()
	link, err := p.Node.nl.LinkByName(p.Ifname)
	if err != nil {
		p.Node.lab.tb.Fatalf("find %s on %s: %v", p.Ifname, p.Node.Name, err)
	}
	return link.Attrs().HardwareAddr
}

// Neighbour returns the MAC address that the node has cached for addr on the
// port's link, or nil.
func (p *Port) Neighbour(addr netip.Addr) net.HardwareAddr {
	p.Node.lab.tb.Helper()
	link, err := p.Node.nl.LinkByName(p.Ifname)
	if err != nil {
		p.Node.lab.tb.Fatalf("find %s on %s: %v", p.Ifname, p.Node.Name, err)
	}
	list, err := p.Node.nl.NeighList(link.Attrs().Index, netlink.FAMILY_ALL)
	if err != nil {
		p.Node.lab.tb.Fatalf("list neighbours of %s: %v", p.Node.Name, err)
	}
	for _, e := range list {
		if a, ok := netip.AddrFromSlice(e.IP); ok && a.Unmap() == addr && e.State&(netlink.NUD_FAILED|netlink.NUD_INCOMPLETE) == 0 {
			return e.HardwareAddr
		}
	}
	return nil
}
