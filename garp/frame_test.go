package garp

import (
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestFrames(t *testing.T) {
	hw := net.HardwareAddr{0x02, 0x00, 0x5e, 0x10, 0x00, 0x0a}
	got, err := Frames(hw, netip.MustParseAddr("192.168.100.200"), true)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		// destination, source, ARP | Ethernet, IPv4, 6, 4 | operation |
		// sender | target; padded to the shortest frame
		"ffffffffffff" + "02005e10000a" + "0806" + "0001" + "0800" + "06" + "04" + "0001" +
			"02005e10000a" + "c0a864c8" + "000000000000" + "c0a864c8" + "000000000000000000000000000000000000",
		"ffffffffffff" + "02005e10000a" + "0806" + "0001" + "0800" + "06" + "04" + "0002" +
			"02005e10000a" + "c0a864c8" + "02005e10000a" + "c0a864c8" + "000000000000000000000000000000000000",
	}
	var hexed []string
	for _, f := range got {
		hexed = append(hexed, hex.EncodeToString(f))
	}
	if diff := cmp.Diff(want, hexed); diff != "" {
		t.Errorf("Frames (-want +got):\n%s", diff)
	}
	mapped, err := Frames(hw, netip.MustParseAddr("::ffff:192.168.100.200"), false)
	if err != nil || !cmp.Equal(mapped, got) {
		t.Errorf("Frames of the mapped address = %x, %v, want the same frames", mapped, err)
	}
}

func TestFramesIPv6(t *testing.T) {
	const (
		// destination, source, IPv6 | version, class and label, length, ICMPv6,
		// hop limit | source | ff02::1
		head = "333300000001" + "02005e10000a" + "86dd" + "60000000" + "0020" + "3a" + "ff" +
			"fd000000000000000000000000000200" + "ff020000000000000000000000000001"
		// target, target link-layer address option
		tail = "fd000000000000000000000000000200" + "0201" + "02005e10000a"
	)
	tests := []struct {
		name    string
		address string
		router  bool
		want    string
	}{
		// type, code, checksum, R S O and reserved
		{"host", "fd00::200", false, head + "8800" + "f883" + "20000000" + tail},
		{"router", "fd00::200", true, head + "8800" + "7883" + "a0000000" + tail},
		{"zone", "fd00::200%eth0", false, head + "8800" + "f883" + "20000000" + tail},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Frames(net.HardwareAddr{0x02, 0x00, 0x5e, 0x10, 0x00, 0x0a}, netip.MustParseAddr(test.address), test.router)
			if err != nil || len(got) != 1 {
				t.Fatalf("Frames = %d frames, %v, want one", len(got), err)
			}
			if diff := cmp.Diff(test.want, hex.EncodeToString(got[0])); diff != "" {
				t.Errorf("Frames (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProbe(t *testing.T) {
	tests := []struct {
		address string
		want    string
	}{
		{"192.168.100.200", "ffffffffffff" + "02005e10000a" + "0806" + "0001" + "0800" + "06" + "04" + "0001" +
			"02005e10000a" + "00000000" + "000000000000" + "c0a864c8" + "000000000000000000000000000000000000"},
		// as above, but to the group of those whose address ends like this one
		// and without an option (RFC 4861 section 4.3)
		{"fd00::12:3456", "3333ff123456" + "02005e10000a" + "86dd" + "60000000" + "0018" + "3a" + "ff" +
			"00000000000000000000000000000000" + "ff0200000000000000000001ff123456" +
			"8700" + "14d7" + "00000000" + "fd000000000000000000000000123456"},
	}
	for _, test := range tests {
		t.Run(test.address, func(t *testing.T) {
			got, err := Probe(net.HardwareAddr{0x02, 0x00, 0x5e, 0x10, 0x00, 0x0a}, netip.MustParseAddr(test.address))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, hex.EncodeToString(got)); diff != "" {
				t.Errorf("Probe (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFramesRefuses(t *testing.T) {
	hw := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	v4 := netip.MustParseAddr("192.0.2.1")
	tests := []struct {
		name    string
		hw      net.HardwareAddr
		address netip.Addr
		want    error // nil: any
	}{
		{"no address", hw, netip.Addr{}, errInvalid},
		{"unspecified", hw, netip.IPv4Unspecified(), errInvalid},
		{"unspecified IPv6", hw, netip.IPv6Unspecified(), errInvalid},
		{"group", hw, netip.MustParseAddr("224.0.0.18"), errInvalid},
		{"IPv6 group", hw, netip.MustParseAddr("ff02::12"), errInvalid},
		{"IPv6 without hardware address", nil, netip.MustParseAddr("fd00::200"), nil},
		{"no hardware address", nil, v4, nil},
		{"short hardware address", hw[:5], v4, nil},
		{"InfiniBand", make(net.HardwareAddr, 20), v4, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Frames(test.hw, test.address, false)
			if got != nil || err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("Frames = %x, %v, want the error %v", got, err, test.want)
			}
			probe, err := Probe(test.hw, test.address)
			if probe != nil || err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("Probe = %x, %v, want the error %v", probe, err, test.want)
			}
		})
	}
}

func TestFramesNeverPanics(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hw := net.HardwareAddr(rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "hw"))
		address, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), 0, 16).Draw(t, "address"))
		good := len(hw) == 6 && supported(address) == nil
		want := 1
		if address.Unmap().Is4() {
			want = 2
		}
		frames, err := Frames(hw, address, rapid.Bool().Draw(t, "router"))
		if (err == nil) != good || err == nil && len(frames) != want {
			t.Fatalf("Frames(%v, %v) = %d frames, %v", hw, address, len(frames), err)
		}
		if _, err := Probe(hw, address); (err == nil) != good {
			t.Fatalf("Probe(%v, %v): %v", hw, address, err)
		}
	})
}
