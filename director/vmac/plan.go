package vmac

import (
	"fmt"
	"net"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/link"
)

// From linux/if_link.h; golang.org/x/sys lacks it.
const modeBridge = 4 // MACVLAN_MODE_BRIDGE

const kind = "macvlan"

// Device is the interface of one virtual MAC address.
type Device struct {
	Name   string
	Parent string // the interface that the virtual router is on
	MAC    [6]byte
}

// step is one thing to do.
type step struct {
	device  Device // what is to be made
	parent  int    // index of its parent; 0: index is to be removed
	index   int
	name    string // of what is removed
	differs string // what is wrong with what is removed; empty: it is not wanted any more
}

// plan compares what is wanted with the interfaces that there are. The removals
// come first. What cannot be had is told by name.
func plan(wanted []Device, have []link.Device) (steps []step, fit map[string]int, trouble map[string]string) {
	fit, trouble = make(map[string]int), make(map[string]string)
	byName := make(map[string]link.Device, len(have))
	for _, l := range have {
		byName[l.Name] = l
	}
	named := make(map[string]bool, len(wanted))
	var creates []step
	for _, d := range wanted {
		named[d.Name] = true
		parent, ok := byName[d.Parent]
		if !ok {
			trouble[d.Name] = fmt.Sprintf("there is no interface %s", d.Parent)
			continue
		}
		create := step{device: d, parent: parent.Index}
		l, ok := byName[d.Name]
		switch differs := difference(d, parent, l); {
		case !ok:
			creates = append(creates, create)
		case l.Kind != kind || l.Alias != link.Alias:
			trouble[d.Name] = fmt.Sprintf("there is another interface of this name; remove it (ip link delete %s), or set virtual_mac_interface", d.Name)
		case differs != "":
			steps = append(steps, step{index: l.Index, name: l.Name, differs: differs})
			creates = append(creates, create)
		default:
			fit[d.Name] = l.Index
		}
	}
	for _, l := range have {
		if ours(l) && !named[l.Name] {
			steps = append(steps, step{index: l.Index, name: l.Name})
		}
	}
	slices.SortStableFunc(steps, func(a, b step) int { return a.index - b.index })
	return append(steps, creates...), fit, trouble
}

// ours reports whether an interface is one that this package has made.
func ours(l link.Device) bool {
	m := l.HWAddr
	return l.Kind == kind && l.Alias == link.Alias &&
		(m[0] == 0 || m[0] == veiled) && m[1] == 0 && m[2] == 0x5e && m[3] == 0 && (m[4] == 1 || m[4] == 2)
}

// difference says what of an interface of ours is not as wanted.
func difference(d Device, parent, l link.Device) string {
	below, space := parent.Index, -1
	if parent.Kind == kind { // the kernel puts a macvlan on a macvlan beside it
		below, space = parent.Parent, parent.ParentSpace
	}
	switch {
	case l.Mode != modeBridge:
		return fmt.Sprintf("mode %d", l.Mode)
	case l.HWAddr != d.MAC && l.HWAddr != veil(d.MAC):
		return "hardware address " + net.HardwareAddr(l.HWAddr[:]).String()
	case l.Parent != below || l.ParentSpace != space:
		return fmt.Sprintf("on the interface with index %d", l.Parent)
	}
	return ""
}

// below returns the interfaces of this host that hear what the wanted ones hear:
// their parents, and what these are above themselves where the kernel puts a
// macvlan on a macvlan beside it. A parent that is not there counts too: what was
// set of it waits for its return.
func below(wanted []Device, have []link.Device) []string {
	var names []string
	for _, d := range wanted {
		names = append(names, d.Parent)
		for _, l := range have {
			if l.Name != d.Parent || l.Kind != kind || l.ParentSpace != -1 {
				continue
			}
			for _, lower := range have {
				if lower.Index == l.Parent {
					names = append(names, lower.Name)
				}
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// createRequests make an interface, down, and mark it as ours. The kernel takes
// the mark only of an interface that exists: the two go in one message, which no
// kill can divide.
func createRequests(d Device, parent int) []*nl.NetlinkRequest {
	create := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	create.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	name := nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(d.Name))
	create.AddData(name)
	create.AddData(nl.NewRtAttr(unix.IFLA_LINK, nl.Uint32Attr(uint32(parent))))
	create.AddData(nl.NewRtAttr(unix.IFLA_ADDRESS, d.MAC[:]))
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(unix.IFLA_INFO_KIND, nl.NonZeroTerminated(kind))
	info.AddRtAttr(unix.IFLA_INFO_DATA, nil).AddRtAttr(unix.IFLA_MACVLAN_MODE, nl.Uint32Attr(modeBridge))
	create.AddData(info)

	mark := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	mark.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	mark.AddData(name)
	mark.AddData(nl.NewRtAttr(unix.IFLA_IFALIAS, nl.NonZeroTerminated(link.Alias)))
	return []*nl.NetlinkRequest{create, mark}
}

// removeRequest removes an interface.
func removeRequest(index int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
	req.AddData(at(index))
	return req
}

// raiseRequest sets an interface up or down.
func raiseRequest(index int, up bool) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	info := at(index)
	info.Change = unix.IFF_UP
	if up {
		info.Flags = unix.IFF_UP
	}
	req.AddData(info)
	return req
}

// veiled is the bit of a hardware address that is locally administered (IEEE 802).
const veiled = 2

// veil returns the hardware address that an interface has while IPv6 addresses come
// to it. The kernel reports the groups of an address, by a frame from the interface's
// own address, perhaps before it answers for it; from the virtual MAC that would draw
// the packets here too soon.
func veil(mac [6]byte) [6]byte {
	mac[0] |= veiled
	return mac
}

// dressRequest gives an interface its hardware address.
func dressRequest(index int, mac [6]byte) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	req.AddData(at(index))
	req.AddData(nl.NewRtAttr(unix.IFLA_ADDRESS, mac[:]))
	return req
}

// linkRequest asks for an interface.
func linkRequest(index int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0)
	req.AddData(at(index))
	req.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(skipStats)))
	return req
}

// listRequest asks for every interface.
func listRequest() *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(skipStats)))
	return req
}

// skipStats is RTEXT_FILTER_SKIP_STATS of linux/rtnetlink.h.
const skipStats = 1 << 3

func at(index int) *nl.IfInfomsg {
	info := nl.NewIfInfomsg(unix.AF_UNSPEC)
	info.Index = int32(index)
	return info
}

// String says what is done.
func (s step) String() string {
	switch {
	case s.parent != 0:
		return fmt.Sprintf("make %s on %d", s.device.Name, s.parent)
	case s.differs != "":
		return fmt.Sprintf("remove %d: %s", s.index, s.differs)
	}
	return fmt.Sprintf("remove %d", s.index)
}
