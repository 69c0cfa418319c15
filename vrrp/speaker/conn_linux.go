package speaker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/vrrp"
)

const (
	// socketBuffer is how much the kernel queues each way: what 255 virtual
	// routers send in some intervals, while this process does not run.
	socketBuffer = 1 << 20
	// trafficClass is CS6, internetwork control (RFC 2474 section 4.2.2.2).
	trafficClass = 0xc0
	// queuePriority is TC_PRIO_INTERACTIVE of linux/pkt_sched.h, the highest
	// that needs no privilege. TOS 0xc0 alone maps to best effort.
	queuePriority = 6
)

var group4 = netip.AddrFrom4([4]byte{224, 0, 0, 18}) // RFC 9568 section 5.1.1.2

// conn4 is a raw IPv4 socket bound to one link.
type conn4 struct {
	p       *ipv4.PacketConn
	link    *net.Interface
	joined  bool
	in, out []ipv4.Message
	sources map[netip.Addr][]byte // control message that makes an address the source
	peers   map[netip.Addr]*net.IPAddr
}

// open4 opens a socket on the link with that index, in the network namespace of
// the calling thread. It admits nothing yet.
func open4(index int) (conn, error) {
	nothing, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 0}})
	if err != nil {
		return nil, fmt.Errorf("assemble filter: %w", err)
	}
	// A raw socket receives from the moment it exists, so that the filter comes
	// first and what arrived before it is thrown away below.
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) { failed = prepare(int(fd), index, nothing) })
		return errors.Join(err, failed)
	}}
	pc, err := lc.ListenPacket(context.Background(), "ip4:"+strconv.Itoa(vrrp.Protocol), "0.0.0.0")
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	c := &conn4{
		p:       ipv4.NewPacketConn(pc),
		link:    &net.Interface{Index: index},
		in:      make([]ipv4.Message, batch),
		out:     make([]ipv4.Message, 0, batch),
		sources: make(map[netip.Addr][]byte),
		peers:   make(map[netip.Addr]*net.IPAddr),
	}
	for i := range c.in {
		c.in[i].Buffers = [][]byte{make([]byte, snapLen)}
	}
	if err := c.configure(); err != nil {
		return nil, errors.Join(fmt.Errorf("configure socket: %w", err), c.Close())
	}
	return c, nil
}

func prepare(fd, index int, filter []bpf.RawInstruction) error {
	program := make([]unix.SockFilter, len(filter))
	for i, f := range filter {
		program[i] = unix.SockFilter{Code: f.Op, Jt: f.Jt, Jf: f.Jf, K: f.K}
	}
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &fprog); err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, index); err != nil {
		return fmt.Errorf("bind to interface %d: %w", index, err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0); err != nil {
		return fmt.Errorf("refuse the groups of others: %w", err)
	}
	// A smaller buffer than asked for costs packets in a stall and nothing else.
	for _, option := range []struct{ force, plain int }{
		{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF},
		{unix.SO_SNDBUFFORCE, unix.SO_SNDBUF},
	} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, option.force, socketBuffer) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option.plain, socketBuffer)
		}
	}
	// The kernel sets SO_PRIORITY with the TOS, so that the order matters.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TOS, trafficClass); err != nil {
		return fmt.Errorf("set type of service: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, queuePriority); err != nil {
		return fmt.Errorf("set priority: %w", err)
	}
	return nil
}

func (c *conn4) configure() error {
	err := errors.Join(
		c.p.SetTTL(wantTTL),
		c.p.SetMulticastTTL(wantTTL),
		c.p.SetMulticastLoopback(false),
		c.p.SetMulticastInterface(c.link),
	)
	if err != nil {
		return err
	}
	ps := make([]packet, batch)
	for range drainReads {
		if n, err := c.receive(ps, false); err != nil || n == 0 {
			return err
		}
	}
	return nil
}

func (c *conn4) group() netip.Addr { return group4 }

func (c *conn4) admit(ids vrids, multicast bool) error {
	program, err := bpf.Assemble(filter(ids))
	if err != nil {
		return fmt.Errorf("assemble filter: %w", err)
	}
	if err := c.p.SetBPF(program); err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	if multicast == c.joined {
		return nil
	}
	group := &net.IPAddr{IP: group4.AsSlice()}
	if multicast {
		err = c.p.JoinGroup(c.link, group)
	} else {
		err = c.p.LeaveGroup(c.link, group)
	}
	if err != nil {
		return fmt.Errorf("change membership of %v: %w", group, err)
	}
	c.joined = multicast
	return nil
}

func (c *conn4) receive(ps []packet, wait bool) (int, error) {
	flags := 0
	if !wait {
		// A deadline in the past would fail the call before it looks.
		if err := c.p.SetReadDeadline(time.Time{}); err != nil {
			return 0, err
		}
		flags = unix.MSG_DONTWAIT
	}
	n, err := c.p.ReadBatch(c.in[:min(len(ps), len(c.in))], flags)
	if err != nil {
		if !wait && errors.Is(err, unix.EAGAIN) {
			return 0, nil
		}
		return 0, err
	}
	for i := range n {
		ps[i] = parseIPv4(c.in[i].Buffers[0][:c.in[i].N])
	}
	return n, nil
}

func (c *conn4) send(ps []packet) (int, error) {
	c.out = c.out[:0]
	for _, p := range ps {
		c.out = append(c.out, ipv4.Message{
			Buffers: [][]byte{p.message},
			OOB:     c.source(p.src),
			Addr:    c.peer(p.dst),
		})
	}
	n, err := c.p.WriteBatch(c.out, unix.MSG_DONTWAIT)
	return max(n, 0), err
}

// source returns the control message for packets from src. The kernel refuses
// an address that is not its own.
func (c *conn4) source(src netip.Addr) []byte {
	b, ok := c.sources[src]
	if !ok {
		b = (&ipv4.ControlMessage{Src: src.AsSlice(), IfIndex: c.link.Index}).Marshal()
		c.sources[src] = b
	}
	return b
}

func (c *conn4) peer(dst netip.Addr) *net.IPAddr {
	a, ok := c.peers[dst]
	if !ok {
		a = &net.IPAddr{IP: dst.AsSlice()}
		c.peers[dst] = a
	}
	return a
}

func (c *conn4) setReadDeadline(t time.Time) error { return c.p.SetReadDeadline(t) }

func (c *conn4) Close() error { return c.p.Close() }

// passed reports whether err says that the read deadline has passed.
func passed(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
