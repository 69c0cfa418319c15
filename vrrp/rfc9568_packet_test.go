package vrrp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The tests of this file are about the sentences of RFC 9568 on packets: sections
// 5.2, 7.1 and 7.2.

// "The Version field specifies the VRRP protocol version of this packet. This
// document defines version 3."
func TestRFC9568_5_2_1_Version(t *testing.T) {
	if b := wire(t, v3(), 100, dst4); b[0]>>4 != 3 {
		t.Errorf("version %d", b[0]>>4)
	}
}

// "The only packet type defined in this version of the protocol is: 1 -
// ADVERTISEMENT. A packet with unknown type MUST be discarded."
func TestRFC9568_5_2_2_Type(t *testing.T) {
	if b := wire(t, v3(), 100, dst4); b[0]&0x0f != 1 {
		t.Errorf("type %d", b[0]&0x0f)
	}
	for kind := range byte(16) {
		b := message3(v3().Addresses...)
		b[0] = 0x30 | kind
		seal(b, higher, dst4)
		if kind == 1 {
			accepted(t, v3(), b, higher, dst4)
		} else {
			discards(t, v3(), b, higher, dst4, DropType)
		}
	}
}

// "The priority value for the VRRP Router that owns the IPvX address associated with
// the Virtual Router MUST be 255 (decimal). VRRP Routers backing up a Virtual Router
// MUST use priority values between 1-254 (decimal). [...] The priority value zero (0)
// has special meaning, indicating that the current Active Router has stopped
// participating in VRRP."
func TestRFC9568_5_2_4_Priority(t *testing.T) {
	for _, p := range []uint8{1, 100, 254, 255} {
		c := v3(priority(p))
		r := New(c)
		r.Step(t0, Start{})
		for r.Status().State != StateMaster {
			r.Step(r.Deadline(), Tick{})
		}
		out := r.Step(r.timer(), Tick{})
		if b := wire(t, c, out.Priority, dst4); !out.Advertise || b[2] != p {
			t.Errorf("priority %d: advertises %d (%+v)", p, b[2], out)
		}
		out = r.Step(r.timer(), Stop{})
		if b := wire(t, c, out.Priority, dst4); !out.Advertise || b[2] != 0 {
			t.Errorf("priority %d: the farewell has %d (%+v)", p, b[2], out)
		}
	}
}

// "The minimum value is 1. If the received count is 0, the VRRP advertisement MUST be
// ignored."
func TestRFC9568_5_2_5_Count(t *testing.T) {
	discards(t, v3(), seal(message3(), higher, dst4), higher, dst4, DropCount)
	discards(t, v3(overIPv6), seal(message3(), higher6, dst6), higher6, dst6, DropCount)
	many := make([]netip.Addr, 255)
	for i := range many {
		many[i] = netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
	}
	for _, n := range []int{1, 2, 255} {
		accepted(t, v3(), seal(message3(many[:n]...), higher, dst4), higher, dst4)
		b := wire(t, v3(func(c *Config) { c.Addresses = many[:n] }), 100, dst4)
		if int(b[3]) != n || len(b) != 8+4*n {
			t.Errorf("%d addresses: count %d in %d bytes", n, b[3], len(b))
		}
	}
}

// "The Reserve field MUST be set to zero on transmission and ignored on reception."
func TestRFC9568_5_2_6_Reserve(t *testing.T) {
	for _, d := range []time.Duration{UnitV3, time.Second, MaxIntervalV3} {
		if b := wire(t, v3(interval(d)), 100, dst4); b[4]>>4 != 0 {
			t.Errorf("%v: sent as %#x", d, b[4]>>4)
		}
	}
	for reserve := range byte(16) {
		b := message3(v3().Addresses...)
		b[4] |= reserve << 4
		seal(b, higher, dst4)
		accepted(t, v3(), b, higher, dst4)
		if a, drop := Parse(b, higher, dst4); drop != DropNone || a.Interval != time.Second {
			t.Errorf("%#x: %v, interval %v", reserve, drop, a.Interval)
		}
	}
}

