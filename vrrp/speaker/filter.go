package speaker

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/net/bpf"
)

// filter returns a socket filter that keeps the packets of the virtual routers in
// a.ids, also what is wrong with them, so that it is counted; and those of others
// that advertise one of a.first before any other address. A raw IPv4 socket shows it
// the whole packet, a raw IPv6 socket what follows the headers.
func filter(f family, a admission) []bpf.Instruction {
	const (
		vrid = 0 // scratch: the VRID
		bit  = 1 // scratch: its bit within its word
		word = 2 // scratch: the number of that word
	)
	load := func(offset uint32, size int) bpf.Instruction {
		if f.ipv6 {
			return bpf.LoadAbsolute{Off: offset, Size: size}
		}
		return bpf.LoadIndirect{Off: offset, Size: size}
	}
	var program []bpf.Instruction
	if !f.ipv6 {
		program = append(program, bpf.LoadMemShift{Off: 0}) // X = length of the IPv4 header
	}
	program = append(program,
		load(1, 1), // A = VRID; a packet without one is dropped
		bpf.StoreScratch{Src: bpf.RegA, N: vrid},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 31},
		bpf.TAX{}, // X = VRID % 32
		bpf.LoadConstant{Dst: bpf.RegA, Val: 1},
		bpf.ALUOpX{Op: bpf.ALUOpShiftLeft},
		bpf.StoreScratch{Src: bpf.RegA, N: bit},
		bpf.LoadScratch{Dst: bpf.RegA, N: vrid},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 5}, // A = VRID / 32
		bpf.StoreScratch{Src: bpf.RegA, N: word},
	)
	for i, set := range a.ids {
		program = append(program,
			bpf.LoadScratch{Dst: bpf.RegA, N: word},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(i), SkipTrue: 3},
			bpf.LoadScratch{Dst: bpf.RegA, N: bit},
			bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: set, SkipFalse: 1},
			bpf.RetConstant{Val: uint32(f.snap)},
		)
	}
	if !f.ipv6 {
		program = append(program, bpf.LoadMemShift{Off: 0})
	}
	for _, addr := range a.first {
		program = append(program, f.matches(load, addr)...)
	}
	return append(program, bpf.RetConstant{Val: 0})
}

// matches keeps a packet whose first address is addr. In both versions it follows the
// fixed part of the message.
func (f family) matches(load func(offset uint32, size int) bpf.Instruction, addr netip.Addr) []bpf.Instruction {
	const at = 8
	b := addr.AsSlice()
	var program []bpf.Instruction
	for i := 0; i < len(b); i += 4 {
		program = append(program,
			load(at+uint32(i), 4),
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(b[i:]), SkipTrue: uint8((len(b)-i)/4*2 - 1)},
		)
	}
	return append(program, bpf.RetConstant{Val: uint32(f.snap)})
}
