package vrrp

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

var (
	src4, dst4 = netip.MustParseAddr("192.168.100.10"), netip.MustParseAddr("224.0.0.18")
	src6, dst6 = netip.MustParseAddr("fe80::1"), netip.MustParseAddr("ff02::12")
	vip4       = netip.MustParseAddr("192.168.100.200")
	equalAddrs = cmpopts.EquateComparable(netip.Addr{})
)

// vectors are messages with checksums computed by hand: the 16-bit words of the
// pseudo header (version 3) and the message, added up, carried and inverted.
var vectors = []struct {
	name     string
	src, dst netip.Addr
	hex      string
	want     Advertisement
}{
	{
		// c0a8+640a+e000+0012+0070+000c + 3133+6401+0064+c0a8+64c8 = 3c048
		"v3", src4, dst4,
		"31 33 64 01 0064 3fb4 c0a864c8",
		Advertisement{Version: V3, VRID: 51, Priority: 100, Interval: time.Second, Addresses: []netip.Addr{vip4}},
	},
	{
		"v3 farewell", src4, dst4,
		"31 33 00 01 0064 a3b4 c0a864c8",
		Advertisement{Version: V3, VRID: 51, Priority: 0, Interval: time.Second, Addresses: []netip.Addr{vip4}},
	},
	{
		"v3 shortest interval, two addresses", netip.MustParseAddr("10.0.0.1"), dst4,
		"31 ff fe 02 0001 d09f 0a000064 0a000065",
		Advertisement{
			Version: V3, VRID: 255, Priority: 254, Interval: 10 * time.Millisecond,
			Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.100"), netip.MustParseAddr("10.0.0.101")},
		},
	},
	{
		"v3 over IPv6", src6, dst6,
		"31 33 64 02 0064 6cb5 fe800000000000000000000000000200 fd000000000000000000000000000200",
		Advertisement{
			Version: V3, VRID: 51, Priority: 100, Interval: time.Second,
			Addresses: []netip.Addr{netip.MustParseAddr("fe80::200"), netip.MustParseAddr("fd00::200")},
		},
	},
	{
		// 2133+6401+0001+c0a8+64c8 = 1aaa5, and eight zero bytes
		"v2", src4, dst4,
		"21 33 64 01 00 01 5559 c0a864c8 00000000 00000000",
		Advertisement{Version: V2, VRID: 51, Priority: 100, Interval: time.Second, Addresses: []netip.Addr{vip4}},
	},
	{
		// 2133+6401+0101+c0a8+64c8+7365+6372+6574 = 2e7f0
		"v2 password", src4, dst4,
		"21 33 64 01 01 01 180d c0a864c8 736563726574 0000",
		Advertisement{
			Version: V2, VRID: 51, Priority: 100, Interval: time.Second, AuthType: AuthSimple, Password: "secret",
			Addresses: []netip.Addr{vip4},
		},
	},
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectors(t *testing.T) {
	for _, tt := range vectors {
		t.Run(tt.name, func(t *testing.T) {
			wire := unhex(t, tt.hex)
			got, drop := Parse(wire, tt.src, tt.dst)
			if diff := cmp.Diff(tt.want, got, equalAddrs); diff != "" || drop != DropNone {
				t.Errorf("parse: drop %v (-want +got)\n%s", drop, diff)
			}
			b, err := tt.want.Append([]byte("before"), tt.src, tt.dst)
			if diff := cmp.Diff(append([]byte("before"), wire...), b); diff != "" || err != nil {
				t.Errorf("append: %v (-want +got)\n%s", err, diff)
			}
		})
	}
}

// TestBitFlips damages each bit of each vector, of its addresses in version 3.
func TestBitFlips(t *testing.T) {
	for _, tt := range vectors {
		t.Run(tt.name, func(t *testing.T) {
			wire := unhex(t, tt.hex)
			for i := range 8 * len(wire) {
				bad := slices.Clone(wire)
				bad[i/8] ^= 0x80 >> (i % 8)
				if a, drop := Parse(bad, tt.src, tt.dst); drop == DropNone {
					t.Errorf("bit %d: parsed as %+v", i, a)
				}
			}
			for i := range tt.src.BitLen() {
				b := tt.src.AsSlice()
				b[i/8] ^= 0x80 >> (i % 8)
				src, _ := netip.AddrFromSlice(b)
				want := DropChecksum
				if tt.want.Version == V2 {
					want = DropNone
				}
				if _, drop := Parse(wire, src, tt.dst); drop != want && !src.Is4In6() {
					t.Errorf("bit %d of the source: %v, want %v", i, drop, want)
				}
			}
		})
	}
}

func TestParseDrops(t *testing.T) {
	v3, v2 := vectors[0].hex, vectors[4].hex
	mapped := netip.AddrFrom16(src4.As16())
	tests := []struct {
		name     string
		hex      string
		src, dst netip.Addr
		want     Drop
	}{
		{"empty", "", src4, dst4, DropShort},
		{"header cut", v3[:len("31 33 64 01 0064 3f")], src4, dst4, DropShort},
		{"version 1", "11 33 64 01 0064 3fb4 c0a864c8", src4, dst4, DropVersion},
		{"version 4", "41 33 64 01 0064 3fb4 c0a864c8", src4, dst4, DropVersion},
		{"type 2", "32 33 64 01 0064 3fb4 c0a864c8", src4, dst4, DropType},
		{"no address", "31 33 64 00 0064 3fb4", src4, dst4, DropCount},
		{"address cut", "31 33 64 01 0064 3fb4 c0a864", src4, dst4, DropCount},
		{"address missing", "31 33 64 02 0064 3fb4 c0a864c8", src4, dst4, DropCount},
		{"one byte more", v3 + "00", src4, dst4, DropCount},
		{"255 addresses claimed", "31 33 64 ff 0064 3fb4 c0a864c8", src4, dst4, DropCount},
		{"v2 without authentication data", "21 33 64 01 00 01 5559 c0a864c8", src4, dst4, DropCount},
		{"v3 from another source", v3, vip4, dst4, DropChecksum},
		{"v2 with pseudo header", "21 33 64 01 00 01 5010 c0a864c8 00000000 00000000", src4, dst4, DropChecksum},
		{"vrid 0", "31 00 64 01 0064 3fe7 c0a864c8", src4, dst4, DropVRID},
		{"interval 0", "31 33 64 01 0000 4018 c0a864c8", src4, dst4, DropInterval},
		{"v2 interval 0", "21 33 64 01 00 00 555a c0a864c8 00000000 00000000", src4, dst4, DropInterval},
		{"authentication header", "21 33 64 01 02 01 5359 c0a864c8 00000000 00000000", src4, dst4, DropAuthType},
		{"authentication type 255", "21 33 64 01 ff 01 5658 c0a864c8 00000000 00000000", src4, dst4, DropAuthType},
		{"mixed families", v3, src4, dst6, DropFamily},
		{"v2 over IPv6", v2, src6, dst6, DropFamily},
		{"mapped source", v3, mapped, dst4, DropFamily},
		{"zone", v3, src6.WithZone("eth0"), dst6, DropFamily},
		{"no source", v3, netip.Addr{}, netip.Addr{}, DropFamily},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, drop := Parse(unhex(t, tt.hex), tt.src, tt.dst)
			if drop != tt.want {
				t.Errorf("got %v, want %v", drop, tt.want)
			}
			if diff := cmp.Diff(Advertisement{}, got, equalAddrs); diff != "" {
				t.Errorf("something of it is left (-want +got)\n%s", diff)
			}
		})
	}
}

