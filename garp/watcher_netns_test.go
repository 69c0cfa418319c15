package garp

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	//lint:ignore SA1019 what socket_linux.go hands out
	"github.com/mdlayher/raw"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// hold gives the neighbour an address, or with a nil handle this host.
func hold(t *testing.T, handle *netlink.Handle, link netlink.Link, address string) {
	t.Helper()
	a, err := netlink.ParseAddr(address)
	if err != nil {
		t.Fatal(err)
	}
	a.Flags = unix.IFA_F_NODAD
	if handle != nil {
		err = handle.AddrAdd(link, a)
	} else {
		err = netlink.AddrAdd(link, a)
	}
	if err != nil {
		t.Fatalf("add address %s: %v", address, err)
	}
}

// holdBoth gives va the addresses that are fought for.
func holdBoth(t *testing.T) {
	t.Helper()
	va, err := netlink.LinkByName("va")
	if err != nil {
		t.Fatal(err)
	}
	hold(t, nil, va, "10.0.0.200/24")
	hold(t, nil, va, "fd00::200/64")
}

// send makes the neighbour send a frame.
func (n *neighbour) send(t *testing.T, frame []byte) {
	if _, err := n.conn.WriteTo(frame, &raw.Addr{HardwareAddr: frame[:6]}); err != nil {
		t.Errorf("send: %v", err)
	}
}

// mac returns the hardware address of the neighbour.
func (n *neighbour) mac() MAC { return MAC(n.link.Attrs().HardwareAddr) }

// claims returns what a host at mac sends to announce address.
func claims(t *testing.T, mac MAC, address string) [][]byte {
	frames, err := Frames(net.HardwareAddr(mac[:]), netip.MustParseAddr(address), false)
	if err != nil {
		t.Errorf("%v", err)
	}
	return frames
}

// watch runs w on this thread, in its namespace, while f runs elsewhere.
func watch(t *testing.T, w *Watcher, f func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		defer cancel()
		f()
	}()
	if err := w.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// await waits until what w tells of are conflicts with these targets and hardware
// addresses, in order.
func await(t *testing.T, w *Watcher, want ...Conflict) (got []Conflict) {
	t.Helper()
	var last []Conflict
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		got = w.Conflicts()
		last = nil
		for _, c := range got {
			last = append(last, Conflict{Target: c.Target, MAC: c.MAC, Kind: c.Kind})
		}
		if cmp.Equal(want, last, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })) {
			return got
		}
	}
	t.Errorf("conflicts %+v, want %+v", last, want)
	return got
}

var (
	vip4Netns = on("va", "10.0.0.200")
	vip6Netns = on("va", "fd00::200")
)

func TestNetnsWatcherProbes(t *testing.T) {
	n := newNeighbour(t)
	n.hears6(t)
	hold(t, n.handle, n.link, "10.0.0.200/24")
	hold(t, n.handle, n.link, "fd00::200/64")
	holdBoth(t)
	w := NewWatcher(WatcherOptions{})
	w.Set(watchOf(Timing{Settle: 10 * time.Millisecond, Expire: time.Hour}, vip4Netns, vip6Netns))
	watch(t, w, func() {
		got := await(t, w, Conflict{Target: vip4Netns, MAC: n.mac(), Kind: ARP}, Conflict{Target: vip6Netns, MAC: n.mac(), Kind: ND})
		if len(got) == 2 && got[1].Source != netip.MustParseAddr("fd00::200") {
			t.Errorf("source of the advertisement is %v", got[1].Source)
		}
	})
}

