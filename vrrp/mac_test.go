package vrrp

import "testing"

func TestVirtualMAC(t *testing.T) {
	tests := []struct {
		name string
		vrid uint8
		ipv6 bool
		want [6]byte
	}{
		{"IPv4", 51, false, [6]byte{0, 0, 0x5e, 0, 1, 0x33}},
		{"IPv6", 51, true, [6]byte{0, 0, 0x5e, 0, 2, 0x33}},
		{"below 16", 1, false, [6]byte{0, 0, 0x5e, 0, 1, 1}},
		{"the last", 255, true, [6]byte{0, 0, 0x5e, 0, 2, 0xff}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := VirtualMAC(test.vrid, test.ipv6); got != test.want {
				t.Errorf("VirtualMAC(%d, %v) = %x, want %x", test.vrid, test.ipv6, got, test.want)
			}
		})
	}
}
