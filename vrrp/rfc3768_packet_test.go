package vrrp

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The tests of this file are about the sentences of RFC 3768 on packets: sections
// 5.3, 7.1 and 7.2.

// message2 is a message of version 2, VRID 51, priority 200 and 1s, with zeros for
// authentication data, by hand.
func message2(addresses ...netip.Addr) []byte {
	b := []byte{0x21, 51, 200, byte(len(addresses)), 0, 1, 0, 0}
	for _, a := range addresses {
		b = append(b, a.AsSlice()...)
	}
	return append(b, make([]byte, 8)...)
}

// heard2 is message2 after a change, with its checksum.
func heard2(change func(b []byte) []byte) []byte {
	return seal(change(message2(v2().Addresses...)), higher, dst4)
}

func password(s string) func(*Config) { return func(c *Config) { c.Password = s } }

// "This document defines version 2."
func TestRFC3768_5_3_1_Version(t *testing.T) {
	if b := wire(t, v2(), 100, dst4); b[0]>>4 != 2 {
		t.Errorf("version %d", b[0]>>4)
	}
}

// "The only packet type defined in this version of the protocol is: 1 ADVERTISEMENT. A
// packet with unknown type MUST be discarded."
func TestRFC3768_5_3_2_Type(t *testing.T) {
	if b := wire(t, v2(), 100, dst4); b[0]&0x0f != 1 {
		t.Errorf("type %d", b[0]&0x0f)
	}
	for kind := range byte(16) {
		b := heard2(func(b []byte) []byte { b[0] = 0x20 | kind; return b })
		if kind == 1 {
			accepted(t, v2(), b, higher, dst4)
		} else {
			discards(t, v2(), b, higher, dst4, DropType)
		}
	}
}

// "The priority value for the VRRP router that owns the IP address(es) associated with
// the virtual router MUST be 255 (decimal). VRRP routers backing up a virtual router
// MUST use priority values between 1-254 (decimal). [...] The priority value zero (0)
// has special meaning indicating that the current Master has stopped participating in
// VRRP."
func TestRFC3768_5_3_4_Priority(t *testing.T) {
	for _, p := range []uint8{1, 100, 254, 255} {
		c := v2(priority(p))
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

// "The number of IP addresses contained in this VRRP advertisement", of which section
// 5.3.9 has "One or more".
func TestRFC3768_5_3_5_Count(t *testing.T) {
	discards(t, v2(), seal(message2(), higher, dst4), higher, dst4, DropCount)
	many := make([]netip.Addr, 255)
	for i := range many {
		many[i] = netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
	}
	for _, n := range []int{1, 2, 255} {
		accepted(t, v2(), seal(message2(many[:n]...), higher, dst4), higher, dst4)
		b := wire(t, v2(func(c *Config) { c.Addresses = many[:n] }), 100, dst4)
		if int(b[3]) != n || len(b) != 8+4*n+8 {
			t.Errorf("%d addresses: count %d in %d bytes", n, b[3], len(b))
		}
	}
}

// "A packet with unknown authentication type or that does not match the locally
// configured authentication method MUST be discarded."
func TestRFC3768_5_3_6_AuthType(t *testing.T) {
	secret := v2(password("secret"))
	for kind := range 256 {
		b := heard2(func(b []byte) []byte { b[4] = byte(kind); return b })
		if kind == AuthNone {
			accepted(t, v2(), b, higher, dst4)
		} else {
			discards(t, v2(), b, higher, dst4, DropAuthType)
		}
		b = heard2(func(b []byte) []byte { b[4] = byte(kind); copy(b[len(b)-8:], "secret"); return b })
		if kind == AuthSimple {
			accepted(t, secret, b, higher, dst4)
		} else {
			discards(t, secret, b, higher, dst4, DropAuthType)
		}
	}
}

// "The Advertisement interval indicates the time interval (in seconds) between
// ADVERTISEMENTS."
func TestRFC3768_5_3_7_Interval(t *testing.T) {
	for seconds := 1; seconds <= 255; seconds++ {
		d := time.Duration(seconds) * time.Second
		b := wire(t, v2(interval(d)), 100, dst4)
		if b[5] != byte(seconds) {
			t.Fatalf("%v: sent as %d", d, b[5])
		}
		if a, _ := Parse(b, own, dst4); a.Interval != d {
			t.Fatalf("%d: received as %v", seconds, a.Interval)
		}
	}
}

// "The checksum is the 16-bit one's complement of the one's complement sum of the
// entire VRRP message starting with the version field." There is no pseudo header,
// and the authentication data are a part of the message.
func TestRFC3768_5_3_8_Checksum(t *testing.T) {
	for _, c := range []Config{v2(), v2(password("secret"))} {
		b := wire(t, c, 100, dst4)
		got := binary.BigEndian.Uint16(b[6:])
		b[6], b[7] = 0, 0
		if want := sum1071(b); got != want {
			t.Errorf("sent %#04x, want %#04x", got, want)
		}
	}
	b := message2(v2().Addresses...)
	binary.BigEndian.PutUint16(b[6:], sum1071(pseudo4(higher, dst4, len(b)), b))
	discards(t, v2(), b, higher, dst4, DropChecksum)
}

// "It SHOULD be set to zero on transmission and ignored on reception." (sections 5.3.10
// and 5.3.6.1) With a password it holds that, as RFC 2338 has it: up to eight bytes,
// and zeros after them.
func TestRFC3768_5_3_10_AuthenticationData(t *testing.T) {
	for _, s := range []string{"", "x", "secret", "12345678"} {
		b := wire(t, v2(password(s)), 100, dst4)
		var want [8]byte
		copy(want[:], s)
		if got := [8]byte(b[len(b)-8:]); got != want {
			t.Errorf("%q: sent % x", s, got)
		}
	}
	for _, data := range []string{"\x00\x00\x00\x01", "secret", "\xff\xff\xff\xff\xff\xff\xff\xff"} {
		accepted(t, v2(), heard2(func(b []byte) []byte { copy(b[len(b)-8:], data); return b }), higher, dst4)
	}
}

// "MUST verify the VRRP version is 2. MUST verify that the received packet contains
// the complete VRRP packet (including fixed fields, IP Address(es), and Authentication
// Data). MUST verify the VRRP checksum. MUST verify that the VRID is configured on the
// receiving interface [...]. MUST verify that the Auth Type matches the locally
// configured authentication method for the virtual router and perform that
// authentication method. If any one of the above checks fails, the receiver MUST
// discard the packet". The TTL is checked where the packet is read.
func TestRFC3768_7_1_Discard(t *testing.T) {
	secret := v2(password("secret"))
	auth := func(kind byte, data string) func(b []byte) []byte {
		return func(b []byte) []byte { b[4] = kind; copy(b[len(b)-8:], data); return b }
	}
	tests := []struct {
		name   string
		config Config
		change func(b []byte) []byte
		want   Drop
	}{
		{"version 1", v2(), func(b []byte) []byte { b[0] = 0x11; return b }, DropVersion},
		{"address missing", v2(), func(b []byte) []byte { b[3] = 2; return b }, DropCount},
		{"authentication data missing", v2(), func(b []byte) []byte { return b[:len(b)-8] }, DropCount},
		{"authentication data cut", v2(), func(b []byte) []byte { return b[:len(b)-2] }, DropCount},
		{"vrid", v2(), func(b []byte) []byte { b[1] = 52; return b }, DropVRID},
		{"vrid 0", v2(), func(b []byte) []byte { b[1] = 0; return b }, DropVRID},
		{"authentication that is not wanted", v2(), auth(AuthSimple, "secret"), DropAuthType},
		{"authentication header", v2(), auth(2, ""), DropAuthType},
		{"no authentication", secret, auth(AuthNone, ""), DropAuthType},
		{"another password", secret, auth(AuthSimple, "Secret"), DropPassword},
		{"a longer password", secret, auth(AuthSimple, "secrets"), DropPassword},
		{"no password", secret, auth(AuthSimple, ""), DropPassword},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			discards(t, tt.config, heard2(tt.change), higher, dst4, tt.want)
		})
	}
	accepted(t, v2(), heard2(func(b []byte) []byte { return b }), higher, dst4)
	accepted(t, secret, heard2(auth(AuthSimple, "secret")), higher, dst4)

	short := message2(v2().Addresses...)[:7]
	discards(t, v2(), short, higher, dst4, DropShort)
	wrong := heard2(func(b []byte) []byte { return b })
	wrong[7] ^= 1
	discards(t, v2(), wrong, higher, dst4, DropChecksum)
	discards(t, v2(), seal(message3(v2().Addresses...), higher, dst4), higher, dst4, DropVersion)
}

