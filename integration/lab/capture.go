package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Frame is an Ethernet frame as it was captured on an interface.
type Frame struct {
	At   time.Time
	Sent bool  // by the node itself
	From *Port // whose node sent it, if a Tap kept it
	Data []byte
}

// Capture keeps the frames of an interface that a filter lets through.
type Capture struct {
	fd   int
	done chan struct{}

	mu     sync.Mutex
	frames []Frame
}

// Filter chooses frames, in the kernel: what is not chosen costs nothing.
type Filter []bpf.Instruction

// The offsets of fields in an Ethernet frame, with IPv4 without a VLAN tag.
const (
	offEtherType = 12
	offProtocol  = 14 + 9
	offSource    = 14 + 12
	// offNextHeader is that of IPv6: advertisements have no extension header.
	offNextHeader = 14 + 6
)

// ARP chooses ARP frames.
func ARP() Filter { return match(field{offEtherType, 2, 0x0806}) }

// VRRP chooses advertisements of both families.
func VRRP() Filter {
	const protocol = 112
	return Filter{
		bpf.LoadAbsolute{Off: offEtherType, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0x86dd, SkipTrue: 3},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0x0800, SkipTrue: 5},
		bpf.LoadAbsolute{Off: offProtocol, Size: 1},
		bpf.Jump{Skip: 1},
		bpf.LoadAbsolute{Off: offNextHeader, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protocol, SkipTrue: 1},
		bpf.RetConstant{Val: 0xffff},
		bpf.RetConstant{Val: 0},
	}
}

// VRRPNotFrom chooses advertisements without those of one interface.
func VRRPNotFrom(mac net.HardwareAddr) Filter {
	return append(Filter{
		bpf.LoadAbsolute{Off: 6, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(mac), SkipTrue: 3},
		bpf.LoadAbsolute{Off: 10, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(binary.BigEndian.Uint16(mac[4:])), SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}, VRRP()...)
}

// Protocol chooses IPv4 packets of a protocol.
func Protocol(number uint32) Filter {
	return match(field{offEtherType, 2, 0x0800}, field{offProtocol, 1, number})
}

// ProtocolFrom chooses IPv4 packets of a protocol from an address.
func ProtocolFrom(number uint32, src netip.Addr) Filter {
	a := src.As4()
	return match(field{offEtherType, 2, 0x0800}, field{offProtocol, 1, number}, field{offSource, 4, binary.BigEndian.Uint32(a[:])})
}

// field is a field of a frame and the value that it must have.
type field struct {
	offset uint32
	size   int
	value  uint32
}

func match(fields ...field) Filter {
	var f Filter
	for i, one := range fields {
		rest := uint8(2*(len(fields)-i-1) + 1) // instructions until the frame is refused
		f = append(f, bpf.LoadAbsolute{Off: one.offset, Size: one.size},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: one.value, SkipTrue: rest})
	}
	return append(f, bpf.RetConstant{Val: 0xffff}, bpf.RetConstant{Val: 0})
}

// attach puts a filter before a socket.
func attach(fd int, filter Filter) error {
	raw, err := bpf.Assemble(filter)
	if err != nil {
		return fmt.Errorf("assemble filter: %w", err)
	}
	prog := make([]unix.SockFilter, len(raw))
	for i, ins := range raw {
		prog[i] = unix.SockFilter{Code: ins.Op, Jt: ins.Jt, Jf: ins.Jf, K: ins.K}
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}); err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	return nil
}

// Capture starts capturing the frames that the filter chooses on the port's
// interface, both directions.
func (p *Port) Capture(filter Filter) *Capture {
	tb := p.Node.lab.tb
	tb.Helper()
	c := &Capture{fd: -1, done: make(chan struct{})}
	p.Node.Must("capture on "+p.Ifname, func() error {
		link, err := p.Node.nl.LinkByName(p.Ifname)
		if err != nil {
			return err
		}
		all := htons(unix.ETH_P_ALL)
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all))
		if err != nil {
			return fmt.Errorf("open packet socket: %w", err)
		}
		c.fd = fd
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
		if err := attach(fd, filter); err != nil {
			return err
		}
		// Wakes up so often to see whether it is to stop.
		tv := unix.NsecToTimeval(int64(20 * time.Millisecond))
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Attrs().Index})
	})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		b := make([]byte, 65536)
		for {
			k, from, err := unix.Recvfrom(c.fd, b, 0)
			select {
			case <-c.done:
				return
			default:
			}
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENETDOWN) {
				continue
			}
			if err != nil {
				return
			}
			ll, ok := from.(*unix.SockaddrLinklayer)
			c.mu.Lock()
			c.frames = append(c.frames, Frame{At: time.Now(), Sent: ok && ll.Pkttype == unix.PACKET_OUTGOING, Data: append([]byte(nil), b[:k]...)})
			c.mu.Unlock()
		}
	}()
	tb.Cleanup(func() {
		close(c.done)
		<-stopped
		_ = unix.Close(c.fd)
	})
	return c
}

// Frames returns what has been captured so far.
func (c *Capture) Frames() []Frame { return c.Since(0) }

// Since returns what has been captured after the first n frames.
func (c *Capture) Since(n int) []Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.frames[min(n, len(c.frames)):])
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }
