package lab

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// inbox receives many datagrams with one system call.
type inbox struct {
	headers [64]mmsghdr
	from    [64]unix.RawSockaddrInet6 // of either family
	iov     [64]unix.Iovec
	data    [64][256]byte
	got     []datagram
}

// datagram is valid until the next receive.
type datagram struct {
	from netip.Addr
	data []byte
}

func newInbox() *inbox {
	in := &inbox{}
	for i := range in.headers {
		in.iov[i].Base = &in.data[i][0]
		in.iov[i].SetLen(len(in.data[i]))
		h := &in.headers[i]
		h.Name, h.Iov = (*byte)(unsafe.Pointer(&in.from[i])), &in.iov[i]
		h.SetIovlen(1)
	}
	return in
}

// receive returns what is waiting, and does not wait itself (recvmmsg(2)).
func (in *inbox) receive(fd int) []datagram {
	for i := range in.headers {
		in.headers[i].Namelen = unix.SizeofSockaddrInet6
	}
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&in.headers[0])), uintptr(len(in.headers)), unix.MSG_DONTWAIT, 0, 0)
	in.got = in.got[:0]
	if errno != 0 {
		return nil
	}
	for i := range int(n) {
		in.got = append(in.got, datagram{source(&in.from[i]), in.data[i][:in.headers[i].size]})
	}
	return in.got
}

// source is the address in a socket address of either family (ip(7), ipv6(7)).
func source(sa *unix.RawSockaddrInet6) netip.Addr {
	if sa.Family == unix.AF_INET6 {
		return netip.AddrFrom16(sa.Addr)
	}
	return netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(sa)).Addr)
}