// "MAY verify that "Count IP Addrs" and the list of IP Address matches the
// IP_Addresses configured for the VRID": not a reason to drop.
func TestRFC3768_7_1_AddressesDiffer(t *testing.T) {
	other := netip.MustParseAddr("198.51.100.7")
	for _, list := range [][]netip.Addr{{other}, {vip4, other}} {
		accepted(t, v2(), seal(message2(list...), higher, dst4), higher, dst4)
	}
}

// "MUST verify that [...] the local router is not the IP Address owner (Priority equals
// 255 (decimal))". An owner that hears another one gives way by its address, as
// erratum 8298 has it for version 3; to anybody else it answers.
func TestRFC3768_7_1_Owner(t *testing.T) {
	for _, tt := range []struct {
		src      netip.Addr
		priority byte
		want     Output
	}{
		{higher, 254, nothing.advertising(255).dropping(DropOwner)},
		{lower, 255, nothing.advertising(255).dropping(DropOwner)},
		{higher, 0, nothing.advertising(255)},
		{higher, 255, transition(StateMaster, StateBackup, ReasonTie)},
	} {
		r := New(v2(owner))
		r.Step(t0, Start{})
		b := heard2(func(b []byte) []byte { b[2] = tt.priority; return b })
		if diff := cmp.Diff(tt.want, deliver(r, t0.Add(1), b, tt.src, dst4)); diff != "" {
			t.Errorf("%d from %v (-want +got)\n%s", tt.priority, tt.src, diff)
		}
	}
}

// "The following operations MUST be performed when transmitting a VRRP packet. Fill in
// the VRRP packet fields with the appropriate virtual router configuration state.
// Compute the VRRP checksum."
func TestRFC3768_7_2_Fields(t *testing.T) {
	c := v2(priority(200))
	if diff := cmp.Diff(seal(message2(c.Addresses...), own, dst4), wire(t, c, 200, dst4)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
