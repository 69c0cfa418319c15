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

// From linux/fib_rules.h; golang.org/x/sys lacks them. Struct fib_rule_hdr is as
// long as struct rtmsg, and has the action in the place of the type.
const (
	fraDst                   = 1
	fraSrc                   = 2
	fraIIFName               = 3
	fraPriority              = 6
	fraFWMark                = 10
	fraSuppressIfGroup       = 13
	fraSuppressPrefix        = 14
	fraTable                 = 15
	fraFWMask                = 16
	fraOIFName               = 17
	fraPad                   = 18
	fraProtocol              = 21
	actionToTable      uint8 = 1 // FR_ACT_TO_TBL
)

// ruleEntry is one rule of the kernel.
type ruleEntry struct {
	rule director.Rule
	tag  uint8
	odd  bool // it has what a director.Rule cannot say
}

// dumpRules asks for the rules of a family.
func dumpRules(family uint8) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_GETRULE, unix.NLM_F_DUMP)
	req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: family}})
	return req
}

// ruleRequest creates or deletes a rule.
func ruleRequest(kind, flags int, r director.Rule) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(kind, unix.NLM_F_ACK|flags)
	msg := unix.RtMsg{Family: unix.AF_INET, Table: small(r.Table), Type: actionToTable}
	if r.IPv6 {
		msg.Family = unix.AF_INET6
	}
	if r.From.IsValid() {
		msg.Src_len = uint8(r.From.Bits())
	}
	if r.To.IsValid() {
		msg.Dst_len = uint8(r.To.Bits())
	}
	req.AddData(&nl.RtMsg{RtMsg: msg})
	if r.From.IsValid() {
		req.AddData(nl.NewRtAttr(fraSrc, r.From.Addr().AsSlice()))
	}
	if r.To.IsValid() {
		req.AddData(nl.NewRtAttr(fraDst, r.To.Addr().AsSlice()))
	}
	req.AddData(nl.NewRtAttr(fraPriority, nl.Uint32Attr(r.Priority)))
	req.AddData(nl.NewRtAttr(fraTable, nl.Uint32Attr(r.Table)))
	if r.Mask != 0 {
		req.AddData(nl.NewRtAttr(fraFWMark, nl.Uint32Attr(r.Mark)))
		req.AddData(nl.NewRtAttr(fraFWMask, nl.Uint32Attr(r.Mask)))
	}
	if r.In != "" {
		req.AddData(nl.NewRtAttr(fraIIFName, nl.ZeroTerminated(r.In)))
	}
	if r.Out != "" {
		req.AddData(nl.NewRtAttr(fraOIFName, nl.ZeroTerminated(r.Out)))
	}
	req.AddData(nl.NewRtAttr(fraProtocol, nl.Uint8Attr(link.Protocol)))
	return req
}

// parseRule decodes the body of an RTM_NEWRULE message. It returns false for one
// of another family than IPv4 and IPv6.
func parseRule(b []byte) (ruleEntry, bool, error) {
	if len(b) < unix.SizeofRtMsg {
		return ruleEntry{}, false, fmt.Errorf("parse rule: %d bytes are too short", len(b))
	}
	fam, toBits, fromBits := b[0], int(b[1]), int(b[2])
	if fam != unix.AF_INET && fam != unix.AF_INET6 {
		return ruleEntry{}, false, nil
	}
	flags := binary.NativeEndian.Uint32(b[8:]) // inversion; and what the kernel knows of the interfaces
	const invert = 2                           // FIB_RULE_INVERT
	e := ruleEntry{odd: b[3] != 0 || b[7] != actionToTable || flags&invert != 0}
	e.rule.IPv6 = fam == unix.AF_INET6
	e.rule.Table = uint32(b[4])
	var from, to netip.Addr
	for kind, value := range rtattr.All(b[unix.SizeofRtMsg:]) {
		switch kind {
		case fraSrc:
			from, _ = netip.AddrFromSlice(value)
		case fraDst:
			to, _ = netip.AddrFromSlice(value)
		case fraPriority:
			e.rule.Priority = number(value)
		case fraTable:
			e.rule.Table = number(value)
		case fraFWMark:
			e.rule.Mark = number(value)
		case fraFWMask:
			e.rule.Mask = number(value)
		case fraIIFName:
			e.rule.In = unix.ByteSliceToString(value)
		case fraOIFName:
			e.rule.Out = unix.ByteSliceToString(value)
		case fraProtocol:
			if len(value) == 1 {
				e.tag = value[0]
			}
		case fraSuppressPrefix, fraSuppressIfGroup:
			e.odd = e.odd || number(value) != 1<<32-1
		case fraPad:
		default: // FRA_FLOW, FRA_TUN_ID, FRA_L3MDEV, FRA_UID_RANGE, ports, protocols, and what is yet to come
			e.odd = true
		}
	}
	var ok bool
	if e.rule.From, ok = selector(from, fromBits, e.rule.IPv6); !ok {
		return ruleEntry{}, false, fmt.Errorf("parse rule: from %v, %d bits", from, fromBits)
	}
	if e.rule.To, ok = selector(to, toBits, e.rule.IPv6); !ok {
		return ruleEntry{}, false, fmt.Errorf("parse rule: to %v, %d bits", to, toBits)
	}
	return e, true, nil
}

// selector returns the prefix of a rule, the zero one for any address.
func selector(a netip.Addr, bits int, ipv6 bool) (netip.Prefix, bool) {
	if bits == 0 && (!a.IsValid() || a.IsUnspecified()) {
		return netip.Prefix{}, true
	}
	p := netip.PrefixFrom(a, bits)
	return p, p.IsValid() && a.Is6() == ipv6
}

// fits reports whether the kernel would delete e when told to delete r: what r
// does not say fits everything (rule_find of net/core/fib_rules.c).
func (e ruleEntry) fits(r director.Rule) bool {
	h := e.rule
	return h.IPv6 == r.IPv6 && h.Table == r.Table && h.Priority == r.Priority &&
		(r.In == "" || h.In == r.In) && (r.Out == "" || h.Out == r.Out) &&
		(r.Mark == 0 || h.Mark == r.Mark) && (r.Mask == 0 || h.Mask == r.Mask) &&
		(!r.From.IsValid() || h.From == r.From) && (!r.To.IsValid() || h.To == r.To)
}
