package garp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	//lint:ignore SA1019 what socket_linux.go hands out
	"github.com/mdlayher/raw"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// neighbour is a host of its own, across the veth pair va (ours), vb.
type neighbour struct {
	handle *netlink.Handle
	link   netlink.Link     // vb
	conn   *raw.Conn        // receives the ARP frames that reach vb
	hw     net.HardwareAddr // of va
}

// newNeighbour moves the test into a network namespace of its own, beside that
// of the neighbour 10.0.0.2, fd00::2.
func newNeighbour(t *testing.T) *neighbour {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root, and this is uid", os.Geteuid())
	}
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	runtime.LockOSThread() // for good: the thread ends with the test's goroutine
	theirs, err := netns.New()
	check("make namespace", err)
	defer theirs.Close()
	ours, err := netns.New()
	check("make namespace", err)
	defer ours.Close()

	check("add veth", netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "va"}, PeerName: "vb", PeerNamespace: netlink.NsFd(theirs),
	}))
	va, err := netlink.LinkByName("va")
	check("find va", err)
	check("set va up", netlink.LinkSetUp(va))
	n := &neighbour{hw: va.Attrs().HardwareAddr}

	n.handle, err = netlink.NewHandleAt(theirs)
	check("open handle", err)
	t.Cleanup(n.handle.Close)
	n.link, err = n.handle.LinkByName("vb")
	check("find vb", err)
	for _, own := range []string{"10.0.0.2/24", "fd00::2/64"} {
		address, err := netlink.ParseAddr(own)
		check("parse address", err)
		address.Flags = unix.IFA_F_NODAD
		check("add address", n.handle.AddrAdd(n.link, address))
	}
	check("set vb up", n.handle.LinkSetUp(n.link))

	// Until the kernel has noticed the carrier, frames are lost without an error.
	for deadline := time.Now().Add(5 * time.Second); ; runtime.Gosched() {
		va, err := netlink.LinkByName("va")
		check("find va", err)
		if va.Attrs().OperState == netlink.OperUp {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("va is %v, want up", va.Attrs().OperState)
		}
	}

	check("go to the neighbour", netns.Set(theirs))
	n.conn, err = raw.ListenPacket(&net.Interface{Index: n.link.Attrs().Index}, unix.ETH_P_ARP, nil)
	check("open packet socket", err)
	t.Cleanup(func() { n.conn.Close() })
	check("come back", netns.Set(ours))
	return n
}

// hears6 waits until the neighbour receives IPv6, which it does as soon as its
// link has a link-local address: up to a second later than IPv4.
func (n *neighbour) hears6(t *testing.T) {
	t.Helper()
	var list []netlink.Addr
	for deadline := time.Now().Add(5 * time.Second); len(list) < 2; runtime.Gosched() {
		var err error
		if list, err = n.handle.AddrList(n.link, netlink.FAMILY_V6); err != nil {
			t.Fatalf("list addresses: %v", err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("the neighbour has the addresses %v, want a link-local one too", list)
		}
	}
}

// receive returns the next ARP frame that va sent.
func (n *neighbour) receive(t *testing.T) []byte {
	t.Helper()
	if err := n.conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2000)
	for {
		size, _, err := n.conn.ReadFrom(b)
		if err != nil {
			t.Fatalf("receive: %v", err)
		}
		if bytes.Equal(b[6:12], n.hw) {
			return b[:size]
		}
	}
}

// believe makes the neighbour think that address is at hw.
func (n *neighbour) believe(t *testing.T, address netip.Addr, hw net.HardwareAddr) {
	t.Helper()
	err := n.handle.NeighSet(&netlink.Neigh{
		LinkIndex: n.link.Attrs().Index, State: netlink.NUD_REACHABLE, IP: address.AsSlice(), HardwareAddr: hw,
	})
	if err != nil {
		t.Fatalf("set neighbour entry: %v", err)
	}
}

// learns waits until the neighbour knows that address is at hw, and returns what
// it knows.
func (n *neighbour) learns(t *testing.T, address netip.Addr, hw net.HardwareAddr) (known netlink.Neigh) {
	t.Helper()
	var last string
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); runtime.Gosched() {
		list, err := n.handle.NeighList(n.link.Attrs().Index, netlink.FAMILY_ALL)
		if err != nil {
			t.Fatalf("list neighbours: %v", err)
		}
		last = fmt.Sprint(list)
		for _, e := range list {
			if e.IP.Equal(address.AsSlice()) && bytes.Equal(e.HardwareAddr, hw) {
				return e
			}
		}
	}
	t.Errorf("the neighbour's entries are %s, want %v at %v", last, address, hw)
	return netlink.Neigh{}
}

