package speaker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// frames is a packet socket that sends whole Ethernet frames by one link and
// receives nothing. It is for packets whose Ethernet source is a virtual MAC
// address, of whatever virtual router, so that none needs an interface of its own
// for that. A frame is never fragmented: what does not fit the MTU is refused.
type frames struct {
	fd      int
	headers []unix.Mmsghdr
	slots   []frameSlot
}

type frameSlot struct {
	iov    [2]unix.Iovec // header and message
	name   unix.RawSockaddrLinklayer
	header [frameHeader]byte
}

func openFrames(index int) (*frames, error) {
	// Protocol 0: it is never shown a packet.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	f := &frames{fd: fd, headers: make([]unix.Mmsghdr, batch), slots: make([]frameSlot, batch)}
	buffers(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, queuePriority); err != nil {
		return nil, errors.Join(fmt.Errorf("set priority of packet socket: %w", err), f.close())
	}
	for i := range f.slots {
		s, h := &f.slots[i], &f.headers[i].Hdr
		s.name.Family, s.name.Ifindex, s.name.Halen = unix.AF_PACKET, int32(index), 6
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&s.name)), unix.SizeofSockaddrLinklayer
		h.Iov = &s.iov[0]
		h.SetIovlen(len(s.iov))
		s.iov[0].Base = &s.header[0]
	}
	return f, nil
}

// send is that of outbound.
func (f *frames) send(ps []packet) (int, error) {
	for i, p := range ps {
		s := &f.slots[i]
		header := appendFrame(s.header[:0], p.mac, p.src, p.dst, len(p.message))
		copy(s.name.Addr[:], header[:6])
		s.name.Protocol = binary.NativeEndian.Uint16(header[12:]) // network byte order, as it lies there
		s.iov[0].SetLen(len(header))
		s.iov[1].Base = unsafe.SliceData(p.message)
		s.iov[1].SetLen(len(p.message))
	}
	n, err := mmsg(unix.SYS_SENDMMSG, f.fd, f.headers[:len(ps)])
	for i := range ps {
		f.slots[i].iov[1].Base = nil
	}
	return n, os.NewSyscallError("sendmmsg", err)
}

func (f *frames) close() error { return unix.Close(f.fd) }
