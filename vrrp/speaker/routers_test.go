package speaker

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/vrrp"
)

func TestSetLeavesAloneWhatDidNotChange(t *testing.T) {
	const interval = time.Second
	with := func(f func(*Router)) []Router {
		r := web(150, interval)
		f(&r)
		return []Router{r}
	}
	other := web(150, interval)
	other.Name, other.VRID, other.Addresses = "mail", 52, []netip.Addr{addr("192.0.2.201")}
	tests := []struct {
		name     string
		set      []Router
		sent     []uint8 // priorities of VRID 51 at that instant
		state    vrrp.State
		reason   vrrp.Reason
		epoch    uint64
		received uint64 // zero for a new virtual router
	}{
		{"the same", with(func(r *Router) { r.Addresses = []netip.Addr{addr("192.0.2.200")} }), nil, vrrp.StateMaster, vrrp.ReasonMasterDown, 1, 1},
		{"one more", append(with(func(*Router) {}), other), nil, vrrp.StateMaster, vrrp.ReasonMasterDown, 1, 1},
		{"priority", with(func(r *Router) { r.Priority = 120 }), nil, vrrp.StateMaster, vrrp.ReasonMasterDown, 1, 1},
		{"name", with(func(r *Router) { r.Name = "www" }), nil, vrrp.StateMaster, vrrp.ReasonMasterDown, 1, 1},
		{"version", with(func(r *Router) { r.Version = vrrp.V2 }), []uint8{0}, vrrp.StateBackup, vrrp.ReasonStartup, 0, 0},
		{"VRID", with(func(r *Router) { r.VRID = 53 }), []uint8{0}, vrrp.StateBackup, vrrp.ReasonStartup, 0, 0},
		{"the same VRID twice", append(with(func(*Router) {}), with(func(r *Router) { r.Name = "www" })...), nil, vrrp.StateMaster, vrrp.ReasonMasterDown, 1, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, a, _ := pair(t, interval)
				a.with(func() { // an advertisement to be counted, and dropped
					a.inject(packet{src: addr("192.0.2.9"), dst: group4, ttl: 1, message: advertisement(t, web(1, interval), 1, addr("192.0.2.9"), group4)})
				})
				synctest.Wait()
				mark := l.mark()
				departed := a.Set(tt.set)
				synctest.Wait()
				var sent []uint8
				for _, p := range l.packets("a", mark) {
					sent = append(sent, p.advert.Priority)
				}
				if diff := cmp.Diff(tt.sent, sent); diff != "" {
					t.Errorf("sent: -want +got\n%s", diff)
				}
				s := a.Status()[0]
				if s.State != tt.state || s.Reason != tt.reason || s.Epoch != tt.epoch || s.Counters.Received != tt.received {
					t.Errorf("status %+v", s)
				}
				if s.Config.Name != tt.set[0].Name || s.Config.Priority != tt.set[0].Priority || s.Config.VRID != tt.set[0].VRID {
					t.Errorf("configuration %+v", s.Config)
				}
				if len(a.sockets) != 1 {
					t.Errorf("%d sockets", len(a.sockets))
				}
				<-departed
				if c := a.sockets[0]; !c.ids.has(tt.set[0].VRID) || c.ids.has(51) != (tt.set[0].VRID == 51) {
					t.Errorf("socket admits %v", c.ids)
				}
			})
		})
	}
}

// TestANewNameRingsTheBell: who acts upon a role finds it by the name.
func TestANewNameRingsTheBell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, _ := pair(t, time.Second)
		a.with(func() { a.bells = nil })
		r := web(150, time.Second)
		r.Name = "www"
		a.Set([]Router{r})
		synctest.Wait()
		a.with(func() {
			if len(a.bells) != 1 || a.bells[0].status[0].Config.Name != "www" {
				t.Errorf("bells %+v, want one that tells the new name", a.bells)
			}
		})
	})
}

func TestARemovedMasterSaysFarewell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a, b := pair(t, time.Second)
		mark, bells := l.mark(), len(a.bells)
		departed := a.Set(nil)
		synctest.Wait()
		if len(a.Status()) != 0 || a.Trace("web") != "" {
			t.Error("still there")
		}
		if len(a.bells) == bells {
			t.Error("no bell")
		}
		a.with(func() {
			if a.sockets[0].closed {
				t.Error("the successor cannot be heard")
			}
		})
		<-departed
		if !a.sockets[0].closed {
			t.Error("a socket without a virtual router")
		}
		if last := l.packets("a", mark); len(last) != 1 || last[0].advert.Priority != 0 {
			t.Errorf("sent: %+v", last)
		}
		b.expect(t, vrrp.StateMaster, vrrp.ReasonFarewell)
		a.Set([]Router{web(150, time.Second)})
		a.expect(t, vrrp.StateBackup, vrrp.ReasonStartup)
	})
}

func TestConstantSetsDoNotMakeItDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, b := pair(t, 10*time.Millisecond)
		for i := range 2000 {
			b.Set([]Router{web(uint8(100+i%2), 10*time.Millisecond)})
			if i%2 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		b.expect(t, vrrp.StateBackup, vrrp.ReasonStartup)
	})
}