// When the other holder goes away, so does the conflict.
func TestNetnsWatcherForgets(t *testing.T) {
	n := newNeighbour(t)
	hold(t, n.handle, n.link, "10.0.0.200/24")
	holdBoth(t)
	w := NewWatcher(WatcherOptions{})
	w.Set(watchOf(Timing{Settle: 20 * time.Millisecond, Expire: 100 * time.Millisecond}, vip4Netns))
	watch(t, w, func() {
		want := Conflict{Target: vip4Netns, MAC: n.mac(), Kind: ARP}
		first := await(t, w, want)
		// It is asked for again and again, as nothing else tells of it.
		for deadline := time.Now().Add(5 * time.Second); len(first) == 1; runtime.Gosched() {
			if list := w.Conflicts(); len(list) != 1 || list[0].First != first[0].First {
				t.Errorf("conflicts %+v, want the first to last", list)
				break
			} else if list[0].Count >= 4 {
				break
			}
			if time.Now().After(deadline) {
				t.Error("the holder is not asked again")
				break
			}
		}
		a, err := netlink.ParseAddr("10.0.0.200/24")
		if err != nil {
			t.Errorf("%v", err)
		}
		if err := n.handle.AddrDel(n.link, a); err != nil {
			t.Errorf("remove address: %v", err)
		}
		await(t, w)
	})
}

func TestNetnsWatcherHears(t *testing.T) {
	tests := []struct {
		name   string
		frames func(t *testing.T, mac MAC) [][]byte
		want   Conflict
	}{
		{"gratuitous ARP request", func(t *testing.T, mac MAC) [][]byte { return claims(t, mac, "10.0.0.200")[:1] }, Conflict{Target: vip4Netns, Kind: ARP}},
		{"gratuitous ARP reply", func(t *testing.T, mac MAC) [][]byte { return claims(t, mac, "10.0.0.200")[1:] }, Conflict{Target: vip4Netns, Kind: ARP}},
		{"neighbour advertisement", func(t *testing.T, mac MAC) [][]byte { return claims(t, mac, "fd00::200") }, Conflict{Target: vip6Netns, Kind: ND}},
		{"duplicate address detection", func(t *testing.T, mac MAC) [][]byte {
			frame, err := Probe(net.HardwareAddr(mac[:]), netip.MustParseAddr("fd00::200"))
			if err != nil {
				t.Errorf("%v", err)
			}
			return [][]byte{frame}
		}, Conflict{Target: vip6Netns, Kind: ND}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			n := newNeighbour(t)
			holdBoth(t)
			w := NewWatcher(WatcherOptions{})
			w.Set(watchOf(Timing{Expire: time.Hour}, vip4Netns, vip6Netns))
			watch(t, w, func() {
				probed(t, w, 2) // so that the sockets are open
				mac := MAC{2, 0, 0, 0, 0, 0x33}
				for _, f := range test.frames(t, mac) {
					n.send(t, f)
				}
				test.want.MAC = mac
				await(t, w, test.want)
			})
		})
	}
}

// probed waits until w has sent so many probes.
func probed(t *testing.T, w *Watcher, count uint64) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); w.Status().Probes < count; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Errorf("status %+v, want %d probes", w.Status(), count)
			return
		}
	}
}

// What this host sends itself is no conflict, neither is what concerns others.
func TestNetnsWatcherIgnores(t *testing.T) {
	n := newNeighbour(t)
	holdBoth(t)
	last := on("va", "10.0.0.201")
	w := NewWatcher(WatcherOptions{})
	w.Set(watchOf(Timing{Probe: 20 * time.Millisecond, Expire: time.Hour}, vip4Netns, vip6Netns, last))
	d, err := kernel{}.lookup("va")
	if err != nil {
		t.Fatal(err)
	}
	s, err := kernel{}.open(d)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	watch(t, w, func() {
		probed(t, w, 30)
		for _, address := range []string{"10.0.0.200", "fd00::200"} {
			for _, mac := range []MAC{MAC(d.hw), theirMAC} { // sent by us, whoever is named
				for _, f := range claims(t, mac, address) {
					if err := s.send(f); err != nil {
						t.Errorf("send: %v", err)
					}
				}
			}
		}
		for _, f := range claims(t, n.mac(), "10.0.0.202") { // not watched
			n.send(t, f)
		}
		for _, f := range claims(t, MAC(d.hw), "10.0.0.200") { // ours, as a loop in the network brings it back
			n.send(t, f)
		}
		for _, f := range claims(t, ownMAC, "10.0.0.200") { // ours as well
			n.send(t, f)
		}
		for _, f := range claims(t, n.mac(), "10.0.0.200") { // in VLAN 7, to which we do not belong
			tagged := append(append(append([]byte(nil), f[:12]...), 0x81, 0, 0, 7), f[12:]...)
			n.send(t, tagged)
		}
		for _, f := range claims(t, n.mac(), "10.0.0.200") { // to somebody else, as a promiscuous link shows it
			copy(f[:6], []byte{2, 0, 0, 0, 0, 0x44})
			n.send(t, f)
		}
		for _, f := range claims(t, n.mac(), "10.0.0.201") {
			n.send(t, f)
		}
		await(t, w, Conflict{Target: last, MAC: n.mac(), Kind: ARP})
		if st := w.Status(); st.Claims > 2 || st.Errors > 0 || st.Missed > 0 || len(st.Links) > 0 {
			t.Errorf("status %+v, want two claims, those of %v", st, last)
		}
	})
}

