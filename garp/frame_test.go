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
	got, err := Frames(hw, netip.MustParseAddr("192.168.100.200"))
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
	mapped, err := Frames(hw, netip.MustParseAddr("::ffff:192.168.100.200"))
	if err != nil || !cmp.Equal(mapped, got) {
		t.Errorf("Frames of the mapped address = %x, %v, want the same frames", mapped, err)
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
		{"IPv6", hw, netip.MustParseAddr("2001:db8::1"), ErrIPv6},
		{"no address", hw, netip.Addr{}, errInvalid},
		{"no hardware address", nil, v4, nil},
		{"short hardware address", hw[:5], v4, nil},
		{"InfiniBand", make(net.HardwareAddr, 20), v4, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Frames(test.hw, test.address)
			if got != nil || err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("Frames = %x, %v, want the error %v", got, err, test.want)
			}
		})
	}
}

func TestFramesNeverPanics(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hw := net.HardwareAddr(rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "hw"))
		address, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), 0, 16).Draw(t, "address"))
		frames, err := Frames(hw, address)
		if (err == nil) != (len(hw) == 6 && address.Unmap().Is4()) || err == nil && len(frames) != 2 {
			t.Fatalf("Frames(%v, %v) = %d frames, %v", hw, address, len(frames), err)
		}
	})
}
