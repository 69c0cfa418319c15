package speaker

import "net/netip"

// family is what IPv4 and IPv6 differ in.
type family struct {
	ipv6  bool
	group netip.Addr // RFC 9568 sections 5.1.1.2 and 5.1.2.2
	// snap is more than any message with 255 addresses takes, with the longest
	// header where the kernel delivers one: 60 + 8 + 255*4 + 8, and 8 + 255*16.
	snap int
}

// The groups of all VRRP routers.
var (
	group4 = netip.AddrFrom4([4]byte{224, 0, 0, 18})
	group6 = netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 0x12})
)

var (
	inet  = family{group: group4, snap: 1152}
	inet6 = family{ipv6: true, group: group6, snap: 4160}
)
