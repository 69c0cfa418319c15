package route

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/link"
	"github.com/understudy-ha/understudy/director/rtattr"
)

// entry is one route of the kernel.
type entry struct {
	key   director.RouteKey
	spec  director.RouteSpec // without Link
	index int                // of the interface; 0: none, or several
	tag   uint8
}

// family returns the address family of a prefix.
func family(p netip.Prefix) uint8 {
	if p.Addr().Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// small returns what of a table's number fits in the header.
func small(table uint32) uint8 {
	if table > 255 {
		return unix.RT_TABLE_UNSPEC
	}
	return uint8(table)
}

// dumpRoutes asks for the routes of a family: of one table and with one tag, as
// far as these are not zero.
func dumpRoutes(family uint8, table uint32, tag uint8) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
	req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: family, Table: small(table), Protocol: tag}})
	if table != 0 {
		req.AddData(nl.NewRtAttr(unix.RTA_TABLE, nl.Uint32Attr(table)))
	}
	return req
}

// routeRequest creates or deletes a route over the interface with the given index,
// 0: none.
func routeRequest(kind, flags int, k director.RouteKey, s director.RouteSpec, index int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(kind, unix.NLM_F_ACK|flags)
	msg := unix.RtMsg{
		Family: family(k.Destination), Dst_len: uint8(k.Destination.Bits()), Table: small(k.Table),
		Protocol: link.Protocol, Scope: uint8(s.Scope), Type: uint8(s.Type),
	}
	if s.OnLink {
		msg.Flags |= unix.RTNH_F_ONLINK
	}
	req.AddData(&nl.RtMsg{RtMsg: msg})
	req.AddData(nl.NewRtAttr(unix.RTA_DST, k.Destination.Addr().AsSlice()))
	req.AddData(nl.NewRtAttr(unix.RTA_TABLE, nl.Uint32Attr(k.Table)))
	if k.Metric != 0 {
		req.AddData(nl.NewRtAttr(unix.RTA_PRIORITY, nl.Uint32Attr(k.Metric)))
	}
	if s.Via.IsValid() {
		req.AddData(nl.NewRtAttr(unix.RTA_GATEWAY, s.Via.AsSlice()))
	}
	if index != 0 {
		req.AddData(nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index))))
	}
	if s.Source.IsValid() {
		req.AddData(nl.NewRtAttr(unix.RTA_PREFSRC, s.Source.AsSlice()))
	}
	return req
}

// parseRoute decodes the body of an RTM_NEWROUTE message. It returns false for a
// route that is told apart by more than a RouteKey, or that is of no family of
// ours.
func parseRoute(b []byte) (entry, bool, error) {
	if len(b) < unix.SizeofRtMsg {
		return entry{}, false, fmt.Errorf("parse route: %d bytes are too short", len(b))
	}
	fam, bits, srcBits, tos := b[0], int(b[1]), b[2], b[3]
	flags := binary.NativeEndian.Uint32(b[8:])
	if fam != unix.AF_INET && fam != unix.AF_INET6 || srcBits != 0 || tos != 0 || flags&unix.RTM_F_CLONED != 0 {
		return entry{}, false, nil
	}
	e := entry{tag: b[5]}
	e.key.Table = uint32(b[4])
	e.spec.Type = director.RouteType(b[7])
	e.spec.OnLink = flags&unix.RTNH_F_ONLINK != 0
	destination := netip.IPv4Unspecified()
	if fam == unix.AF_INET6 {
		destination = netip.IPv6Unspecified()
	} else {
		e.spec.Scope = director.Scope(b[6])
	}
	for kind, value := range rtattr.All(b[unix.SizeofRtMsg:]) {
		switch kind {
		case unix.RTA_DST:
			destination, _ = netip.AddrFromSlice(value)
		case unix.RTA_TABLE:
			e.key.Table = number(value)
		case unix.RTA_PRIORITY:
			e.key.Metric = number(value)
		case unix.RTA_GATEWAY:
			e.spec.Via, _ = netip.AddrFromSlice(value)
		case unix.RTA_VIA: // a gateway of another family: struct rtvia
			if len(value) > 2 {
				e.spec.Via, _ = netip.AddrFromSlice(value[2:])
			}
		case unix.RTA_OIF:
			e.index = int(number(value))
		case unix.RTA_PREFSRC:
			e.spec.Source, _ = netip.AddrFromSlice(value)
		}
	}
	e.key.Destination = netip.PrefixFrom(destination, bits)
	if !e.key.Destination.IsValid() || destination.Is4() != (fam == unix.AF_INET) {
		return entry{}, false, fmt.Errorf("parse route: family %d, destination %v, %d bits", fam, destination, bits)
	}
	if e.spec.Type != director.Unicast {
		e.index = 0 // IPv6 names the loopback interface
	}
	return e, true, nil
}

func number(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}
