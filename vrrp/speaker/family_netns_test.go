package speaker

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/vrrp"
)

var (
	mac4 = [6]byte{0, 0, 0x5e, 0, 1, 51}
	mac6 = [6]byte{0, 0, 0x5e, 0, 2, 51}
)

// web6 is web with IPv6 addresses.
func web6(priority uint8, interval time.Duration) Router {
	r := web(priority, interval)
	r.Addresses = []netip.Addr{addr("fe80::200"), addr("2001:db8::200")}
	return r
}

// cable6 is cable with fe80::1 and fe80::2, and Speakers that speak IPv6.
func cable6(t *testing.T) [2]*node {
	t.Helper()
	nodes := cable(t)
	for i, n := range nodes {
		n.Speaker = New("eth0", Options{Log: n.log, Bell: n.Speaker.bell, IPv6: true})
		n.hold(t, fmt.Sprintf("fe80::%d/64", i+1))
		n.hold(t, fmt.Sprintf("2001:db8::%d/64", i+1))
	}
	return nodes
}

// hold gives eth0 an address that is usable at once.
func (n *node) hold(t *testing.T, prefix string) {
	t.Helper()
	l, err := n.nl.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	a, err := netlink.ParseAddr(prefix)
	if err != nil {
		t.Fatal(err)
	}
	a.Flags = unix.IFA_F_NODAD
	if err := n.nl.AddrAdd(l, a); err != nil {
		t.Fatalf("add %s: %v", prefix, err)
	}
}