// many are n virtual routers.
func many(n int, priority uint8, interval time.Duration) []Router {
	routers := make([]Router, n)
	for i := range routers {
		r := web(priority, interval)
		r.Name, r.VRID = fmt.Sprintf("r%d", i+1), uint8(i+1)
		r.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{198, 51, 100, uint8(i + 1)})}
		routers[i] = r
	}
	return routers
}

func TestManyRoutersTakeNoMoreGoroutinesOrSockets(t *testing.T) {
	goroutines := func(n int) (count, sockets, sends int) {
		synctest.Test(t, func(t *testing.T) {
			l := new(lan)
			a := l.join("a", "192.0.2.1")
			a.Set(many(n, 150, time.Second))
			a.start(t)
			time.Sleep(4 * time.Second)
			synctest.Wait()
			for _, s := range a.Status() {
				if s.State != vrrp.StateMaster {
					t.Errorf("%s is %v", s.Config.Name, s.State)
				}
			}
			count, sockets, sends = runtime.NumGoroutine(), len(a.sockets), a.sends
		})
		return count, sockets, sends
	}
	g1, s1, w1 := goroutines(1)
	g255, s255, w255 := goroutines(255)
	if g1 != g255 || s1 != 1 || s255 != 1 || w1 != w255 {
		t.Errorf("goroutines %d and %d, sockets %d and %d, send calls %d and %d", g1, g255, s1, s255, w1, w255)
	}
}

func TestUnicast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(lan)
		a, b, c := l.join("a", "192.0.2.1"), l.join("b", "192.0.2.2"), l.join("c", "192.0.2.3")
		a.Set([]Router{toPeers(web(150, time.Second), "192.0.2.2", "192.0.2.3")})
		b.Set([]Router{toPeers(web(100, time.Second), "192.0.2.1")})
		c.Set([]Router{web(50, time.Second)}) // multicast
		for _, h := range l.hosts {
			h.start(t)
		}
		time.Sleep(5 * time.Second)
		a.expect(t, vrrp.StateMaster, vrrp.ReasonMasterDown)
		if s := b.expect(t, vrrp.StateBackup, vrrp.ReasonStartup); !s.Unicast {
			t.Error("status does not say unicast")
		}
		if s := c.expect(t, vrrp.StateMaster, vrrp.ReasonMasterDown); s.Counters.Drops[vrrp.DropDestination] == 0 {
			t.Errorf("counters %+v", s.Counters)
		}
		if a.sockets[0].multicast || !c.sockets[0].multicast {
			t.Error("group joined without need, or not joined")
		}
		for _, p := range l.packets("a", 0) {
			if p.dst == group4 {
				t.Fatal("multicast from a unicast router")
			}
		}
		if s := a.one(t); s.Counters.Sent != uint64(len(l.packets("a", 0))) {
			t.Errorf("%d sent, %d on the lan", s.Counters.Sent, len(l.packets("a", 0)))
		}
	})
}

func toPeers(r Router, peers ...string) Router {
	for _, p := range peers {
		r.UnicastPeers = append(r.UnicastPeers, addr(p))
	}
	return r
}

func TestScreen(t *testing.T) {
	const interval = time.Second
	multicast, unicast := web(100, interval), toPeers(web(100, interval), "192.0.2.2")
	far := unicast
	far.PeerTTL = 254
	me, peer, stranger := addr("192.0.2.1"), addr("192.0.2.2"), addr("192.0.2.3")
	plain := func(src, dst netip.Addr) []byte { return advertisement(t, multicast, 150, src, dst) }
	corrupt := plain(peer, group4)
	corrupt[2]++
	tests := []struct {
		name string
		set  Router
		in   packet
		want vrrp.Drop
	}{
		{"multicast", multicast, packet{src: peer, dst: group4, ttl: 255, message: plain(peer, group4)}, vrrp.DropNone},
		{"TTL 254", multicast, packet{src: peer, dst: group4, ttl: 254, message: plain(peer, group4)}, vrrp.DropTTL},
		{"unicast to a multicast router", multicast, packet{src: peer, dst: me, ttl: 255, message: plain(peer, me)}, vrrp.DropDestination},
		{"checksum", multicast, packet{src: peer, dst: group4, ttl: 255, message: corrupt}, vrrp.DropChecksum},
		{"short", multicast, packet{src: peer, dst: group4, ttl: 255, message: plain(peer, group4)[:7]}, vrrp.DropShort},
		{"our own", multicast, packet{src: me, dst: group4, ttl: 255, message: plain(me, group4)}, vrrp.DropOwnAddress},
		{"unicast", unicast, packet{src: peer, dst: me, ttl: 255, message: plain(peer, me)}, vrrp.DropNone},
		{"unicast with TTL 254", unicast, packet{src: peer, dst: me, ttl: 254, message: plain(peer, me)}, vrrp.DropTTL},
		{"unicast with the TTL of peer_ttl", far, packet{src: peer, dst: me, ttl: 254, message: plain(peer, me)}, vrrp.DropNone},
		{"unicast with a TTL below peer_ttl", far, packet{src: peer, dst: me, ttl: 253, message: plain(peer, me)}, vrrp.DropTTL},
		{"unicast from a stranger", unicast, packet{src: stranger, dst: me, ttl: 255, message: plain(stranger, me)}, vrrp.DropPeer},
		{"multicast to a unicast router", unicast, packet{src: peer, dst: group4, ttl: 255, message: plain(peer, group4)}, vrrp.DropDestination},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := new(lan)
				a := l.join("a", me.String())
				a.Set([]Router{tt.set})
				a.start(t)
				a.with(func() {
					c := a.sockets[0]
					c.queue = append(c.queue, tt.in, packet{}, packet{message: []byte{0x31, 99}}, packet{message: []byte{0x31}})
					c.nudge()
				})
				synctest.Wait()
				s := a.one(t)
				var want Counters
				want.Received, want.Transitions = 1, 1
				var last LastDrop
				if tt.want != vrrp.DropNone {
					want.Drops[tt.want] = 1
					last = LastDrop{Drop: tt.want, Source: tt.in.src, At: time.Now()}
				}
				if s.Counters != want || s.LastDrop != last {
					t.Errorf("got %+v %+v\nwant %+v %+v", s.Counters, s.LastDrop, want, last)
				}
				if heard := s.Master.IsValid(); heard != (tt.want == vrrp.DropNone) {
					t.Errorf("master %v", s.Master)
				}
				warned := 0
				if tt.want != vrrp.DropNone {
					warned = 1
				}
				if n := a.logs.count("level=WARN"); n != warned {
					t.Errorf("%d warnings, want %d:\n%s", n, warned, a.logs)
				}
			})
		})
	}
}

