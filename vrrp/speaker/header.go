package speaker

import (
	"encoding/binary"
	"net/netip"

	"github.com/understudy-ha/understudy/vrrp"
)

const (
	minHeader = 20 // bytes of an IPv4 header without options (RFC 791 section 3.1)
	wantTTL   = 255
	// trafficClass is CS6, internetwork control (RFC 2474 section 4.2.2.2).
	trafficClass = 0xc0

	etherTypeIPv4 = 0x0800
	etherTypeIPv6 = 0x86dd
	// frameHeader is the most that appendFrame appends: Ethernet and IPv6.
	frameHeader = 14 + 40
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

// appendFrame appends the headers of an Ethernet frame that carries a VRRP message
// of that length from mac to a multicast group. The destination is the one that
// RFC 1112 section 6.4 and RFC 2464 section 7 map the group to.
func appendFrame(b []byte, mac [6]byte, src, dst netip.Addr, length int) []byte {
	if dst.Is4() {
		s, d := src.As4(), dst.As4()
		b = append(b, 0x01, 0x00, 0x5e, d[1]&0x7f, d[2], d[3])
		b = append(b, mac[:]...)
		b = binary.BigEndian.AppendUint16(b, etherTypeIPv4)
		start := len(b)
		b = append(b, 0x45, trafficClass)
		b = binary.BigEndian.AppendUint16(b, uint16(minHeader+length))
		// RFC 6864 section 4.1: what may not be fragmented needs no identification.
		b = append(b, 0, 0, 0x40, 0, wantTTL, vrrp.Protocol, 0, 0)
		b = append(append(b, s[:]...), d[:]...)
		binary.BigEndian.PutUint16(b[start+10:], headerChecksum(b[start:]))
		return b
	}
	s, d := src.As16(), dst.As16()
	b = append(b, 0x33, 0x33, d[12], d[13], d[14], d[15])
	b = append(b, mac[:]...)
	b = binary.BigEndian.AppendUint16(b, etherTypeIPv6)
	b = binary.BigEndian.AppendUint32(b, 6<<28|trafficClass<<20)
	b = binary.BigEndian.AppendUint16(b, uint16(length))
	b = append(b, vrrp.Protocol, wantTTL)
	return append(append(b, s[:]...), d[:]...)
}

// headerChecksum is that of an IPv4 header whose checksum is 0 (RFC 791 section 3.1).
func headerChecksum(header []byte) uint16 {
	var sum uint32
	for i := 0; i < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
