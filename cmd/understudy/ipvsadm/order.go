package ipvsadm

import (
	"cmp"
	"encoding/binary"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// ipvsadm orders by the signed difference of 32 bits, which is no order among
// numbers that are more than 2^31 apart: a before b before c does not mean a
// before c. So the result depends on where the sorting starts and what it
// compares, and is the same only with the same steps: those of a top-down merge
// sort, which is what the C library has.

// mergeSort sorts list in place: halves (the first is the smaller one), then
// merges, taking from the first half what is not after the second.
func mergeSort[T any](list []T, compare func(a, b *T) int32) {
	if len(list) < 2 {
		return
	}
	first, second := list[:len(list)/2], list[len(list)/2:]
	mergeSort(first, compare)
	mergeSort(second, compare)
	merged := make([]T, 0, len(list))
	for len(first) > 0 && len(second) > 0 {
		if compare(&first[0], &second[0]) <= 0 {
			merged, first = append(merged, first[0]), first[1:]
		} else {
			merged, second = append(merged, second[0]), second[1:]
		}
	}
	merged = append(append(merged, first...), second...)
	copy(list, merged)
}

// compareServices orders by mark, family, protocol, address and port.
func compareServices(a, b *entry) int32 {
	return cmp.Or(
		int32(a.FWMark-b.FWMark),
		int32(a.Family)-int32(b.Family),
		int32(a.Protocol)-int32(b.Protocol),
		compareWords(a.Address.AsSlice(), b.Address.AsSlice()),
		int32(a.Port)-int32(b.Port),
	)
}

// compareServers orders by address and port. Between families only the first 32
// bits count, unless a is IPv6: to it, an IPv4 address is one that ends in zeros.
func compareServers(a, b *genl.Destination) int32 {
	first, second := a.Address.AsSlice(), append(b.Address.AsSlice(), make([]byte, 12)...)
	return cmp.Or(compareWords(first, second), int32(a.Port)-int32(b.Port))
}

// compareWords compares the words that both have.
func compareWords(a, b []byte) int32 {
	for i := 0; i+4 <= len(a) && i+4 <= len(b); i += 4 {
		if d := int32(binary.BigEndian.Uint32(a[i:]) - binary.BigEndian.Uint32(b[i:])); d != 0 {
			return d
		}
	}
	return 0
}