// A flood about other addresses does not reach the socket.
func TestNetnsWatcherFiltersInTheKernel(t *testing.T) {
	n := newNeighbour(t)
	d, err := kernel{}.lookup("va")
	if err != nil {
		t.Fatal(err)
	}
	l, err := kernel{}.listen(d, false, filter(false, []netip.Addr{vip4Netns.Address}))
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	frame := claims(t, n.mac(), "10.0.0.3")[0]
	for i := range 10000 {
		binary.BigEndian.PutUint16(frame[arpSender:], uint16(i))
		n.send(t, frame)
	}
	stats, err := l.(packetSocket).conn.Stats()
	if err != nil || stats.Packets != 0 || stats.Drops != 0 {
		t.Errorf("%+v, %v, want nothing to arrive", stats, err)
	}
	if err := l.admit(filter(false, []netip.Addr{netip.MustParseAddr("10.0.0.3")})); err != nil {
		t.Fatal(err)
	}
	n.send(t, claims(t, n.mac(), "10.0.0.3")[0])
	got := make([]byte, maxFrame)
	if size, err := l.receive(got); err != nil || size < arpEnd {
		t.Errorf("receive: %d, %v, want a frame", size, err)
	}
}

// A flood about a watched address is taken in part, and counted.
func TestNetnsWatcherBoundsAFlood(t *testing.T) {
	n := newNeighbour(t)
	w := NewWatcher(WatcherOptions{})
	w.Set(watchOf(Timing{Expire: time.Hour}, vip4Netns))
	watch(t, w, func() {
		probed(t, w, 1)
		frame := claims(t, n.mac(), "10.0.0.200")[0]
		for range 5000 {
			n.send(t, frame)
		}
		for deadline := time.Now().Add(5 * time.Second); w.Status().Missed == 0; runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Errorf("status %+v, want missed packets", w.Status())
				return
			}
		}
		if st := w.Status(); st.Claims+st.Missed > 5000 || st.Claims > 5*perSecond {
			t.Errorf("status %+v", st)
		}
	})
}

// The link goes down, up, away and comes back as another.
func TestNetnsWatcherFollowsTheLink(t *testing.T) {
	n := newNeighbour(t)
	va, err := netlink.LinkByName("va")
	if err != nil {
		t.Fatal(err)
	}
	ours, err := netlink.NewHandle() // in this namespace, for the other goroutine
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	w := NewWatcher(WatcherOptions{})
	w.Set(watchOf(Timing{Expire: time.Hour}, vip4Netns))
	state := func(failing bool) {
		t.Helper()
		for deadline := time.Now().Add(5 * time.Second); (len(w.Status().Links) > 0) != failing; runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Errorf("status %+v, want a failing link: %v", w.Status(), failing)
				return
			}
		}
	}
	watch(t, w, func() {
		probed(t, w, 1)
		if err := ours.LinkSetDown(va); err != nil {
			t.Errorf("set down: %v", err)
		}
		state(true)
		if err := ours.LinkSetUp(va); err != nil {
			t.Errorf("set up: %v", err)
		}
		state(false)
		for _, f := range claims(t, n.mac(), "10.0.0.200") {
			n.send(t, f)
		}
		await(t, w, Conflict{Target: vip4Netns, MAC: n.mac(), Kind: ARP})
		if err := ours.LinkDel(va); err != nil {
			t.Errorf("remove link: %v", err)
		}
		state(true)
	})
}
