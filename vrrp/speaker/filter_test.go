package speaker

import (
	"math/rand/v2"
	"net/netip"
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
	if _, err := bpf.Assemble(filter(f, admission{ids: ids})); err != nil {
		t.Fatal(err)
	}
	vm, err := bpf.NewVM(filter(f, admission{ids: ids}))
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

// TestFilterKeepsOurAddresses: an advertisement of another virtual router is kept if
// its first address is one of ours.
func TestFilterKeepsOurAddresses(t *testing.T) {
	var many, many6 []netip.Addr
	for i := range 255 {
		many = append(many, netip.AddrFrom4([4]byte{10, 0, byte(i), 1}))
		many6 = append(many6, netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 14: byte(i), 15: 1}))
	}
	var ids vrids
	ids.add(51)
	for _, f := range []family{inet, inet6} {
		own, foreign := many, netip.AddrFrom4([4]byte{10, 0, 0, 2})
		if f.ipv6 {
			own, foreign = many6, netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: 2})
		}
		program := filter(f, admission{ids: ids, first: own})
		if raw, err := bpf.Assemble(program); err != nil || len(raw) > 4096 { // BPF_MAXINSNS
			t.Fatalf("%d instructions, %v", len(raw), err)
		}
		vm, err := bpf.NewVM(program)
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			vrid  byte
			first netip.Addr
			want  bool
		}{{51, foreign, true}, {52, foreign, false}, {52, own[0], true}, {0, own[254], true}, {255, own[100], true}, {50, own[7], true}} {
			message := append([]byte{0x31, tt.vrid, 100, 1, 0, 100, 0, 0}, tt.first.AsSlice()...)
			if !f.ipv6 {
				message = append(make([]byte, minHeader), message...)
				message[0] = 0x45
			}
			if n, err := vm.Run(message); err != nil || n > 0 != tt.want {
				t.Errorf("VRID %d with %v: %d, %v, want it kept: %t", tt.vrid, tt.first, n, err, tt.want)
			}
		}
	}
}
