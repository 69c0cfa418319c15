package speaker

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/bpf"
)

func TestFilterKeepsExactlyOurs(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	sets := []vrids{{}, {1: 1}}
	for range 20 {
		var s vrids
		for range 1 + rnd.IntN(255) {
			s.add(uint8(rnd.IntN(256)))
		}
		sets = append(sets, s)
	}
	var all vrids
	for v := range 256 {
		all.add(uint8(v))
	}
	sets = append(sets, all)
	for _, ids := range sets {
		if _, err := bpf.Assemble(filter(ids)); err != nil {
			t.Fatal(err)
		}
		vm, err := bpf.NewVM(filter(ids))
		if err != nil {
			t.Fatal(err)
		}
		for v := range 256 {
			for _, options := range []int{0, 4, 40} {
				p := make([]byte, minHeader+options+8)
				p[0] = 0x40 | byte(minHeader+options)/4
				p[minHeader+options+1] = byte(v)
				n, err := vm.Run(p)
				if err != nil {
					t.Fatal(err)
				}
				if kept := n > 0; kept != ids.has(uint8(v)) {
					t.Fatalf("VRID %d with %d bytes of options: kept %v, in the set %v", v, options, kept, ids.has(uint8(v)))
				}
				if n > 0 && n < len(p) {
					t.Fatalf("cut to %d bytes", n)
				}
			}
		}
		if n, err := vm.Run([]byte{0x45, 0, 0, 21, 20: 0x31}); err != nil || n != 0 {
			t.Errorf("a packet without a VRID: %d, %v", n, err)
		}
	}
}

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
