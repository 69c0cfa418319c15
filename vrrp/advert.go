package vrrp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Protocol is the IP protocol number of VRRP (RFC 9568 sections 5.1.1.4 and 5.1.2.4).
const Protocol = 112

// The bounds and units of the advertisement interval on the wire: 12 bits of
// centiseconds (RFC 9568 section 5.2.7), 8 bits of seconds (RFC 3768 section
// 5.3.7).
const (
	UnitV3        = 10 * time.Millisecond
	UnitV2        = time.Second
	MaxIntervalV3 = 4095 * UnitV3
	MaxIntervalV2 = 255 * UnitV2
)

// The authentication types of version 2 (RFC 2338 section 5.3.6; RFC 3768 keeps
// the numbers and the eight bytes).
const (
	AuthNone   = 0
	AuthSimple = 1
)

const (
	headerLen      = 8
	authLen        = 8
	typeAdvert     = 1
	intervalMask   = 0x0fff
	checksumOffset = 6
	maxAddresses   = 255
)

// Advertisement is the one message of the protocol.
type Advertisement struct {
	Version   Version
	VRID      uint8         // 1..255
	Priority  uint8         // 0 says that the master stops taking part
	Interval  time.Duration // Max Advertise Interval (V3, 10ms..40.95s) or Adver Int (V2, 1s..255s)
	Plain     bool          // V3 over IPv4 only: the checksum is that of RFC 9568, without a pseudo header; false: that of RFC 5798
	AuthType  uint8         // V2 only: AuthNone or AuthSimple
	Password  string        // V2 and AuthSimple only: at most 8 bytes, without trailing zeros
	Addresses []netip.Addr  // 1..255, of the family of the source
}

// Append appends the wire form of a, with its checksum, to b. The addresses are
// those of the IP header: version 3 includes them in the checksum, version 2 does
// not (RFC 3768 section 5.3.8). Over IPv4 that is the checksum of RFC 5798 section
// 5.2.8, with a pseudo header for either family, which other routers send and want;
// RFC 9568 section 5.2.8 has it for IPv6 alone. On error b is returned as it was.
func (a Advertisement) Append(b []byte, src, dst netip.Addr) ([]byte, error) {
	interval, err := a.check(src, dst)
	if err != nil {
		return b, fmt.Errorf("encode advertisement of vrid %d: %w", a.VRID, err)
	}
	start := len(b)
	b = append(b, byte(a.Version)<<4|typeAdvert, a.VRID, a.Priority, byte(len(a.Addresses)))
	switch a.Version {
	case V2:
		b = append(b, a.AuthType, byte(interval))
	default:
		b = binary.BigEndian.AppendUint16(b, interval)
	}
	b = append(b, 0, 0)
	for _, addr := range a.Addresses {
		b = appendAddr(b, addr)
	}
	if a.Version == V2 {
		var auth [authLen]byte
		copy(auth[:], a.Password)
		b = append(b, auth[:]...)
	}
	msg := b[start:]
	binary.BigEndian.PutUint16(msg[checksumOffset:], ^checksum(a.Version == V3 && !a.Plain, msg, src, dst))
	return b, nil
}

// check validates what the wire cannot carry and returns the interval in wire units.
func (a Advertisement) check(src, dst netip.Addr) (interval uint16, err error) {
	if a.Version != V2 && a.Version != V3 {
		return 0, fmt.Errorf("version %d is neither 2 nor 3", a.Version)
	}
	if !sameFamily(src, dst) || a.Version == V2 && !src.Is4() {
		return 0, fmt.Errorf("version %d cannot be sent from %v to %v", a.Version, src, dst)
	}
	if a.VRID == 0 {
		return 0, fmt.Errorf("vrid 0 is out of range 1..255")
	}
	if n := len(a.Addresses); n == 0 || n > maxAddresses {
		return 0, fmt.Errorf("%d addresses are out of range 1..%d", n, maxAddresses)
	}
	for _, addr := range a.Addresses {
		if !sameFamily(addr, src) {
			return 0, fmt.Errorf("address %v is not of the family of the source %v", addr, src)
		}
	}
	unit, limit := UnitV3, MaxIntervalV3
	if a.Version == V2 {
		unit, limit = UnitV2, MaxIntervalV2
	}
	if a.Interval < unit || a.Interval > limit || a.Interval%unit != 0 {
		return 0, fmt.Errorf("interval %v is not a multiple of %v up to %v", a.Interval, unit, limit)
	}
	switch {
	case a.Version == V3 && (a.AuthType != AuthNone || a.Password != ""):
		return 0, fmt.Errorf("version 3 has no authentication")
	case a.Plain && (a.Version != V3 || !src.Is4()):
		return 0, fmt.Errorf("only version 3 over IPv4 can do without a pseudo header")
	case a.AuthType > AuthSimple:
		return 0, fmt.Errorf("authentication type %d is neither 0 nor 1", a.AuthType)
	case a.AuthType == AuthNone && a.Password != "":
		return 0, fmt.Errorf("authentication type 0 has no password")
	case len(a.Password) > authLen:
		return 0, fmt.Errorf("password has %d bytes, more than %d", len(a.Password), authLen)
	}
	return uint16(a.Interval / unit), nil
}

// Parse decodes the VRRP message b, without its IP header, that came in a packet
// from src to dst. Both are unmapped and without zone. It never panics and never
// keeps b. The checks are those of RFC 9568 section 7.1 and RFC 3768 section 7.1
// that need no configuration; on any Drop the Advertisement is zero. A checksum over
// IPv4 in version 3 has to be that of Append.
func Parse(b []byte, src, dst netip.Addr) (Advertisement, Drop) {
	if len(b) < headerLen {
		return Advertisement{}, DropShort
	}
	version := Version(b[0] >> 4)
	if version != V2 && version != V3 {
		return Advertisement{}, DropVersion
	}
	if b[0]&0x0f != typeAdvert {
		return Advertisement{}, DropType
	}
	if !sameFamily(src, dst) || version == V2 && !src.Is4() {
		return Advertisement{}, DropFamily
	}
	addrLen, tail := src.BitLen()/8, 0
	if version == V2 {
		tail = authLen
	}
	// A message with bytes to spare is refused too: the checksum covers the
	// whole message, so what they are for would be a guess.
	if count := int(b[3]); count == 0 || len(b) != headerLen+count*addrLen+tail {
		return Advertisement{}, DropCount
	}
	a := Advertisement{Version: version, VRID: b[1], Priority: b[2]}
	if checksum(version == V3, b, src, dst) != 0xffff {
		if a.Plain = version == V3 && src.Is4(); !a.Plain || checksum(false, b, src, dst) != 0xffff {
			return Advertisement{}, DropChecksum
		}
	}
	if a.VRID == 0 {
		return Advertisement{}, DropVRID
	}
	if version == V2 {
		a.AuthType = b[4]
		a.Interval = time.Duration(b[5]) * UnitV2
		switch a.AuthType {
		case AuthNone: // RFC 3768 sections 5.3.6.1 and 5.3.10: the data is ignored on reception
		case AuthSimple:
			a.Password = strings.TrimRight(string(b[len(b)-authLen:]), "\x00")
		default:
			return Advertisement{}, DropAuthType
		}
	} else {
		// RFC 9568 section 5.2.6: the Reserve field is ignored on reception.
		a.Interval = time.Duration(binary.BigEndian.Uint16(b[4:])&intervalMask) * UnitV3
	}
	// An interval of 0 would make every timer of the election run out at once.
	if a.Interval == 0 {
		return Advertisement{}, DropInterval
	}
	a.Addresses = make([]netip.Addr, b[3])
	for i := range a.Addresses {
		a.Addresses[i], _ = netip.AddrFromSlice(b[headerLen+i*addrLen:][:addrLen])
	}
	return a, DropNone
}

// checksum returns the ones' complement sum over msg, if asked to with the pseudo
// header of src and dst before it. Over a message that carries its checksum the sum
// is 0xffff.
func checksum(withHeader bool, msg []byte, src, dst netip.Addr) uint16 {
	var sum uint32
	if withHeader {
		// The pseudo header of IPv4 (RFC 9293 section 3.1) and that of IPv6 (RFC
		// 8200 section 8.1) sum to the same for messages shorter than 64 KiB.
		var pseudo [2 * 16]byte
		sum = addWords(Protocol+uint32(len(msg)), appendAddr(appendAddr(pseudo[:0], src), dst))
	}
	sum = addWords(sum, msg)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// addWords adds the big-endian 16-bit words of b to sum. It cannot overflow:
// the longest message, 255 IPv6 addresses, has about 2,000 words.
func addWords(sum uint32, b []byte) uint32 {
	for len(b) >= 2 {
		sum += uint32(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}

func appendAddr(b []byte, addr netip.Addr) []byte {
	if addr.Is4() {
		a := addr.As4()
		return append(b, a[:]...)
	}
	a := addr.As16()
	return append(b, a[:]...)
}

// sameFamily reports whether a and b are both IPv4 or both IPv6, without zone
// and not one inside the other.
func sameFamily(a, b netip.Addr) bool {
	if a.Is4() {
		return b.Is4()
	}
	return a.Is6() && b.Is6() && !a.Is4In6() && !b.Is4In6() && a.Zone() == "" && b.Zone() == ""
}
