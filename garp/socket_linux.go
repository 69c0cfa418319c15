package garp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
	"unsafe"

	//lint:ignore SA1019 a thin layer over mdlayher/packet, used in this file alone
	"github.com/mdlayher/raw"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// kernel reaches the links of the network namespace of the calling thread.
type kernel struct{}

func (kernel) lookup(name string) (device, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return device{}, fmt.Errorf("look up link %s: open socket: %w", name, err)
	}
	defer unix.Close(fd)
	return inquire(fd, name)
}

// ifreq is struct ifreq of linux/if.h.
type ifreq struct {
	name [unix.IFNAMSIZ]byte
	data [24]byte
}

// inquire asks by the ioctls of netdevice(7), on any socket, which take a small part
// of the time of a dump of all links: an announcement waits for this.
func inquire(fd int, name string) (device, error) {
	fail := func(err error) (device, error) { return device{}, fmt.Errorf("look up link %s: %w", name, err) }
	if name == "" || len(name) >= unix.IFNAMSIZ {
		return fail(unix.ENODEV)
	}
	// The index is asked for again at the end: between two questions another link
	// may have come to bear the name.
	for range 3 {
		var index, flags, hw, again ifreq
		for _, q := range []struct {
			request uintptr
			answer  *ifreq
		}{
			{unix.SIOCGIFINDEX, &index}, {unix.SIOCGIFFLAGS, &flags}, {unix.SIOCGIFHWADDR, &hw}, {unix.SIOCGIFINDEX, &again},
		} {
			copy(q.answer.name[:], name)
			if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), q.request, uintptr(unsafe.Pointer(q.answer))); errno != 0 {
				return fail(errno)
			}
		}
		if index.data != again.data {
			continue
		}
		d := device{
			index: int(int32(binary.NativeEndian.Uint32(index.data[:]))),
			up:    binary.NativeEndian.Uint16(flags.data[:])&unix.IFF_UP != 0,
		}
		// A struct sockaddr: the type of the hardware, then the address.
		if kind := binary.NativeEndian.Uint16(hw.data[:]); kind == unix.ARPHRD_ETHER {
			d.hw = net.HardwareAddr(hw.data[2:8])
		}
		return d, nil
	}
	return fail(unix.EAGAIN)
}

func (kernel) routes(name string) (bool, error) {
	router, err := forwards(name)
	if err != nil {
		return false, fmt.Errorf("look up link %s: %w", name, err)
	}
	return router, nil
}

// forwards reports net.ipv6.conf.LINK.forwarding, which is also what the kernel
// takes the Router flag of its own Neighbor Advertisements from. A link without
// IPv6 forwards none.
func forwards(link string) (bool, error) {
	// By system calls: os.File would be entered with the poller first.
	fd, err := unix.Open("/proc/sys/net/ipv6/conf/"+link+"/forwarding", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read forwarding: %w", err)
	}
	defer unix.Close(fd)
	var value [16]byte
	n, err := unix.Read(fd, value[:])
	if err != nil {
		return false, fmt.Errorf("read forwarding: %w", err)
	}
	return strings.TrimSpace(string(value[:n])) != "0", nil
}

func (kernel) open(d device) (socket, error) {
	// Without a protocol the socket receives nothing, and each frame goes out
	// under the protocol of its own header (Linux 5.1).
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: d.index}); err != nil {
		return nil, errors.Join(fmt.Errorf("bind packet socket: %w", err), unix.Close(fd))
	}
	return &sendSocket{fd: fd}, nil
}

// sendSocket sends Ethernet frames on a link. It is not known to Go's poller, whose
// part in sending takes as long as the kernel's.
type sendSocket struct {
	fd    int
	until time.Time // no wait for room in the queue goes beyond
}

func (s *sendSocket) lookup(name string) (device, error) { return inquire(s.fd, name) }

func (s *sendSocket) limit(deadline time.Time) error {
	s.until = deadline
	return nil
}

func (s *sendSocket) send(frame []byte) error {
	for {
		_, err := unix.Write(s.fd, frame)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EAGAIN):
			return err
		}
		left := time.Until(s.until)
		if left <= 0 {
			return os.ErrDeadlineExceeded
		}
		timeout := unix.NsecToTimespec(int64(left))
		if _, err := unix.Ppoll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}, &timeout, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (s *sendSocket) close() error { return unix.Close(s.fd) }

func (kernel) listen(d device, six bool, filter []bpf.Instruction) (listener, error) {
	program, err := inbound(filter)
	if err != nil {
		return nil, err
	}
	protocol := uint16(typeARP)
	if six {
		protocol = typeIPv6
	}
	conn, err := raw.ListenPacket(&net.Interface{Index: d.index}, protocol, &raw.Config{Filter: program})
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	return packetSocket{conn}, nil
}

// inbound assembles a filter that takes only what is for this host. That leaves
// out what it sends itself, and frames of a VLAN that it has no part in, which
// the kernel hands to the sockets of the underlying link as somebody else's.
func inbound(filter []bpf.Instruction) ([]bpf.RawInstruction, error) {
	program, err := bpf.Assemble(append([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		// PACKET_HOST, PACKET_BROADCAST and PACKET_MULTICAST are the first of
		// linux/if_packet.h.
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: unix.PACKET_MULTICAST, SkipFalse: 1},
		bpf.RetConstant{Val: 0},
	}, filter...))
	if err != nil {
		return nil, fmt.Errorf("assemble filter: %w", err)
	}
	return program, nil
}

// packetSocket receives and sends Ethernet frames on a link.
type packetSocket struct{ conn *raw.Conn }

func (s packetSocket) limit(deadline time.Time) error { return s.conn.SetWriteDeadline(deadline) }

func (s packetSocket) send(frame []byte) error {
	_, err := s.conn.WriteTo(frame, &raw.Addr{HardwareAddr: frame[:6]})
	return err
}

func (s packetSocket) admit(filter []bpf.Instruction) error {
	program, err := inbound(filter)
	if err != nil {
		return err
	}
	return s.conn.SetBPF(program)
}

func (s packetSocket) receive(b []byte) (int, error) {
	n, _, err := s.conn.ReadFrom(b)
	return n, err
}

func (s packetSocket) missed() (uint64, error) {
	stats, err := s.conn.Stats()
	if err != nil {
		return 0, err
	}
	return stats.Drops, nil
}

func (s packetSocket) close() error { return s.conn.Close() }