func TestAppendErrors(t *testing.T) {
	good := func(version Version) Advertisement {
		return Advertisement{Version: version, VRID: 1, Priority: 1, Interval: time.Second, Addresses: []netip.Addr{vip4}}
	}
	tests := []struct {
		name     string
		version  Version
		change   func(a *Advertisement)
		src, dst netip.Addr
		want     string
	}{
		{"version", 4, func(a *Advertisement) {}, src4, dst4, "version 4 is neither"},
		{"vrid", V3, func(a *Advertisement) { a.VRID = 0 }, src4, dst4, "vrid 0 is out of range"},
		{"no address", V3, func(a *Advertisement) { a.Addresses = nil }, src4, dst4, "0 addresses are out of range"},
		{"many addresses", V3, func(a *Advertisement) { a.Addresses = make([]netip.Addr, 256) }, src4, dst4, "256 addresses"},
		{"address family", V3, func(a *Advertisement) { a.Addresses = []netip.Addr{src6} }, src4, dst4, "not of the family"},
		{"invalid address", V3, func(a *Advertisement) { a.Addresses = []netip.Addr{{}} }, src4, dst4, "not of the family"},
		{"no source", V3, func(a *Advertisement) {}, netip.Addr{}, dst4, "cannot be sent from"},
		{"v2 over IPv6", V2, func(a *Advertisement) {}, src6, dst6, "cannot be sent from"},
		{"interval 0", V3, func(a *Advertisement) { a.Interval = 0 }, src4, dst4, "interval 0s"},
		{"interval too long", V3, func(a *Advertisement) { a.Interval = 40960 * time.Millisecond }, src4, dst4, "up to 40.95s"},
		{"interval too fine", V3, func(a *Advertisement) { a.Interval = 15 * time.Millisecond }, src4, dst4, "multiple of 10ms"},
		{"v2 interval", V2, func(a *Advertisement) { a.Interval = 1500 * time.Millisecond }, src4, dst4, "multiple of 1s"},
		{"v2 interval too long", V2, func(a *Advertisement) { a.Interval = 256 * time.Second }, src4, dst4, "up to 4m15s"},
		{"v3 authentication", V3, func(a *Advertisement) { a.AuthType = AuthSimple }, src4, dst4, "no authentication"},
		{"plain version 2", V2, func(a *Advertisement) { a.Plain = true }, src4, dst4, "only version 3 over IPv4"},
		{"v2 authentication header", V2, func(a *Advertisement) { a.AuthType = 2 }, src4, dst4, "type 2"},
		{"v2 lost password", V2, func(a *Advertisement) { a.Password = "x" }, src4, dst4, "has no password"},
		{"v2 long password", V2, func(a *Advertisement) { a.AuthType, a.Password = AuthSimple, "123456789" }, src4, dst4, "9 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := good(tt.version)
			tt.change(&a)
			b, err := a.Append([]byte("before"), tt.src, tt.dst)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if string(b) != "before" {
				t.Errorf("left %q", b)
			}
		})
	}
}