// "The Max Advertise Interval is a 12-bit field that indicates the time interval (in
// centiseconds) between advertisements."
func TestRFC9568_5_2_7_Interval(t *testing.T) {
	for centiseconds := uint16(1); centiseconds <= 4095; centiseconds++ {
		d := time.Duration(centiseconds) * 10 * time.Millisecond
		b := wire(t, v3(interval(d)), 100, dst4)
		if got := binary.BigEndian.Uint16(b[4:]); got != centiseconds {
			t.Fatalf("%v: sent as %d", d, got)
		}
		if a, _ := Parse(b, own, dst4); a.Interval != d {
			t.Fatalf("%d: received as %v", centiseconds, a.Interval)
		}
	}
}

// "The checksum is the 16-bit one's complement of the one's complement sum of the
// VRRP message. For computing the checksum, the Checksum field is set to zero. [...]
// For the IPv6 address family, the checksum calculation also includes a prepended
// "pseudo-header", as defined in Section 8.1 of [RFC8200]. The Next Header field in
// the "pseudo-header" should be set to 112 (decimal) for VRRP."
func TestRFC9568_5_2_8_ChecksumIPv6(t *testing.T) {
	c := v3(overIPv6)
	b := wire(t, c, 100, dst6)
	got := binary.BigEndian.Uint16(b[6:])
	b[6], b[7] = 0, 0
	if want := sum1071(pseudo6(own6, dst6, len(b)), b); got != want {
		t.Errorf("sent %#04x, want %#04x", got, want)
	}
	accepted(t, c, seal(message3(c.Addresses...), higher6, dst6), higher6, dst6)

	// Without the pseudo header, or with another one, it is wrong.
	bare := message3(c.Addresses...)
	binary.BigEndian.PutUint16(bare[6:], sum1071(bare))
	discards(t, c, bare, higher6, dst6, DropChecksum)
	udp := message3(c.Addresses...)
	header := pseudo6(higher6, dst6, len(udp))
	header[39] = 17
	binary.BigEndian.PutUint16(udp[6:], sum1071(header, udp))
	discards(t, c, udp, higher6, dst6, DropChecksum)
}

// "For the IPv4 address family, the checksum calculation only includes the VRRP
// message starting with the Version field and ending after the last IPv4 address".
// This router sends the checksum of RFC 5798 section 5.2.8, which includes a pseudo
// header for IPv4 too: it is what keepalived and FRR send and want by default.
func TestRFC9568_5_2_8_ChecksumIPv4(t *testing.T) {
	b := wire(t, v3(), 100, dst4)
	got := binary.BigEndian.Uint16(b[6:])
	b[6], b[7] = 0, 0
	if want := sum1071(pseudo4(own, dst4, len(b)), b); got != want {
		t.Errorf("sent %#04x, want %#04x", got, want)
	}
	accepted(t, v3(), seal(message3(v3().Addresses...), higher, dst4), higher, dst4)
}

// "The address family of the addresses, IPv4 or IPv6 but not both, MUST be the same as
// the VRRP packet's IPvX header address family."
func TestRFC9568_5_2_9_Family(t *testing.T) {
	for _, tt := range []struct {
		addresses []netip.Addr
		src, dst  netip.Addr
	}{
		{[]netip.Addr{vip6}, own, dst4},
		{[]netip.Addr{vip4, vip6}, own, dst4},
		{[]netip.Addr{vip4}, own6, dst6},
		{[]netip.Addr{vip6, vip4}, own6, dst6},
	} {
		a := New(v3(func(c *Config) { c.Addresses = tt.addresses })).Advertisement(100)
		if b, err := a.Append(nil, tt.src, tt.dst); err == nil {
			t.Errorf("%v from %v: sent % x", tt.addresses, tt.src, b)
		}
	}
	// What is received has no family but that of the header: 16 bytes are four
	// addresses over IPv4 and one over IPv6.
	four := message3(vip6)
	discards(t, v3(), seal(four, higher, dst4), higher, dst4, DropCount)
	four[3] = 4
	a, drop := Parse(seal(four, higher, dst4), higher, dst4)
	if drop != DropNone || len(a.Addresses) != 4 || !a.Addresses[0].Is4() {
		t.Errorf("%v, %v", a.Addresses, drop)
	}
}

