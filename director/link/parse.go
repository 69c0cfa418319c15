package link

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/rtattr"
)

// attrProto is IFA_PROTO of linux/if_addr.h.
const attrProto = 11

// carrying is the set of interface flags without which no packet gets through:
// administratively up, carrier, and operational state up (RFC 2863) or unknown.
const carrying = unix.IFF_UP | unix.IFF_LOWER_UP | unix.IFF_RUNNING

// iface is one message of an RTM_GETLINK dump.
type iface struct {
	index  int
	name   string
	up     bool
	hwaddr net.HardwareAddr
}

// Address is an address of an interface, as the kernel tells it.
type Address struct {
	Index     int          // of the interface
	Prefix    netip.Prefix // address of this host with its prefix length, host bits kept
	Tag       uint8        // IFA_PROTO, 0 if there is none; Protocol: ours
	Secondary bool         // IPv4: goes away with the primary address of its subnet
	Usable    bool         // not tentative and not a duplicate (RFC 4862)
}

// parseIface decodes the body of an RTM_NEWLINK message (struct ifinfomsg and
// its attributes).
func parseIface(b []byte) (iface, error) {
	if len(b) < unix.SizeofIfInfomsg {
		return iface{}, fmt.Errorf("parse link message: %d bytes", len(b))
	}
	flags := binary.NativeEndian.Uint32(b[8:])
	i := iface{
		index: int(int32(binary.NativeEndian.Uint32(b[4:]))),
		up:    flags&carrying == carrying,
	}
	for kind, value := range rtattr.All(b[unix.SizeofIfInfomsg:]) {
		switch kind {
		case unix.IFLA_IFNAME:
			i.name = unix.ByteSliceToString(value)
		case unix.IFLA_ADDRESS:
			i.hwaddr = slices.Clone(net.HardwareAddr(value))
		}
	}
	if i.index <= 0 || i.name == "" {
		return iface{}, fmt.Errorf("parse link message: index %d, name %q", i.index, i.name)
	}
	return i, nil
}

// ParseAddress decodes the body of an RTM_NEWADDR message (struct ifaddrmsg and
// its attributes). IFA_LOCAL is the address of this host; IFA_ADDRESS is the
// peer's where there is a peer, and otherwise the same.
func ParseAddress(b []byte) (Address, error) {
	if len(b) < unix.SizeofIfAddrmsg {
		return Address{}, fmt.Errorf("parse address message: %d bytes", len(b))
	}
	bits, flags := int(b[1]), uint32(b[2])
	a := Address{
		Index:     int(binary.NativeEndian.Uint32(b[4:])),
		Secondary: b[0] == unix.AF_INET && flags&unix.IFA_F_SECONDARY != 0,
	}
	var local, address netip.Addr
	for kind, value := range rtattr.All(b[unix.SizeofIfAddrmsg:]) {
		switch kind {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(value)
		case unix.IFA_ADDRESS:
			address, _ = netip.AddrFromSlice(value)
		case unix.IFA_FLAGS:
			if len(value) >= 4 {
				flags = binary.NativeEndian.Uint32(value)
			}
		case attrProto:
			if len(value) == 1 {
				a.Tag = value[0]
			}
		}
	}
	if !local.IsValid() {
		local = address
	}
	a.Prefix = netip.PrefixFrom(local, bits)
	if !a.Prefix.IsValid() || local.Is4() != (b[0] == unix.AF_INET) {
		return Address{}, fmt.Errorf("parse address message: family %d, address %v, %d bits", b[0], local, bits)
	}
	tentative := flags&unix.IFA_F_TENTATIVE != 0 && flags&unix.IFA_F_OPTIMISTIC == 0
	a.Usable = !tentative && flags&unix.IFA_F_DADFAILED == 0
	return a, nil
}

// judge reports whether any of the netlink messages in b is news, and whether
// any of that is about an address. An address that appears with our tag is no
// news: we have just put it there, and no State shows it. What cannot be read
// is news.
func judge(b []byte) (news, addresses bool) {
	for len(b) >= unix.SizeofNlMsghdr {
		size := uint64(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > uint64(len(b)) {
			return true, true
		}
		body := b[unix.SizeofNlMsghdr:size]
		switch binary.NativeEndian.Uint16(b[4:]) {
		case unix.RTM_NEWADDR:
			if a, err := ParseAddress(body); err != nil || a.Tag != Protocol {
				news, addresses = true, true
			}
		case unix.RTM_DELADDR:
			news, addresses = true, true
		default:
			news = true
		}
		b = b[min(uint64(len(b)), (size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
	}
	return news, addresses
}

// decode makes states out of the messages of the two dumps.
func decode(links, addresses [][]byte) (map[string]State, error) {
	var ifaces []iface
	for _, b := range links {
		i, err := parseIface(b)
		if err != nil {
			return nil, err
		}
		ifaces = append(ifaces, i)
	}
	var addrs []Address
	for _, b := range addresses {
		// The dump speaks of every family, of which IPv4 and IPv6 concern us.
		if len(b) > 0 && b[0] != unix.AF_INET && b[0] != unix.AF_INET6 {
			continue
		}
		a, err := ParseAddress(b)
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, a)
	}
	return assemble(ifaces, addrs), nil
}

// assemble joins the two dumps into the state of every interface by name.
// Addresses keep the order in which the kernel gave them.
func assemble(ifaces []iface, addrs []Address) map[string]State {
	byIndex := make(map[int][]netip.Prefix, len(ifaces))
	for _, a := range addrs {
		if a.Usable && a.Tag != Protocol {
			byIndex[a.Index] = append(byIndex[a.Index], a.Prefix)
		}
	}
	states := make(map[string]State, len(ifaces))
	for _, i := range ifaces {
		states[i.name] = State{Index: i.index, Up: i.up, HWAddr: i.hwaddr, Addresses: byIndex[i.index]}
	}
	return states
}