// advertisement draws one that the wire can carry, and its source and destination.
func advertisement(t *rapid.T) (a Advertisement, src, dst netip.Addr) {
	addr := func(name string) netip.Addr { return netip.AddrFrom4([4]byte(drawBytes(t, name, 4, 4))) }
	a.Version = rapid.SampledFrom([]Version{V2, V3}).Draw(t, "version")
	if a.Version == V3 && rapid.Bool().Draw(t, "IPv6") {
		addr = func(name string) netip.Addr {
			b := drawBytes(t, name, 16, 16)
			b[0] |= 0x20 // not an IPv4 address in disguise
			return netip.AddrFrom16([16]byte(b))
		}
	}
	a.VRID = rapid.Uint8Min(1).Draw(t, "vrid")
	a.Priority = rapid.Uint8().Draw(t, "priority")
	if a.Version == V3 {
		a.Interval = UnitV3 * time.Duration(rapid.IntRange(1, 4095).Draw(t, "centiseconds"))
		a.Plain = addr("family").Is4() && rapid.Bool().Draw(t, "plain")
	} else {
		a.Interval = UnitV2 * time.Duration(rapid.IntRange(1, 255).Draw(t, "seconds"))
		if a.AuthType = rapid.Uint8Max(1).Draw(t, "auth"); a.AuthType == AuthSimple {
			a.Password = strings.TrimRight(string(drawBytes(t, "password", 0, 8)), "\x00")
		}
	}
	for range rapid.IntRange(1, 255).Draw(t, "count") {
		a.Addresses = append(a.Addresses, addr("address"))
	}
	return a, addr("source"), addr("destination")
}

func drawBytes(t *rapid.T, name string, minLen, maxLen int) []byte {
	return rapid.SliceOfN(rapid.Byte(), minLen, maxLen).Draw(t, name)
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want, src, dst := advertisement(t)
		b, err := want.Append(nil, src, dst)
		if err != nil {
			t.Fatal(err)
		}
		if checksum(true, b, src, dst) == 0xffff {
			want.Plain = false // by chance it is right either way
		}
		got, drop := Parse(b, src, dst)
		if diff := cmp.Diff(want, got, equalAddrs); diff != "" || drop != DropNone {
			t.Fatalf("drop %v (-want +got)\n%s", drop, diff)
		}
		bit := rapid.IntRange(0, 8*len(b)-1).Draw(t, "bit")
		b[bit/8] ^= 0x80 >> (bit % 8)
		// By chance it may be right for the other kind of checksum.
		if got, drop := Parse(b, src, dst); drop == DropNone && got.Plain == want.Plain {
			t.Fatalf("bit %d is damaged and nobody sees it", bit)
		}
	})
}

// FuzzParse parses what it likes; what parses is encoded and parsed again.
func FuzzParse(f *testing.F) {
	for _, v := range vectors {
		f.Add(unhex(f, v.hex), v.src.AsSlice(), v.dst.AsSlice(), false)
	}
	f.Add(make([]byte, headerLen), src4.AsSlice(), dst4.AsSlice(), true)
	f.Fuzz(func(t *testing.T, b, srcBytes, dstBytes []byte, repair bool) {
		src, _ := netip.AddrFromSlice(srcBytes)
		dst, _ := netip.AddrFromSlice(dstBytes)
		if repair && len(b) >= headerLen && sameFamily(src, dst) {
			// A right checksum by chance is rare.
			b[checksumOffset], b[checksumOffset+1] = 0, 0
			sum := ^checksum(Version(b[0]>>4) == V3, b, src, dst)
			b[checksumOffset], b[checksumOffset+1] = byte(sum>>8), byte(sum)
		}
		a, drop := Parse(b, src, dst)
		if drop != DropNone {
			if diff := cmp.Diff(Advertisement{}, a, equalAddrs); diff != "" {
				t.Errorf("%v, and something of it is left (-want +got)\n%s", drop, diff)
			}
			return
		}
		wire, err := a.Append(nil, src, dst)
		if err != nil {
			t.Fatalf("what was parsed cannot be encoded: %v", err)
		}
		again, drop := Parse(wire, src, dst)
		if diff := cmp.Diff(a, again, equalAddrs); diff != "" || drop != DropNone {
			t.Errorf("parsed again: %v (-want +got)\n%s", drop, diff)
		}
	})
}