// dial opens a conn on eth0 of the node that admits VRID 51.
func (n *node) dial(t *testing.T, open func(int) (conn, error), multicast bool) conn {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); ; {
		if l, err := n.nl.LinkByIndex(n.index); err == nil && l.Attrs().OperState == netlink.OperUp {
			break
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("eth0 does not come up")
		}
	}
	var c conn
	err := inside(n.ns, func() (err error) {
		if c, err = open(n.index); err == nil {
			// On this thread, since it is the one in the namespace.
			c.(*raw).frames, err = openFrames(n.index)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	var ids vrids
	ids.add(51)
	if err := c.admit(admission{ids: ids, multicast: multicast}); err != nil {
		t.Fatal(err)
	}
	return c
}

// hear returns the next packet.
func hear(t *testing.T, c conn) packet {
	t.Helper()
	if err := c.setReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	ps := make([]packet, 1)
	if _, err := c.receive(ps, true); err != nil {
		t.Fatal(err)
	}
	ps[0].message = slices.Clone(ps[0].message)
	return ps[0]
}

func send(t *testing.T, c conn, ps ...packet) {
	t.Helper()
	for len(ps) > 0 {
		n, err := c.send(ps)
		if err != nil {
			t.Fatal(err)
		}
		ps = ps[n:]
	}
}

// tap captures what arrives at eth0 of the node with an EtherType.
func (n *node) tap(t *testing.T, etherType uint16) (next func() []byte) {
	t.Helper()
	fd := -1
	err := inside(n.ns, func() (err error) {
		order := binary.BigEndian.AppendUint16(nil, etherType)
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(binary.NativeEndian.Uint16(order)))
		if err != nil {
			return err
		}
		limit := unix.NsecToTimeval(int64(patience))
		return unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return func() []byte {
		t.Helper()
		b := make([]byte, 4096)
		for {
			n, _, err := unix.Recvfrom(fd, b, 0)
			if err != nil {
				t.Fatalf("no frame: %v", err)
			}
			// Protocol 112 in IPv4, or in IPv6 without extension headers.
			if n > 14+minHeader && (etherType == etherTypeIPv4 && b[23] == vrrp.Protocol || etherType == etherTypeIPv6 && b[20] == vrrp.Protocol) {
				return b[:n]
			}
		}
	}
}

// sameForAll is the headers of a frame without what differs between two senders
// and two lengths: the Ethernet source, and of IPv4 length, identification and
// checksum, of IPv6 flow label and length.
func sameForAll(frame []byte) []byte {
	f := slices.Clone(frame[:14+minHeader])
	clear(f[6:12])
	if f[14]>>4 == 4 {
		clear(f[16:20])
		clear(f[24:26])
		return f
	}
	f = append(f, frame[14+minHeader:frameHeader]...)
	f[15] &= 0xf0
	clear(f[16:20])
	return f
}

func TestNetnsBothFamilies(t *testing.T) {
	t.Parallel()
	nodes := cable6(t)
	tests := []struct {
		name         string
		open         func(int) (conn, error)
		src, dst     string // of the nodes, for multicast and unicast
		wide, remote string // other addresses of the nodes
		group        netip.Addr
		mac          [6]byte
		etherType    uint16
	}{
		{"IPv4", open4, "192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.2", group4, mac4, etherTypeIPv4},
		{"IPv6", open6, "fe80::1", "fe80::2", "2001:db8::1", "2001:db8::2", group6, mac6, etherTypeIPv6},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := nodes[0].dial(t, tt.open, true), nodes[1].dial(t, tt.open, true)
			next := nodes[1].tap(t, tt.etherType)
			src, dst := addr(tt.src), addr(tt.dst)
			ours := []byte{0x31, 51, 1, 2, 3, 4, 5, 6, 7, 8}
			foreign := []byte{0x31, 52, 1, 2, 3, 4, 5, 6, 7, 8}

			send(t, a,
				packet{src: src, dst: tt.group, message: foreign},
				packet{src: src, dst: tt.group, message: ours},
				packet{src: src, dst: tt.group, message: foreign, mac: tt.mac},
				packet{src: src, dst: tt.group, message: ours[:9], mac: tt.mac},
				packet{src: src, dst: dst, message: ours[:8], mac: tt.mac},
				packet{src: addr(tt.wide), dst: addr(tt.remote), message: ours[:7]},
			)
			// In this order, whatever they are sent by.
			wants := []packet{
				{src: src, dst: tt.group, ttl: 255, message: ours},
				{src: src, dst: tt.group, ttl: 255, message: ours[:9]},
				{src: src, dst: dst, ttl: 255, message: ours[:8]},
				{src: addr(tt.wide), dst: addr(tt.remote), ttl: 255, message: ours[:7]},
			}
			for _, want := range wants {
				got := hear(t, b)
				if got.src != want.src || got.dst != want.dst || got.ttl != want.ttl || !slices.Equal(got.message, want.message) {
					t.Errorf("got %+v, want %+v", got, want)
				}
			}
			var frames [4][]byte // two of the kernel's making, two of ours
			for i := range frames {
				frames[i] = next()
			}
			if got := [6]byte(frames[3][6:12]); got != tt.mac {
				t.Errorf("Ethernet source % x, want % x", got, tt.mac)
			}
			if kernel, made := sameForAll(frames[1]), sameForAll(frames[3]); !slices.Equal(kernel, made) {
				t.Errorf("the kernel makes\n% x, we make\n% x", kernel, made)
			}

			// A hop limit other than 255 is told.
			name, level := unix.IP_MULTICAST_TTL, unix.IPPROTO_IP
			if tt.etherType == etherTypeIPv6 {
				name, level = unix.IPV6_MULTICAST_HOPS, unix.IPPROTO_IPV6
			}
			if err := unix.SetsockoptInt(a.(*raw).fd, level, name, 254); err != nil {
				t.Fatal(err)
			}
			send(t, a, packet{src: src, dst: tt.group, message: ours})
			if got := hear(t, b); got.ttl != 254 {
				t.Errorf("TTL %d, want 254", got.ttl)
			}

			// Neither who sends nor who has left the group hears it.
			if n, err := a.receive(make([]packet, 1), false); n != 0 || err != nil {
				t.Errorf("heard itself: %d, %v", n, err)
			}
			var ids vrids
			ids.add(51)
			if err := b.admit(admission{ids: ids}); err != nil {
				t.Fatal(err)
			}
			send(t, a, packet{src: src, dst: tt.group, message: ours}, packet{src: src, dst: dst, message: ours})
			if got := hear(t, b); got.dst != dst {
				t.Errorf("heard %v after leaving the group", got)
			}

			// The kernel vouches for the source.
			if n, err := a.send([]packet{{src: dst, dst: tt.group, message: ours}}); n != 0 || err == nil {
				t.Errorf("%d sent from the address of another, %v", n, err)
			}
			long := packet{src: src, dst: tt.group, message: make([]byte, 4000), mac: tt.mac}
			if n, err := a.send([]packet{long}); n != 0 || err == nil {
				t.Errorf("%d frames longer than the MTU sent, %v", n, err)
			}
			long.mac, long.message[1] = [6]byte{}, 51
			if tt.etherType == etherTypeIPv6 {
				if err := b.admit(admission{ids: ids, multicast: true}); err != nil {
					t.Fatal(err)
				}
				send(t, a, long)
				if got := hear(t, b); len(got.message) != len(long.message) {
					t.Errorf("%d bytes of a message in fragments, want %d", len(got.message), len(long.message))
				}
			}
		})
	}
}

func TestNetnsWaiting(t *testing.T) {
	t.Parallel()
	n := cable(t)[0]
	c := n.dial(t, open4, true)
	ps := make([]packet, 1)
	for name, deadline := range map[string]time.Time{"past": time.Unix(1, 0), "soon": time.Now().Add(5 * time.Millisecond)} {
		if err := c.setReadDeadline(deadline); err != nil {
			t.Fatal(err)
		}
		if _, err := c.receive(ps, true); !passed(err) || time.Now().Before(deadline) {
			t.Errorf("deadline %s: %v at %v", name, err, time.Now())
		}
	}
	// Moved by another while it waits, without a deadline.
	for range 3 {
		if n, err := c.receive(ps, false); n != 0 || err != nil {
			t.Fatal(n, err)
		}
		timer := time.AfterFunc(2*time.Millisecond, func() { _ = c.setReadDeadline(time.Unix(1, 0)) })
		if _, err := c.receive(ps, true); !passed(err) {
			t.Errorf("woken: %v", err)
		}
		timer.Stop()
	}
}

func TestNetnsElection6(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
		t.Fatalf("this kernel has no IPv6: %v", err)
	}
	const interval = 100 * time.Millisecond
	withMAC := func(r Router) Router { r.VirtualMAC = mac6; return r }
	tests := []struct {
		name   string
		a, b   Router
		master netip.Addr
	}{
		{"multicast", web6(150, interval), web6(100, interval), addr("fe80::1")},
		{"virtual MAC", withMAC(web6(150, interval)), withMAC(web6(100, interval)), addr("fe80::1")},
		{"unicast", toPeers(web6(150, interval), "fe80::2"), toPeers(web6(100, interval), "fe80::1"), addr("fe80::1")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nodes := cable6(t)
			a, b := nodes[0], nodes[1]
			next := b.tap(t, etherTypeIPv6)
			a.start(t, tt.a)
			b.start(t, tt.b)
			a.await(t, time.Now(), vrrp.StateMaster)
			b.await(t, time.Now(), vrrp.StateBackup)
			if s := b.Status()[0]; s.Master != tt.master {
				t.Errorf("master %v, want %v", s.Master, tt.master)
			}
			if want := tt.a.VirtualMAC; want != [6]byte{} {
				if f := next(); [6]byte(f[6:12]) == want {
					t.Errorf("Ethernet source % x before it can answer", f[6:12])
				}
				a.SetPlumbed(map[string]bool{tt.a.Name: true})
				from := [6]byte{}
				for until := time.Now().Add(2 * time.Second); from != want && time.Now().Before(until); {
					from = [6]byte(next()[6:12])
				}
				if from != want {
					t.Errorf("Ethernet source % x, want % x", from, want)
				}
			}
			stopped := time.Now()
			a.stop()
			took := b.await(t, stopped, vrrp.StateMaster)
			if s := b.Status()[0]; s.Reason != vrrp.ReasonFarewell {
				t.Errorf("%v", s.Reason)
			}
			if limit := tt.b.SkewTime(tt.b.Interval) + slack; took > limit {
				t.Errorf("takeover after %v, want at most %v", took, limit)
			}
		})
	}
}

