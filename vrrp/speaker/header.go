package speaker

import (
	"encoding/binary"
	"net/netip"
)

const (
	minHeader = 20 // bytes of an IPv4 header without options (RFC 791 section 3.1)
	wantTTL   = 255
)

// parseIPv4 splits an IPv4 packet as a raw socket delivers it. The message
// aliases b. A header that makes no sense gives the zero packet.
func parseIPv4(b []byte) packet {
	if len(b) < minHeader || b[0]>>4 != 4 {
		return packet{}
	}
	header, total := int(b[0]&0x0f)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < minHeader || total < header || total > len(b) {
		return packet{}
	}
	return packet{
		src:     netip.AddrFrom4([4]byte(b[12:16])),
		dst:     netip.AddrFrom4([4]byte(b[16:20])),
		ttl:     b[8],
		message: b[header:total:total],
	}
}