func TestPrimary(t *testing.T) {
	prefixes := func(s ...string) (out []netip.Prefix) {
		for _, p := range s {
			out = append(out, netip.MustParsePrefix(p))
		}
		return out
	}
	virtual := map[netip.Addr]bool{addr("192.0.2.200"): true, addr("fe80::200"): true}
	from := func(s string) Router { r := web(100, 1); r.Source = addr(s); return r }
	tests := []struct {
		name  string
		r     Router
		f     family
		addrs []netip.Prefix
		want  string
	}{
		{"first", web(100, 1), inet, prefixes("192.0.2.1/24", "192.0.2.2/24"), "192.0.2.1"},
		{"IPv6 before", web(100, 1), inet, prefixes("fe80::1/64", "192.0.2.1/24"), "192.0.2.1"},
		{"virtual address first", web(100, 1), inet, prefixes("192.0.2.200/24", "192.0.2.1/24"), "192.0.2.1"},
		{"only the virtual address", web(100, 1), inet, prefixes("192.0.2.200/32"), ""},
		{"owner", web(255, 1), inet, prefixes("192.0.2.200/24", "192.0.2.1/24"), "192.0.2.200"},
		{"source", from("192.0.2.2"), inet, prefixes("192.0.2.1/24", "192.0.2.2/24"), "192.0.2.2"},
		{"source that is not there", from("192.0.2.9"), inet, prefixes("192.0.2.1/24"), ""},
		{"IPv6", web(100, 1), inet6, prefixes("192.0.2.1/24", "2001:db8::1/64", "fe80::1/64", "fe80::2/64"), "fe80::1"},
		{"IPv6 without a link-local address", web(100, 1), inet6, prefixes("2001:db8::1/64", "192.0.2.1/24"), ""},
		{"IPv6 with the virtual link-local address first", web(100, 1), inet6, prefixes("fe80::200/64", "fe80::1/64"), "fe80::1"},
		{"IPv6 owner", web(255, 1), inet6, prefixes("fe80::200/64", "fe80::1/64"), "fe80::200"},
		{"IPv6 source", from("fe80::2"), inet6, prefixes("fe80::1/64", "fe80::2/64"), "fe80::2"},
		{"IPv6 source that is not link-local", from("2001:db8::1"), inet6, prefixes("fe80::1/64", "2001:db8::1/64"), "2001:db8::1"},
		{"none", web(100, 1), inet, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := primary(tt.r, tt.f, tt.addrs, virtual)
			if want, _ := netip.ParseAddr(tt.want); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestTraceReplays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t, time.Second)
		a.with(func() { a.cut = true })
		time.Sleep(4 * time.Second)
		synctest.Wait()
		for _, h := range []*host{a, b} {
			trace, err := vrrp.ParseTrace([]byte(h.Trace("web")))
			if err != nil {
				t.Fatalf("%v in\n%s", err, h.Trace("web"))
			}
			if len(trace.Entries) < 4 {
				t.Errorf("%d steps", len(trace.Entries))
			}
			if diff := cmp.Diff(trace.Entries, trace.Replay().Entries, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("%s: -recorded +replayed\n%s", h.name, diff)
			}
		}
		if a.Trace("mail") != "" {
			t.Error("a trace of nobody")
		}
	})
}
