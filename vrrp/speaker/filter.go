package speaker

import "golang.org/x/net/bpf"

// filter returns a socket filter that keeps the packets of the virtual routers in
// ids, also what is wrong with them, so that it is counted. Its length does not
// depend on the number of virtual routers. A raw IPv4 socket shows it the whole
// packet, a raw IPv6 socket what follows the headers.
func filter(f family, ids vrids) []bpf.Instruction {
	const (
		vrid = 0 // scratch: the VRID
		bit  = 1 // scratch: its bit within its word
	)
	// A = VRID; a packet without one is dropped.
	program := []bpf.Instruction{bpf.LoadAbsolute{Off: 1, Size: 1}}
	if !f.ipv6 {
		program = []bpf.Instruction{
			bpf.LoadMemShift{Off: 0}, // X = length of the IPv4 header
			bpf.LoadIndirect{Off: 1, Size: 1},
		}
	}
	program = append(program,
		bpf.StoreScratch{Src: bpf.RegA, N: vrid},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 31},
		bpf.TAX{}, // X = VRID % 32
		bpf.LoadConstant{Dst: bpf.RegA, Val: 1},
		bpf.ALUOpX{Op: bpf.ALUOpShiftLeft},
		bpf.StoreScratch{Src: bpf.RegA, N: bit},
		bpf.LoadScratch{Dst: bpf.RegA, N: vrid},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 5}, // A = VRID / 32
	)
	for i, word := range ids {
		program = append(program,
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(i), SkipTrue: 4},
			bpf.LoadScratch{Dst: bpf.RegA, N: bit},
			bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: word, SkipFalse: 1},
			bpf.RetConstant{Val: uint32(f.snap)},
			bpf.RetConstant{Val: 0},
		)
	}
	return append(program, bpf.RetConstant{Val: 0})
}
