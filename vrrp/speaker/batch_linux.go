package speaker

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// inbound is what recvmmsg fills. The kernel reads and writes what the headers
// point to, so that all of it is allocated once.
type inbound struct {
	family
	headers []unix.Mmsghdr
	slots   []inSlot
}

type inSlot struct {
	iov     unix.Iovec
	name    unix.RawSockaddrInet6 // used by IPv6, as control is
	control control
	data    []byte
}

// control has room for the control messages of one packet: in_pktinfo, or
// in6_pktinfo and the hop limit. Its words give it the alignment of cmsghdr.
type control [8]uint64

func (c *control) bytes() []byte { return unsafe.Slice((*byte)(unsafe.Pointer(c)), unsafe.Sizeof(*c)) }

func newInbound(f family) *inbound {
	in := &inbound{family: f, headers: make([]unix.Mmsghdr, batch), slots: make([]inSlot, batch)}
	for i := range in.slots {
		s, h := &in.slots[i], &in.headers[i].Hdr
		s.data = make([]byte, f.snap)
		s.iov.Base = &s.data[0]
		s.iov.SetLen(len(s.data))
		h.Iov = &s.iov
		h.SetIovlen(1)
		if f.ipv6 {
			h.Name = (*byte)(unsafe.Pointer(&s.name))
			h.Control = (*byte)(unsafe.Pointer(&s.control))
		}
	}
	return in
}

// receive fills in ps with what is queued at the socket, if anything.
func (in *inbound) receive(fd int, ps []packet) (int, error) {
	headers := in.headers[:min(len(ps), len(in.headers))]
	if in.ipv6 {
		for i := range headers {
			headers[i].Hdr.Namelen = unix.SizeofSockaddrInet6
			headers[i].Hdr.SetControllen(len(control{}) * 8)
		}
	}
	n, err := mmsg(unix.SYS_RECVMMSG, fd, headers)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return 0, nil
	case err != nil:
		return 0, os.NewSyscallError("recvmmsg", err)
	}
	for i := range n {
		s, h := &in.slots[i], &headers[i]
		data := s.data[:min(int(h.Len), len(s.data))]
		switch {
		case h.Hdr.Flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
			ps[i] = packet{}
		case !in.ipv6:
			ps[i] = parseIPv4(data)
		default:
			ps[i] = parseIPv6(data, s.name.Addr, s.control.bytes()[:min(int(h.Hdr.Controllen), len(s.control)*8)])
		}
	}
	return n, nil
}

// parseIPv6 makes a packet of a message from src and what the control messages say
// of its header. The message aliases b. Without destination and hop limit it
// gives the zero packet.
func parseIPv6(b []byte, src [16]byte, control []byte) packet {
	p := packet{src: netip.AddrFrom16(src), message: b[:len(b):len(b)]}
	limited := false
	for len(control) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
		if uint64(h.Len) < uint64(unix.CmsgLen(0)) || uint64(h.Len) > uint64(len(control)) {
			break
		}
		data := control[unix.CmsgLen(0):h.Len]
		switch {
		case h.Level != unix.IPPROTO_IPV6:
		case h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			p.dst = netip.AddrFrom16([16]byte(data[:16]))
		case h.Type == unix.IPV6_HOPLIMIT && len(data) >= 4:
			p.ttl, limited = uint8(binary.NativeEndian.Uint32(data)), true
		}
		control = control[min(len(control), unix.CmsgSpace(len(data))):]
	}
	if !limited || !p.dst.IsValid() {
		return packet{}
	}
	return p
}

// outbound is what sendmmsg sends by the raw socket.
type outbound struct {
	family
	headers []unix.Mmsghdr
	slots   []outSlot
}

type outSlot struct {
	iov     unix.Iovec
	name4   unix.RawSockaddrInet4
	name6   unix.RawSockaddrInet6
	control control
}

func newOutbound(f family, index int) *outbound {
	out := &outbound{family: f, headers: make([]unix.Mmsghdr, batch), slots: make([]outSlot, batch)}
	for i := range out.slots {
		s, h := &out.slots[i], &out.headers[i].Hdr
		h.Iov = &s.iov
		h.SetIovlen(1)
		c := (*unix.Cmsghdr)(unsafe.Pointer(&s.control))
		h.Control = (*byte)(unsafe.Pointer(c))
		if f.ipv6 {
			s.name6.Family = unix.AF_INET6
			h.Name, h.Namelen = (*byte)(unsafe.Pointer(&s.name6)), unix.SizeofSockaddrInet6
			c.Level, c.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
			c.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
			h.SetControllen(unix.CmsgSpace(unix.SizeofInet6Pktinfo))
			s.info6().Ifindex, s.name6.Scope_id = uint32(index), uint32(index)
		} else {
			s.name4.Family = unix.AF_INET
			h.Name, h.Namelen = (*byte)(unsafe.Pointer(&s.name4)), unix.SizeofSockaddrInet4
			c.Level, c.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
			c.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
			h.SetControllen(unix.CmsgSpace(unix.SizeofInet4Pktinfo))
			s.info4().Ifindex = int32(index)
		}
	}
	return out
}

func (s *outSlot) info4() *unix.Inet4Pktinfo {
	return (*unix.Inet4Pktinfo)(unsafe.Pointer(&s.control.bytes()[unix.CmsgLen(0)]))
}

func (s *outSlot) info6() *unix.Inet6Pktinfo {
	return (*unix.Inet6Pktinfo)(unsafe.Pointer(&s.control.bytes()[unix.CmsgLen(0)]))
}

// send hands the kernel at most batch packets, and returns how many it took. It
// refuses a source that is not its own.
func (out *outbound) send(fd int, ps []packet) (int, error) {
	for i, p := range ps {
		s := &out.slots[i]
		if out.ipv6 {
			s.name6.Addr, s.info6().Addr = p.dst.As16(), p.src.As16()
		} else {
			s.name4.Addr, s.info4().Spec_dst = p.dst.As4(), p.src.As4()
		}
		s.iov.Base = unsafe.SliceData(p.message)
		s.iov.SetLen(len(p.message))
	}
	n, err := mmsg(unix.SYS_SENDMMSG, fd, out.headers[:len(ps)])
	for i := range ps {
		out.slots[i].iov.Base = nil
	}
	return n, os.NewSyscallError("sendmmsg", err)
}

// mmsg is recvmmsg or sendmmsg, without waiting.
func mmsg(call uintptr, fd int, headers []unix.Mmsghdr) (int, error) {
	for {
		n, _, errno := unix.Syscall6(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(headers))), uintptr(len(headers)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}
