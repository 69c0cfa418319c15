package speaker

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseIPv4(t *testing.T) {
	plain := []byte{0x45, 0, 0, 24, 0, 0, 0, 0, 255, 112, 0, 0, 192, 0, 2, 1, 224, 0, 0, 18, 1, 2, 3, 4}
	change := func(f func(b []byte) []byte) []byte { return f(append([]byte(nil), plain...)) }
	want := packet{src: addr("192.0.2.1"), dst: group4, ttl: 255, message: []byte{1, 2, 3, 4}}
	tests := []struct {
		name string
		in   []byte
		want packet
	}{
		{"plain", plain, want},
		{"padding after the total length", append(plain[:24:24], 9, 9), want},
		{"options", change(func(b []byte) []byte { b[0] = 0x46; return b }), packet{src: want.src, dst: want.dst, ttl: 255, message: []byte{}}},
		{"empty", nil, packet{}},
		{"19 bytes", plain[:19], packet{}},
		{"version 6", change(func(b []byte) []byte { b[0] = 0x65; return b }), packet{}},
		{"header of 16 bytes", change(func(b []byte) []byte { b[0] = 0x44; return b }), packet{}},
		{"header past the end", change(func(b []byte) []byte { b[0] = 0x4f; return b }), packet{}},
		{"total length past the end", change(func(b []byte) []byte { b[3] = 25; return b }), packet{}},
		{"total length within the header", change(func(b []byte) []byte { b[3] = 19; return b }), packet{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := parseIPv4(tt.in)
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(packet{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func FuzzParseIPv4(f *testing.F) {
	f.Add([]byte{0x45, 0, 0, 24, 0, 0, 0, 0, 255, 112, 0, 0, 192, 0, 2, 1, 224, 0, 0, 18, 1, 2, 3, 4})
	f.Add([]byte{0x4f, 0, 0, 60, 59: 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		p := parseIPv4(b)
		if len(p.message) > max(0, len(b)-minHeader) {
			t.Errorf("message of %d bytes out of %d", len(p.message), len(b))
		}
		if p.message != nil && (!p.src.Is4() || !p.dst.Is4()) {
			t.Errorf("from %v to %v", p.src, p.dst)
		}
	})
}

func TestAppendFrame(t *testing.T) {
	mac := [6]byte{0, 0, 0x5e, 0, 1, 51}
	mac6 := [6]byte{0, 0, 0x5e, 0, 2, 51}
	tests := []struct {
		name     string
		mac      [6]byte
		src, dst netip.Addr
		length   int
		want     string
	}{
		{"IPv4", mac, addr("192.0.2.1"), group4, 12, `
			01 00 5e 00 00 12  00 00 5e 00 01 33  08 00
			45 c0 00 20  00 00 40 00  ff 70 d8 99  c0 00 02 01  e0 00 00 12`},
		{"IPv6", mac6, addr("fe80::1"), group6, 24, `
			33 33 00 00 00 12  00 00 5e 00 02 33  86 dd
			6c 00 00 00  00 18 70 ff
			fe 80 00 00 00 00 00 00 00 00 00 00 00 00 00 01
			ff 02 00 00 00 00 00 00 00 00 00 00 00 00 00 12`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := appendFrame([]byte{1}, tt.mac, tt.src, tt.dst, tt.length)
			want, err := hex.DecodeString("01" + strings.Join(strings.Fields(tt.want), ""))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(hex.Dump(want), hex.Dump(got)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if len(got)-1 > frameHeader {
				t.Errorf("%d bytes", len(got)-1)
			}
			if !tt.src.Is4() {
				return
			}
			p := parseIPv4(append(got[15:], make([]byte, tt.length)...))
			if p.src != tt.src || p.dst != tt.dst || p.ttl != wantTTL || len(p.message) != tt.length {
				t.Errorf("parsed back as %+v", p)
			}
		})
	}
}
