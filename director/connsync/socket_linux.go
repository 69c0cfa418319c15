package connsync

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// farTTL is what beacons are sent with. One that arrives with it has not been
// forwarded; a small one proves nothing, since it can be aimed for.
const farTTL = 255

// radio is the socket for beacons on one interface.
type radio struct {
	conn  net.PacketConn
	v4    *ipv4.PacketConn // one of the two
	v6    *ipv6.PacketConn
	group *net.UDPAddr
	link  net.Interface
	hops  int // over which the kernels' messages go, and so may beacons
}

// openRadio opens the socket for beacons.
func openRadio(c Config) (*radio, error) {
	link, err := net.InterfaceByName(c.Interface)
	if err != nil {
		return nil, fmt.Errorf("find interface %s: %w", c.Interface, err)
	}
	if link.Flags&net.FlagUp == 0 {
		return nil, fmt.Errorf("interface %s is down", c.Interface)
	}
	group := net.UDPAddrFromAddrPort(netip.AddrPortFrom(c.Group, c.BeaconPort))
	network, wildcard := "udp4", "0.0.0.0"
	if c.Group.Is6() {
		network, wildcard, group.Zone = "udp6", "::", link.Name
	}
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, link.Index)
		})
		return errors.Join(err, failed)
	}}
	conn, err := lc.ListenPacket(context.Background(), network, net.JoinHostPort(wildcard, strconv.Itoa(int(c.BeaconPort))))
	if err != nil {
		return nil, fmt.Errorf("open socket for beacons: %w", err)
	}
	r := &radio{conn: conn, group: group, link: *link, hops: max(int(c.TTL), 1)}
	if c.Group.Is4() {
		r.v4 = ipv4.NewPacketConn(conn)
		err = errors.Join(r.v4.JoinGroup(link, group), r.v4.SetMulticastInterface(link), r.v4.SetMulticastLoopback(false),
			r.v4.SetMulticastTTL(farTTL), r.v4.SetControlMessage(ipv4.FlagTTL, true))
	} else {
		r.v6 = ipv6.NewPacketConn(conn)
		err = errors.Join(r.v6.JoinGroup(link, group), r.v6.SetMulticastInterface(link), r.v6.SetMulticastLoopback(false),
			r.v6.SetMulticastHopLimit(farTTL), r.v6.SetControlMessage(ipv6.FlagHopLimit, true))
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("join the group %v on %s: %w", c.Group, c.Interface, err)
	}
	return r, nil
}

// receive waits for a packet until the deadline. One from too far away has DropTTL.
func (r *radio) receive(b []byte, deadline time.Time) (n int, from netip.Addr, drop Drop, err error) {
	if err := r.conn.SetReadDeadline(deadline); err != nil {
		return 0, from, DropNone, err
	}
	var src net.Addr
	ttl := 0
	if r.v4 != nil {
		var cm *ipv4.ControlMessage
		if n, cm, src, err = r.v4.ReadFrom(b); cm != nil {
			ttl = cm.TTL
		}
	} else {
		var cm *ipv6.ControlMessage
		if n, cm, src, err = r.v6.ReadFrom(b); cm != nil {
			ttl = cm.HopLimit
		}
	}
	if err != nil {
		return 0, from, DropNone, err
	}
	if a, ok := src.(*net.UDPAddr); ok {
		from = a.AddrPort().Addr().Unmap().WithZone("")
	}
	if ttl <= farTTL-r.hops {
		drop = DropTTL
	}
	return n, from, drop, nil
}

// send sends a beacon to the group.
func (r *radio) send(b []byte) error {
	_ = r.conn.SetWriteDeadline(time.Now().Add(beaconEvery))
	_, err := r.conn.WriteTo(b, r.group)
	return err
}

func (r *radio) close() { _ = r.conn.Close() }

// openBulk opens a socket whose packets the kernels of the peers take for
// messages of this one. It does not hear itself, and nor does our kernel.
func openBulk(c Config) (*net.UDPConn, error) {
	link, err := net.InterfaceByName(c.Interface)
	if err != nil {
		return nil, fmt.Errorf("find interface %s: %w", c.Interface, err)
	}
	to := netip.AddrPortFrom(c.Group, c.Port)
	network := "udp4"
	if c.Group.Is6() {
		network, to = "udp6", netip.AddrPortFrom(c.Group.WithZone(c.Interface), c.Port)
	}
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) { failed = prepareBulk(int(fd), c, link.Index) })
		return errors.Join(err, failed)
	}}
	conn, err := d.Dial(network, to.String())
	if err != nil {
		return nil, fmt.Errorf("open socket for connections: %w", err)
	}
	return conn.(*net.UDPConn), nil
}

func prepareBulk(fd int, c Config, index int) error {
	ttl := max(int(c.TTL), 1)
	if c.Group.Is4() {
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, index),
			unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(index)}),
			unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, ttl),
			unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0),
		)
	}
	return errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, index),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, ttl),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0),
	)
}
