package oracle

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// fold makes 32 bits of an address: those of IPv4, or the words of IPv6 in
// exclusive or. An address of the other family than its service's is read as
// the service's: the kernel looks at the first word for IPv4, and an IPv4
// address is followed by zeros.
func fold(a netip.Addr, is6 bool) uint32 {
	a = a.Unmap()
	if a.Is4() {
		b := a.As4()
		return binary.BigEndian.Uint32(b[:])
	}
	b := a.As16()
	v := binary.BigEndian.Uint32(b[0:])
	if is6 {
		v ^= binary.BigEndian.Uint32(b[4:]) ^ binary.BigEndian.Uint32(b[8:]) ^ binary.BigEndian.Uint32(b[12:])
	}
	return v
}

// goldenRatio is the multiplier of the kernel's hash_32 (linux/hash.h).
const goldenRatio = 0x61C88647

// hash32 is the multiplicative hash of sh and dh: the upper n bits of the
// product.
func hash32(v uint32, n uint) uint32 { return v * goldenRatio >> (32 - n) }

// The keys of the two hashes of mh, each for both words of the key.
const (
	mhKey1 = 2654435761
	mhKey2 = 2654446892
)

// hsiphash is the kernel's hsiphash of a 32-bit value where words have 64 bits:
// SipHash-1-3, cut to 32 bits.
func hsiphash(v uint32, key0, key1 uint64) uint32 {
	// The kernel hashes the value's bytes, in the machine's order.
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], v)
	word := uint64(4)<<56 | uint64(binary.LittleEndian.Uint32(b[:]))

	v0, v1 := key0^0x736f6d6570736575, key1^0x646f72616e646f6d
	v2, v3 := key0^0x6c7967656e657261, key1^0x7465646279746573
	round := func() {
		v0, v2 = v0+v1, v2+v3
		v1, v3 = bits.RotateLeft64(v1, 13)^v0, bits.RotateLeft64(v3, 16)^v2
		v0 = bits.RotateLeft64(v0, 32)
		v2, v0 = v2+v1, v0+v3
		v1, v3 = bits.RotateLeft64(v1, 17)^v2, bits.RotateLeft64(v3, 21)^v0
		v2 = bits.RotateLeft64(v2, 32)
	}
	v3 ^= word
	round()
	v0 ^= word
	v2 ^= 0xff
	round()
	round()
	round()
	return uint32(v0 ^ v1 ^ v2 ^ v3)
}
