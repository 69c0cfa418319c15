package speaker

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// controlMessage is a control message, aligned as the kernel does.
func controlMessage(level, kind int32, data []byte) []byte {
	words := make([]uint64, (unix.CmsgSpace(len(data))+7)/8)
	b := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), unix.CmsgSpace(len(data)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&words[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

// aligned is a copy of b where the kernel would put it.
func aligned(b []byte) []byte {
	words := make([]uint64, len(b)/8+1)
	c := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(b))
	copy(c, b)
	return c
}

func TestParseIPv6(t *testing.T) {
	src, dst := addr("fe80::1"), group6
	a := dst.As16()
	info := controlMessage(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, append(a[:], 1, 0, 0, 0))
	hops := controlMessage(unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, u32(254))
	message := []byte{0x31, 51}
	want := packet{src: src, dst: dst, ttl: 254, message: message}
	tests := []struct {
		name    string
		control []byte
		want    packet
	}{
		{"as the kernel does", slices.Concat(info, hops), want},
		{"the other way round", slices.Concat(hops, info), want},
		{"with something else between", slices.Concat(hops, controlMessage(unix.SOL_SOCKET, unix.IPV6_HOPLIMIT, u32(1)), info), want},
		{"without hop limit", info, packet{}},
		{"without destination", hops, packet{}},
		{"none", nil, packet{}},
		{"cut short", slices.Concat(info, hops)[:len(info)+8], packet{}},
		{"too short to be one", slices.Concat(info, controlMessage(unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, nil)), packet{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := parseIPv6(message, src.As16(), aligned(tt.control))
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(packet{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func u32(v uint32) []byte {
	b := make([]byte, 4)
	binary.NativeEndian.PutUint32(b, v)
	return b
}

func FuzzParseIPv6(f *testing.F) {
	f.Add([]byte{0x31, 51}, controlMessage(unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, u32(255)))
	a := group6.As16()
	f.Add([]byte{0x31, 51}, controlMessage(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, append(a[:], 1, 0, 0, 0)))
	f.Fuzz(func(t *testing.T, b, control []byte) {
		p := parseIPv6(b, addr("fe80::1").As16(), aligned(control))
		if p.message != nil && (!p.src.Is6() || !p.dst.Is6() || len(p.message) != len(b)) {
			t.Errorf("%+v", p)
		}
	})
}

func TestControlHasRoomForBoth(t *testing.T) {
	if need := unix.CmsgSpace(unix.SizeofInet6Pktinfo) + unix.CmsgSpace(4); need > int(unsafe.Sizeof(control{})) {
		t.Errorf("%d bytes needed", need)
	}
}
