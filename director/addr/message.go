package addr

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

// From linux/if_addr.h, linux/if_link.h and linux/ip.h; golang.org/x/sys lacks them.
const (
	ifaProto                  = 11 // IFA_PROTO, u8, kernel 5.18 or later
	devconfPromoteSecondaries = 20 // IPV4_DEVCONF_PROMOTE_SECONDARIES
)

// parseLink decodes the body of an RTM_NEWLINK message.
func parseLink(b []byte) linkInfo {
	if len(b) < unix.SizeofIfInfomsg {
		return linkInfo{err: fmt.Errorf("parse link: %d bytes are too short", len(b))}
	}
	l := linkInfo{index: int(int32(binary.NativeEndian.Uint32(b[4:])))}
	for typ, value := range rtattr.All(b[unix.SizeofIfInfomsg:]) {
		switch typ {
		case unix.IFLA_IFALIAS:
			l.made = unix.ByteSliceToString(value) == link.Alias
		case unix.IFLA_AF_SPEC:
			l.promotes = promotes(value)
		}
	}
	return l
}

// promotes reports whether promote_secondaries is set on an interface, by its
// IFLA_AF_SPEC.
func promotes(spec []byte) bool {
	for family, conf := range rtattr.All(spec) {
		if family != unix.AF_INET {
			continue
		}
		for typ, values := range rtattr.All(conf) {
			const at = (devconfPromoteSecondaries - 1) * 4
			if typ == unix.IFLA_INET_CONF && len(values) >= at+4 {
				return binary.NativeEndian.Uint32(values[at:]) != 0
			}
		}
	}
	return false
}

// promoteRequest sets promote_secondaries on an interface.
func promoteRequest(index int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	info := nl.NewIfInfomsg(unix.AF_UNSPEC)
	info.Index = int32(index)
	req.AddData(info)
	spec := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	conf := spec.AddRtAttr(unix.AF_INET, nil).AddRtAttr(unix.IFLA_INET_CONF|unix.NLA_F_NESTED, nil)
	conf.AddRtAttr(devconfPromoteSecondaries, nl.Uint32Attr(1))
	req.AddData(spec)
	return req
}

// lastMetric is that of the route to its subnet which comes with an address on
// an interface of ours: the host goes by that of the interface below, if there
// is one. Kernels before 4.18 know no metric here, and go by the older route.
const lastMetric = 1 << 20

// dumpRequest asks for all addresses of a family, or of all of them.
func dumpRequest(family int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_GETADDR, unix.NLM_F_DUMP)
	req.AddData(nl.NewIfAddrmsg(family))
	return req
}

// forever is the lifetime that does not end (linux/if_addr.h, struct ifa_cacheinfo).
const forever = 0xffffffff

// lifetimes returns a struct ifa_cacheinfo, in seconds.
func lifetimes(preferred, valid uint32) []byte {
	b := binary.NativeEndian.AppendUint32(nil, preferred)
	b = binary.NativeEndian.AppendUint32(b, valid)
	return append(b, make([]byte, 8)...) // when it was made and changed, which the kernel knows
}

// changeRequest carries out one change on an interface.
func changeRequest(op director.Op, l linkInfo, prefix netip.Prefix, tag uint8) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_NEWADDR, unix.NLM_F_ACK)
	switch op {
	case director.Create, director.Update:
		req.Flags |= unix.NLM_F_CREATE | unix.NLM_F_EXCL
	case director.Delete:
		req.Type = unix.RTM_DELADDR
	}
	msg := nl.NewIfAddrmsg(unix.AF_INET)
	if prefix.Addr().Is6() {
		msg.Family = unix.AF_INET6
		// The address moves between machines that agree on its holder by
		// protocol; a probe for duplicates would only delay it.
		msg.Flags = unix.IFA_F_NODAD
	}
	msg.Prefixlen = uint8(prefix.Bits())
	msg.Index = uint32(l.index)
	req.AddData(msg)
	// No IFA_BROADCAST: a virtual address has none.
	ip := prefix.Addr().AsSlice()
	req.AddData(nl.NewRtAttr(unix.IFA_LOCAL, ip))
	req.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, ip))
	if op != director.Delete && prefix.Addr().Is6() {
		// Deprecated: what this host sends of its own accord must come from an
		// address that it keeps (RFC 6724 section 5, rule 3).
		req.AddData(nl.NewRtAttr(unix.IFA_CACHEINFO, lifetimes(0, forever)))
	}
	if op != director.Delete && tag != 0 {
		req.AddData(nl.NewRtAttr(ifaProto, nl.Uint8Attr(tag)))
	}
	if op != director.Delete && l.made {
		req.AddData(nl.NewRtAttr(unix.IFA_RT_PRIORITY, nl.Uint32Attr(lastMetric)))
	}
	return req
}

// routeRequest asks how a packet to an address of the interface with the given index
// is routed.
func routeRequest(index int, dst netip.Addr) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_GETROUTE, 0)
	req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET6, Dst_len: 128}})
	req.AddData(nl.NewRtAttr(unix.RTA_DST, dst.AsSlice()))
	req.AddData(nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index))))
	return req
}

// isLocal reports whether the body of an RTM_NEWROUTE message says that packets are
// for this host.
func isLocal(b []byte) bool { return len(b) >= unix.SizeofRtMsg && b[7] == unix.RTN_LOCAL }
