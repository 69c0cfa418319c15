package speaker

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/link"
	"github.com/understudy-ha/understudy/vrrp"
)

// slack is what a busy machine may add to a takeover. That it is on time to the
// millisecond is tested with a clock that stands still meanwhile.
const slack = 500 * time.Millisecond

// patience bounds every wait for something that should take milliseconds.
const patience = 3 * time.Second

// node is a Speaker on eth0 of a network namespace.
type node struct {
	*Speaker
	ns     netns.NsHandle
	nl     *netlink.Handle
	index  int
	bell   chan struct{}
	cancel context.CancelFunc
	ended  chan struct{}
}

// inside runs f in the namespace, on a thread that is thrown away.
func inside(ns netns.NsHandle, f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked
		if err := netns.Set(ns); err != nil {
			result <- err
			return
		}
		result <- f()
	}()
	return <-result
}

// cable makes two network namespaces with eth0 in each, joined by a veth pair,
// 192.0.2.1 and 192.0.2.2, both up.
func cable(t *testing.T) (nodes [2]*node) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root for network namespaces and raw sockets")
	}
	for i := range nodes {
		n := &node{bell: make(chan struct{}, 1)}
		made := make(chan error, 1)
		go func() {
			runtime.LockOSThread() // never unlocked
			var err error
			n.ns, err = netns.New()
			made <- err
		}()
		if err := <-made; err != nil {
			t.Fatalf("create network namespace: %v", err)
		}
		t.Cleanup(func() { n.ns.Close() })
		var err error
		if n.nl, err = netlink.NewHandleAt(n.ns, unix.NETLINK_ROUTE); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(n.nl.Close)
		n.Speaker = New("eth0", Options{
			Log: slog.New(slog.NewTextHandler(t.Output(), nil)).With("node", i+1),
			Bell: func() {
				select {
				case n.bell <- struct{}{}:
				default:
				}
			},
		})
		nodes[i] = n
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Namespace = "eth0", netlink.NsFd(nodes[0].ns)
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(nodes[1].ns)}
	if err := nodes[0].nl.LinkAdd(veth); err != nil {
		t.Fatalf("create veth pair: %v", err)
	}
	for i, n := range nodes {
		l, err := n.nl.LinkByName("eth0")
		if err == nil {
			err = n.nl.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(192, 0, 2, byte(i+1)), Mask: net.CIDRMask(24, 32)}})
		}
		if err == nil {
			err = n.nl.LinkSetUp(l)
		}
		if err != nil {
			t.Fatalf("set up eth0: %v", err)
		}
		n.index = l.Attrs().Index
	}
	return nodes
}

// start runs the Speaker, and a link.Watcher that tells it of the interface.
func (n *node) start(t *testing.T, routers ...Router) {
	t.Helper()
	n.Set(routers)
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel, n.ended = cancel, make(chan struct{})
	watcher := link.New(slog.New(slog.DiscardHandler))
	watcher.Watch("eth0", n.SetLink)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		if err := inside(n.ns, func() error { return watcher.Run(ctx) }); err != nil {
			t.Error(err)
		}
	}()
	go func() {
		defer close(n.ended)
		if err := inside(n.ns, func() error { return n.Run(ctx) }); err != nil {
			t.Error(err)
		}
		<-watching
	}()
	t.Cleanup(n.stop)
}

func (n *node) stop() {
	n.cancel()
	<-n.ended
}

// await waits until the first virtual router is in that state, and settled, and
// returns how long it took since.
func (n *node) await(t *testing.T, since time.Time, state vrrp.State) time.Duration {
	t.Helper()
	late := time.After(patience)
	for {
		if all := n.Status(); len(all) > 0 && all[0].State == state && (all[0].Settled || state == vrrp.StateFault) {
			return all[0].Since.Sub(since)
		}
		select {
		case <-n.bell:
		case <-late:
			t.Fatalf("%v after %v, want %v", n.Status(), patience, state)
		}
	}
}

func TestNetnsElection(t *testing.T) {
	const interval = 100 * time.Millisecond
	v2 := func(priority uint8) Router {
		r := web(priority, time.Second)
		r.Version, r.Password = vrrp.V2, "secret"
		return r
	}
	tests := []struct {
		name string
		a, b Router
		slow bool // the interval is a second
	}{
		{name: "multicast", a: web(150, interval), b: web(100, interval)},
		{name: "unicast", a: toPeers(web(150, interval), "192.0.2.2"), b: toPeers(web(100, interval), "192.0.2.1")},
		{name: "version 2", a: v2(255), b: v2(100), slow: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nodes := cable(t)
			a, b := nodes[0], nodes[1]
			a.start(t, tt.a)
			b.start(t, tt.b)
			a.await(t, time.Now(), vrrp.StateMaster)
			b.await(t, time.Now(), vrrp.StateBackup)

			// A clean stop: farewell, then the skew time.
			stopped := time.Now()
			a.stop()
			took := b.await(t, stopped, vrrp.StateMaster)
			if s := b.Status()[0]; s.Reason != vrrp.ReasonFarewell || s.Counters.Received < 2 {
				t.Errorf("%v, counters %+v", s.Reason, s.Counters)
			}
			if limit := tt.b.SkewTime(tt.b.Interval) + slack; took > limit {
				t.Errorf("takeover after %v, want at most %v", took, limit)
			}
			if tt.slow {
				return
			}

			// It comes back and preempts, then its link is cut.
			a.start(t, tt.a)
			a.await(t, time.Now(), vrrp.StateMaster)
			b.await(t, time.Now(), vrrp.StateBackup)
			l, err := a.nl.LinkByName("eth0")
			if err != nil {
				t.Fatal(err)
			}
			cut := time.Now()
			if err := a.nl.LinkSetDown(l); err != nil {
				t.Fatal(err)
			}
			// Both ends of a veth pair lose their carrier.
			a.await(t, cut, vrrp.StateFault)
			b.await(t, cut, vrrp.StateFault)
			if s := a.Status()[0]; s.Reason != vrrp.ReasonLinkDown {
				t.Errorf("%v", s.Reason)
			}
			if err := a.nl.LinkSetUp(l); err != nil {
				t.Fatal(err)
			}
			a.await(t, cut, vrrp.StateMaster)
			b.await(t, cut, vrrp.StateBackup)
		})
	}
}

