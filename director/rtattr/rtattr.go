// Package rtattr reads the attributes that the messages of netlink end in, whosever
// protocol it is. It needs nothing but the bytes.
package rtattr

import (
	"encoding/binary"
	"iter"

	"golang.org/x/sys/unix"
)

// All yields the route attributes in b (linux/rtnetlink.h), without the
// flag bits of their types, and stops at the first that does not fit.
func All(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofRtAttr {
			size := int(binary.NativeEndian.Uint16(b))
			if size < unix.SizeofRtAttr || size > len(b) {
				return
			}
			kind := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(kind, b[unix.SizeofRtAttr:size]) {
				return
			}
			b = b[min(len(b), (size+unix.RTA_ALIGNTO-1)&^(unix.RTA_ALIGNTO-1)):]
		}
	}
}