// TestNetnsHearsBesideAMacvlan shows which kind of macvlan with the virtual MAC a
// backup may have: the kernel hands what comes from the MAC of one in private mode
// to that one alone.
func TestNetnsHearsBesideAMacvlan(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		mode  netlink.MacvlanMode
		up    bool
		heard bool
	}{
		{"bridge", netlink.MACVLAN_MODE_BRIDGE, true, true},
		{"vepa", netlink.MACVLAN_MODE_VEPA, true, true},
		{"private", netlink.MACVLAN_MODE_PRIVATE, true, false},
		{"private and down", netlink.MACVLAN_MODE_PRIVATE, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nodes := cable(t)
			attrs := netlink.NewLinkAttrs()
			attrs.Name, attrs.ParentIndex, attrs.HardwareAddr = "vrrp51", nodes[1].index, net.HardwareAddr(mac4[:])
			vlan := &netlink.Macvlan{LinkAttrs: attrs, Mode: tt.mode}
			err := nodes[1].nl.LinkAdd(vlan)
			if err == nil && tt.up {
				err = nodes[1].nl.LinkSetUp(vlan)
			}
			if err != nil {
				t.Fatal(err)
			}
			a, b := nodes[0].dial(t, open4, true), nodes[1].dial(t, open4, true)
			send(t, a, packet{src: addr("192.0.2.1"), dst: group4, message: []byte{0x31, 51}, mac: mac4})
			send(t, a, packet{src: addr("192.0.2.1"), dst: addr("192.0.2.2"), message: []byte{0x31, 51, 0}})
			if got := hear(t, b); (got.dst == group4) != tt.heard {
				t.Errorf("heard %v first, want the multicast: %v", got, tt.heard)
			}
		})
	}
}