// "For IPv6, the first address MUST be the IPv6 link-local address associated with
// the Virtual Router." and "it is recommended that all routers be configured to send
// these addresses in the same order": as configured.
func TestRFC9568_5_2_9_Order(t *testing.T) {
	c := v3(overIPv6)
	if b := wire(t, c, 100, dst6); netip.AddrFrom16([16]byte(b[8:24])) != vip6 || netip.AddrFrom16([16]byte(b[24:40])) != c.Addresses[1] {
		t.Errorf("sent % x", b[8:])
	}
	a, drop := Parse(wire(t, c, 100, dst6), own6, dst6)
	if diff := cmp.Diff(c.Addresses, a.Addresses, equalAddrs); diff != "" || drop != DropNone {
		t.Errorf("%v (-sent +received)\n%s", drop, diff)
	}
}

// "It MUST verify that the VRRP version is 3. It MUST verify that the VRRP packet type
// is 1 (ADVERTISEMENT). It MUST verify that the received packet contains the complete
// VRRP packet (including fixed fields and the IPvX address). It MUST verify the VRRP
// checksum. It MUST verify that the VRID is configured on the receiving interface".
// "If any one of the above checks fails, the receiver MUST discard the packet".
// Erratum 8299 adds: "It MUST verify that IPvX Addr Count is non zero." The TTL and
// the hop limit are checked where the packet is read.
func TestRFC9568_7_1_Discard(t *testing.T) {
	version := func(v byte) func(b []byte) []byte {
		return func(b []byte) []byte { b[0] = v<<4 | 1; return b }
	}
	tests := []struct {
		name   string
		change func(b []byte) []byte
		spoil  bool // the checksum
		want   Drop
	}{
		{"version 0", version(0), false, DropVersion},
		{"version 1", version(1), false, DropVersion},
		{"version 4", version(4), false, DropVersion},
		{"version 15", version(15), false, DropVersion},
		{"type 0", func(b []byte) []byte { b[0] = 0x30; return b }, false, DropType},
		{"type 2", func(b []byte) []byte { b[0] = 0x32; return b }, false, DropType},
		{"fixed fields cut", func(b []byte) []byte { return b[:7] }, true, DropShort},
		{"address cut", func(b []byte) []byte { return b[:len(b)-2] }, false, DropCount},
		{"address missing", func(b []byte) []byte { b[3]++; return b }, false, DropCount},
		{"no address", func(b []byte) []byte { b[3] = 0; return b[:8] }, false, DropCount},
		{"checksum", func(b []byte) []byte { return b }, true, DropChecksum},
		{"vrid", func(b []byte) []byte { b[1] = 52; return b }, false, DropVRID},
		{"vrid 0", func(b []byte) []byte { b[1] = 0; return b }, false, DropVRID},
	}
	families := []struct {
		name     string
		config   Config
		src, dst netip.Addr
	}{{"IPv4", v3(), higher, dst4}, {"IPv6", v3(overIPv6), higher6, dst6}}
	for _, family := range families {
		accepted(t, family.config, seal(message3(family.config.Addresses...), family.src, family.dst), family.src, family.dst)
		for _, tt := range tests {
			t.Run(tt.name+" over "+family.name, func(t *testing.T) {
				b := tt.change(message3(family.config.Addresses...))
				if !tt.spoil {
					seal(b, family.src, family.dst)
				} else if len(b) >= 8 {
					b = seal(b, family.src, family.dst)
					b[7] ^= 1
				}
				discards(t, family.config, b, family.src, family.dst, tt.want)
			})
		}
	}
	two := wire(t, v2(priority(200), func(c *Config) { c.Primary = higher }), 200, dst4)
	discards(t, v3(), two, higher, dst4, DropVersion)
}

