package speaker

import (
	"math/rand/v2"
	"testing"

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
		vm, vm6 := machine(t, inet, ids), machine(t, inet6, ids)
		for v := range 256 {
			n, err := vm6.Run([]byte{0x31, byte(v), 100, 1, 0, 100, 0, 0})
			if err != nil {
				t.Fatal(err)
			}
			if kept := n >= 8; kept != ids.has(uint8(v)) || n > 0 && !kept {
				t.Fatalf("VRID %d in IPv6: kept %d bytes, in the set %v", v, n, ids.has(uint8(v)))
			}
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
		if n, err := vm6.Run([]byte{0x31}); err != nil || n != 0 {
			t.Errorf("an IPv6 packet without a VRID: %d, %v", n, err)
		}
	}
}

func machine(t *testing.T, f family, ids vrids) *bpf.VM {
	t.Helper()
	if _, err := bpf.Assemble(filter(f, ids)); err != nil {
		t.Fatal(err)
	}
	vm, err := bpf.NewVM(filter(f, ids))
	if err != nil {
		t.Fatal(err)
	}
	return vm
}
