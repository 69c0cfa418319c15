package speaker

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/vrrp"
)

const (
	// socketBuffer is how much the kernel queues each way: what 255 virtual
	// routers send in some intervals, while this process does not run.
	socketBuffer = 1 << 20
	// queuePriority is TC_PRIO_INTERACTIVE of linux/pkt_sched.h, the highest
	// that needs no privilege. The traffic class alone maps to best effort.
	queuePriority = 6
)

// raw is a raw IP socket bound to one link, and once a packet is to go out from a
// virtual MAC address, a packet socket beside it.
type raw struct {
	family
	index  int
	fd     int
	joined bool
	full   bool // the last receive left something, perhaps
	wait   *waiter
	in     *inbound
	out    *outbound
	frames *frames // nil before the first
}

// open4 opens an IPv4 socket on the link with that index, in the network
// namespace of the calling thread. It admits nothing yet.
func open4(index int) (conn, error) { return open(inet, index) }

// open6 is open4 for IPv6.
func open6(index int) (conn, error) { return open(inet6, index) }

func open(f family, index int) (conn, error) {
	domain := unix.AF_INET
	if f.ipv6 {
		domain = unix.AF_INET6
	}
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, vrrp.Protocol)
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	c := &raw{family: f, index: index, fd: fd, in: newInbound(f), out: newOutbound(f, index)}
	if c.wait, err = newWaiter(fd); err == nil {
		err = c.configure()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("configure socket: %w", err), c.Close())
	}
	return c, nil
}

// configure sets the options that do not change.
func (c *raw) configure() error {
	// A raw socket receives from the moment it exists, so that the filter comes
	// first and what arrived before it is thrown away below.
	if err := attach(c.fd, []bpf.Instruction{bpf.RetConstant{Val: 0}}); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, c.index); err != nil {
		return fmt.Errorf("bind to interface %d: %w", c.index, err)
	}
	options := options4
	if c.ipv6 {
		options = options6
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(c.fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("set %s: %w", o.what, err)
		}
	}
	if err := c.multicastFrom(); err != nil {
		return fmt.Errorf("send multicast by interface %d: %w", c.index, err)
	}
	buffers(c.fd)
	// The kernel sets it with the traffic class, so that the order matters.
	if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_PRIORITY, queuePriority); err != nil {
		return fmt.Errorf("set priority: %w", err)
	}
	ps := make([]packet, batch)
	for range drainReads {
		if n, err := c.receive(ps, false); err != nil || n == 0 {
			return err
		}
	}
	return nil
}

type option struct {
	what               string
	level, name, value int
}

var options4 = []option{
	{"IP_MULTICAST_ALL", unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0}, // not the groups of others
	{"IP_TOS", unix.IPPROTO_IP, unix.IP_TOS, trafficClass},
	{"IP_TTL", unix.IPPROTO_IP, unix.IP_TTL, wantTTL},
	{"IP_MULTICAST_TTL", unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, wantTTL},
	{"IP_MULTICAST_LOOP", unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0},
}

var options6 = []option{
	{"IPV6_MULTICAST_ALL", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0},
	{"IPV6_TCLASS", unix.IPPROTO_IPV6, unix.IPV6_TCLASS, trafficClass},
	{"IPV6_UNICAST_HOPS", unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, wantTTL},
	{"IPV6_MULTICAST_HOPS", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, wantTTL},
	{"IPV6_MULTICAST_LOOP", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0},
	{"IPV6_RECVHOPLIMIT", unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1},
	{"IPV6_RECVPKTINFO", unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1},
	// The codec is the one who computes and checks it.
	{"IPV6_CHECKSUM", unix.IPPROTO_IPV6, unix.IPV6_CHECKSUM, -1},
}

func (c *raw) multicastFrom() error {
	if c.ipv6 {
		return unix.SetsockoptInt(c.fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, c.index)
	}
	return unix.SetsockoptIPMreqn(c.fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(c.index)})
}

// buffers enlarges the queues. Smaller ones than asked for cost packets in a stall
// and nothing else.
func buffers(fd int) {
	for _, option := range []struct{ force, plain int }{
		{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF},
		{unix.SO_SNDBUFFORCE, unix.SO_SNDBUF},
	} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, option.force, socketBuffer) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option.plain, socketBuffer)
		}
	}
}

func attach(fd int, instructions []bpf.Instruction) error {
	assembled, err := bpf.Assemble(instructions)
	if err != nil {
		return fmt.Errorf("assemble filter: %w", err)
	}
	program := make([]unix.SockFilter, len(assembled))
	for i, f := range assembled {
		program[i] = unix.SockFilter{Code: f.Op, Jt: f.Jt, Jf: f.Jf, K: f.K}
	}
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &fprog); err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	return nil
}

func (c *raw) group() netip.Addr { return c.family.group }

func (c *raw) admit(a admission) error {
	if err := attach(c.fd, filter(c.family, a)); err != nil {
		return err
	}
	if a.multicast == c.joined {
		return nil
	}
	if err := c.member(a.multicast); err != nil {
		return fmt.Errorf("change membership of %v: %w", c.group(), err)
	}
	c.joined = a.multicast
	return nil
}

// member joins or leaves the group.
func (c *raw) member(join bool) error {
	if c.ipv6 {
		name := unix.IPV6_LEAVE_GROUP
		if join {
			name = unix.IPV6_JOIN_GROUP
		}
		return unix.SetsockoptIPv6Mreq(c.fd, unix.IPPROTO_IPV6, name, &unix.IPv6Mreq{Multiaddr: c.group().As16(), Interface: uint32(c.index)})
	}
	name := unix.IP_DROP_MEMBERSHIP
	if join {
		name = unix.IP_ADD_MEMBERSHIP
	}
	return unix.SetsockoptIPMreqn(c.fd, unix.IPPROTO_IP, name, &unix.IPMreqn{Multiaddr: c.group().As4(), Ifindex: int32(c.index)})
}

func (c *raw) receive(ps []packet, wait bool) (int, error) {
	if !wait {
		c.wait.set(time.Time{})
		return c.in.receive(c.fd, ps)
	}
	for {
		if err := c.wait.readable(c.full); err != nil {
			return 0, err
		}
		n, err := c.in.receive(c.fd, ps)
		c.full = n == len(ps)
		// What woke us may have had a wrong checksum and be gone.
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (c *raw) send(ps []packet) (int, error) {
	// The longest run that one socket sends.
	framed := c.framed(ps[0])
	n := 1
	for n < min(len(ps), batch) && c.framed(ps[n]) == framed {
		n++
	}
	if !framed {
		return c.out.send(c.fd, ps[:n])
	}
	if c.frames == nil {
		f, err := openFrames(c.index)
		if err != nil {
			return 0, err
		}
		c.frames = f
	}
	return c.frames.send(ps[:n])
}

// framed reports whether p goes out as a frame of our own making.
func (c *raw) framed(p packet) bool { return p.mac != [6]byte{} && p.dst == c.family.group }

func (c *raw) setReadDeadline(t time.Time) error {
	c.wait.set(t)
	return nil
}

func (c *raw) Close() error {
	errs := []error{unix.Close(c.fd)}
	if c.wait != nil {
		errs = append(errs, c.wait.close())
	}
	if c.frames != nil {
		errs = append(errs, c.frames.close())
	}
	return errors.Join(errs...)
}

// passed reports whether err says that the read deadline has passed.
func passed(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