func TestNetnsAnnouncer(t *testing.T) {
	n := newNeighbour(t)
	vip := netip.MustParseAddr("10.0.0.200")
	n.believe(t, vip, net.HardwareAddr{2, 0, 0, 0, 0, 9})
	a := New(Options{})
	a.Set(map[Target]Claim{{Link: "va", Address: vip}: {Schedule: Schedule{Count: 1}}})

	// Run stays on this thread, in its namespace; the receiver needs none.
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan [][]byte, 1)
	go func() {
		defer close(got)
		defer cancel()
		got <- [][]byte{n.receive(t), n.receive(t)}
	}()
	if err := a.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
	want, err := Frames(n.hw, vip, false)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, <-got); diff != "" {
		t.Errorf("frames (-want +got):\n%s", diff)
	}
	n.learns(t, vip, n.hw)
}

func TestNetnsAnnouncerIPv6(t *testing.T) {
	for _, forwarding := range []string{"0", "1"} {
		t.Run("forwarding="+forwarding, func(t *testing.T) {
			n := newNeighbour(t)
			n.hears6(t)
			if err := os.WriteFile("/proc/sys/net/ipv6/conf/va/forwarding", []byte(forwarding), 0); err != nil {
				t.Fatal(err)
			}
			vip := netip.MustParseAddr("fd00::200")
			n.believe(t, vip, net.HardwareAddr{2, 0, 0, 0, 0, 9})
			a := New(Options{})
			a.Set(map[Target]Claim{{Link: "va", Address: vip}: {Schedule: Schedule{Count: 1}}})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			entry := make(chan netlink.Neigh, 1)
			go func() {
				defer cancel()
				entry <- n.learns(t, vip, n.hw)
			}()
			if err := a.Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
			if router, want := (<-entry).Flags&netlink.NTF_ROUTER != 0, forwarding == "1"; router != want {
				t.Errorf("the neighbour takes it for a router: %v, want %v", router, want)
			}
		})
	}
}

func TestNetnsOneFrameIsEnough(t *testing.T) {
	n := newNeighbour(t)
	d, err := kernel{}.lookup("va")
	if err != nil {
		t.Fatal(err)
	}
	s, err := kernel{}.open(d)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	vip := netip.MustParseAddr("10.0.0.200")
	frames, err := Frames(d.hw, vip, false)
	if err != nil {
		t.Fatal(err)
	}
	for i, form := range []string{"request", "reply"} {
		t.Run(form, func(t *testing.T) {
			n.believe(t, vip, net.HardwareAddr{2, 0, 0, 0, 0, 9})
			if err := s.send(frames[i]); err != nil {
				t.Fatal(err)
			}
			n.learns(t, vip, d.hw)
		})
	}
}

func TestNetnsBrokenLinks(t *testing.T) {
	newNeighbour(t)
	p := ports{links: kernel{}, open: map[string]*port{}}
	defer p.retain(nil, nil)
	now := time.Now()
	announce := func(link string) error {
		now = now.Add(time.Minute)
		p.refresh()
		_, err := p.announce(now, on(link, "10.0.0.200"))
		return err
	}
	if err := announce("absent"); err == nil {
		t.Error("announcing on an absent link succeeds")
	}
	if err := announce("lo"); err == nil {
		t.Error("announcing on the loopback link succeeds")
	}
	if err := announce("va"); err != nil {
		t.Errorf("announce: %v", err)
	}
	va, err := netlink.LinkByName("va")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetDown(va); err != nil {
		t.Fatal(err)
	}
	if err := announce("va"); !errors.Is(err, unix.ENETDOWN) {
		t.Errorf("announce on a link that is down: %v, want ENETDOWN", err)
	}
	if err := netlink.LinkSetUp(va); err != nil {
		t.Fatal(err)
	}
	if err := announce("va"); err != nil {
		t.Errorf("announce on a link that is up again: %v", err)
	}
	if err := netlink.LinkDel(va); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "va"}, PeerName: "vc"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"va", "vc"} {
		l, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetUp(l); err != nil {
			t.Fatal(err)
		}
	}
	if err := announce("va"); err != nil {
		t.Errorf("announce on another link of the same name: %v", err)
	}
}

// The filter keeps everything out, so that nothing piles up in the socket.
func TestNetnsReceivesNothing(t *testing.T) {
	n := newNeighbour(t)
	d, err := kernel{}.lookup("va")
	if err != nil {
		t.Fatal(err)
	}
	s, err := kernel{}.open(d)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	frames, err := Frames(net.HardwareAddr{2, 0, 0, 0, 0, 9}, netip.MustParseAddr("10.0.0.3"), false)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if _, err := n.conn.WriteTo(frames[0], &raw.Addr{HardwareAddr: d.hw}); err != nil {
			t.Fatal(err)
		}
	}
	stats, err := unix.GetsockoptTpacketStats(s.(*sendSocket).fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		t.Fatal(err)
	}
	if stats.Packets != 0 || stats.Drops != 0 {
		t.Errorf("%d packets arrived and %d were dropped, want none", stats.Packets, stats.Drops)
	}
}
