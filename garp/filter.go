package garp

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/net/bpf"
)

const (
	// maxProgram is BPF_MAXINSNS of linux/bpf_common.h, less what the socket
	// puts before the filter.
	maxProgram = 4096 - 8
	// maxGroup keeps a jump over a group within a byte.
	maxGroup = 100
)

// filter returns a socket filter over frames of one kind, ARP or, with six,
// IPv6, that keeps what may say something of addresses: it is what decides that
// a flood about other addresses wakes nobody. What it keeps is yet to be parsed.
// There is room for some two thousand addresses; with more it keeps what is said
// of any address.
func filter(six bool, addresses []netip.Addr) []bpf.Instruction {
	head, offset := filterARP(), uint32(arpSender)
	if six {
		head, offset = filterND(), ndTarget
	}
	match := filterAddresses(offset, addresses)
	if len(head)+len(match)+1 > maxProgram {
		return append(head, bpf.RetConstant{Val: maxFrame})
	}
	return append(append(head, match...), bpf.RetConstant{Val: 0})
}

func filterARP() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: arpSpaces, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: arpEthernet, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: arpIEEE802, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadAbsolute{Off: arpLengths, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: arpRequest, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: arpReply, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}
}

func filterND() []bpf.Instruction {
	unspecified := []bpf.Instruction{}
	for i := range uint32(4) {
		unspecified = append(unspecified,
			bpf.LoadAbsolute{Off: ipv6Source + 4*i, Size: 4},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
			bpf.RetConstant{Val: 0},
		)
	}
	return append([]bpf.Instruction{
		bpf.LoadAbsolute{Off: ipv6Next, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolICMPv6<<8 | hopLimit, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadAbsolute{Off: ndType, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeAdvertisement, SkipTrue: 2 + uint8(len(unspecified))},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeSolicitation, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}, unspecified...)
}

// filterAddresses keeps a frame that has one of addresses at offset. Addresses
// that differ in the last four bytes only share the comparison of the others.
func filterAddresses(offset uint32, addresses []netip.Addr) (program []bpf.Instruction) {
	addresses = slices.SortedFunc(slices.Values(addresses), netip.Addr.Compare)
	for len(addresses) > 0 {
		prefix, _ := words(addresses[0])
		n := 1
		for n < min(len(addresses), maxGroup) {
			if p, _ := words(addresses[n]); !slices.Equal(p, prefix) {
				break
			}
			n++
		}
		left := 2*len(prefix) + 1 + 2*n // instructions of this group
		for i, word := range prefix {
			left -= 2
			program = append(program,
				bpf.LoadAbsolute{Off: offset + 4*uint32(i), Size: 4},
				bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: word, SkipTrue: uint8(left)},
			)
		}
		program = append(program, bpf.LoadAbsolute{Off: offset + 4*uint32(len(prefix)), Size: 4})
		for _, a := range addresses[:n] {
			_, last := words(a)
			program = append(program,
				bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: last, SkipTrue: 1},
				bpf.RetConstant{Val: maxFrame},
			)
		}
		addresses = addresses[n:]
	}
	return program
}

// words returns an address as words of four bytes.
func words(address netip.Addr) (prefix []uint32, last uint32) {
	for b := address.AsSlice(); len(b) > 0; b = b[4:] {
		prefix = append(prefix, binary.BigEndian.Uint32(b))
	}
	n := len(prefix) - 1
	return prefix[:n], prefix[n]
}