// "A receiver SHOULD also verify that the Max Advertise Interval in the received VRRP
// packet matches the Advertisement_Interval configured for the VRID." It does not say
// that the packet is dropped, and section 6.4 has the interval taken over.
func TestRFC9568_7_1_IntervalDiffers(t *testing.T) {
	for _, d := range []time.Duration{UnitV3, 10 * time.Second, MaxIntervalV3} {
		b := message3(v3().Addresses...)
		binary.BigEndian.PutUint16(b[4:], uint16(d/UnitV3))
		accepted(t, v3(), seal(b, higher, dst4), higher, dst4)
	}
}

// "A receiver MAY also verify that "IPvX Addr Count" and the list of IPvX address(es)
// match the IPvX address(es) configured for the VRID. If this check fails, the
// receiver SHOULD log [...] the event": the packet counts all the same.
func TestRFC9568_7_1_AddressesDiffer(t *testing.T) {
	other, more := netip.MustParseAddr("198.51.100.7"), v3().Addresses[0]
	for _, list := range [][]netip.Addr{{other}, {more, other}, {other, more}} {
		accepted(t, v3(), seal(message3(list...), higher, dst4), higher, dst4)
	}
}

// Erratum 8298 replaces "and the local router is not the IPvX address owner" among the
// checks that a packet must pass: "It SHOULD verify that the local router is not the
// IPvX address owner (Priority = 255 (decimal)) and log the event". An owner judges
// what it hears as section 6.4.3 has any other master do, so that of two owners one
// remains.
func TestRFC9568_7_1_Owner(t *testing.T) {
	c := v3(owner)
	for _, tt := range []struct {
		src      netip.Addr
		priority uint8
		want     Output
	}{
		{higher, 254, nothing.advertising(255).dropping(DropOwner)},
		{lower, 255, nothing.advertising(255).dropping(DropOwner)},
		{higher, 0, nothing.advertising(255)},
		{higher, 255, transition(StateMaster, StateBackup, ReasonTie)},
	} {
		t.Run(fmt.Sprintf("%d from %v", tt.priority, tt.src), func(t *testing.T) {
			r := New(c)
			r.Step(t0, Start{})
			b := message3(c.Addresses...)
			b[2] = tt.priority
			if diff := cmp.Diff(tt.want, deliver(r, t0.Add(1), seal(b, tt.src, dst4), tt.src, dst4)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// "The following operations MUST be performed when transmitting a VRRP packet: Fill in
// the VRRP packet fields with the appropriate Virtual Router configuration state.
// Compute the VRRP checksum."
func TestRFC9568_7_2_Fields(t *testing.T) {
	for _, tt := range []struct {
		config Config
		dst    netip.Addr
	}{
		{v3(priority(200)), dst4},
		{v3(priority(200), overIPv6), dst6},
	} {
		want := seal(message3(tt.config.Addresses...), tt.config.Primary, tt.dst)
		if diff := cmp.Diff(want, wire(t, tt.config, 200, tt.dst)); diff != "" {
			t.Errorf("to %v (-want +got)\n%s", tt.dst, diff)
		}
	}
}

// Erratum 8300: "If the received packet is an IPv6 packet, then: It MUST verify that
// the first address in the IPvX Address(es) field is an IPv6 link-local address."
// This router hears it all the same: one that does not becomes a second master.
func TestRFC9568_7_1_FirstAddress(t *testing.T) {
	global := netip.MustParseAddr("fd00::200")
	for _, list := range [][]netip.Addr{{vip6, global}, {global, vip6}, {global}} {
		accepted(t, v3(overIPv6), seal(message3(list...), higher6, dst6), higher6, dst6)
	}
}