func TestNetnsASilentMasterIsReplacedInTime(t *testing.T) {
	t.Parallel()
	const interval = 10 * time.Millisecond
	nodes := cable(t)
	a, b := nodes[0], nodes[1]
	a.start(t, web(150, interval))
	b.start(t, web(100, interval))
	a.await(t, time.Now(), vrrp.StateMaster)
	b.await(t, time.Now(), vrrp.StateBackup)
	// The master loses its address, which cuts it off while both links are up.
	l, err := a.nl.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	cut := time.Now()
	if err := a.nl.AddrDel(l, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(192, 0, 2, 1), Mask: net.CIDRMask(24, 32)}}); err != nil {
		t.Fatal(err)
	}
	took := b.await(t, cut, vrrp.StateMaster)
	if limit := web(100, interval).MasterDownInterval(interval) + slack; took > limit {
		t.Errorf("takeover after %v, want at most %v", took, limit)
	}
	a.await(t, cut, vrrp.StateFault)
	if s := a.Status()[0]; s.Reason != vrrp.ReasonNoAddress {
		t.Errorf("%v", s.Reason)
	}
}

func TestNetnsOnTheWire(t *testing.T) {
	t.Parallel()
	nodes := cable(t)
	a, b := nodes[0], nodes[1]
	var tap *ipv4.RawConn
	err := inside(b.ns, func() error {
		c, err := net.ListenPacket("ip4:112", "0.0.0.0")
		if err != nil {
			return err
		}
		t.Cleanup(func() { c.Close() })
		if tap, err = ipv4.NewRawConn(c); err != nil {
			return err
		}
		return tap.JoinGroup(&net.Interface{Index: b.index}, &net.IPAddr{IP: group4.AsSlice()})
	})
	if err != nil {
		t.Fatal(err)
	}
	a.start(t, web(255, 100*time.Millisecond))
	if err := tap.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	h, message, _, err := tap.ReadFrom(make([]byte, 1500))
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("ttl %d, tos %#x, protocol %d, %v > %v", h.TTL, h.TOS, h.Protocol, h.Src, h.Dst)
	if want := "ttl 255, tos 0xc0, protocol 112, 192.0.2.1 > 224.0.0.18"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	advert, drop := vrrp.Parse(message, addr("192.0.2.1"), group4)
	if drop != vrrp.DropNone || advert.VRID != 51 || advert.Priority != 255 {
		t.Errorf("%+v, drop %v", advert, drop)
	}

	// What is not ours stays in the kernel, what is wrong with ours is counted.
	send := func(r Router, ttl int) {
		t.Helper()
		src := addr("192.0.2.2")
		m := advertisement(t, r, 10, src, group4)
		h := &ipv4.Header{Version: 4, Len: minHeader, TotalLen: minHeader + len(m), TTL: ttl, Protocol: vrrp.Protocol, Src: src.AsSlice(), Dst: group4.AsSlice()}
		if err := tap.WriteTo(h, m, &ipv4.ControlMessage{IfIndex: b.index}); err != nil {
			t.Fatal(err)
		}
	}
	foreign := web(100, time.Second)
	foreign.VRID = 52
	send(foreign, 255)
	send(web(100, time.Second), 254)
	send(web(100, time.Second), 255)
	late := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for a.Status()[0].Counters.Drops[vrrp.DropOwner] == 0 {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%+v", a.Status())
		}
	}
	var want [vrrp.NumDrops]uint64
	want[vrrp.DropTTL], want[vrrp.DropOwner] = 1, 1
	if s := a.Status()[0]; s.Counters.Drops != want || s.Counters.Received != 2 || s.LastDrop.Source != addr("192.0.2.2") {
		t.Errorf("%+v %+v", s.Counters, s.LastDrop)
	}
}

func TestNetnsSourceMustBeOurs(t *testing.T) {
	t.Parallel()
	n := cable(t)[0]
	err := inside(n.ns, func() error {
		c, err := open4(n.index)
		if err != nil {
			return err
		}
		defer c.Close()
		ours := packet{src: addr("192.0.2.1"), dst: group4, message: []byte{1}}
		if sent, err := c.send([]packet{ours, {src: addr("192.0.2.77"), dst: group4, message: []byte{1}}, ours}); sent != 1 {
			t.Errorf("%d sent, %v", sent, err)
		}
		if sent, err := c.send([]packet{{src: netip.AddrFrom4([4]byte{192, 0, 2, 77}), dst: group4, message: []byte{1}}}); sent != 0 || err == nil {
			t.Errorf("%d sent, %v", sent, err)
		}
		if _, err := open4(n.index + 1000); err == nil {
			t.Error("socket on an interface that does not exist")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
