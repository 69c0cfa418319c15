package speaker

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/vrrp"
)

// TestNetnsOnTheWire6 is TestNetnsOnTheWire for IPv6.
func TestNetnsOnTheWire6(t *testing.T) {
	t.Parallel()
	nodes := cable6(t)
	a, b := nodes[0], nodes[1]
	next := b.tap(t, etherTypeIPv6)
	a.start(t, web6(255, 100*time.Millisecond))
	f := next()
	src, dst := netip.AddrFrom16([16]byte(f[22:38])), netip.AddrFrom16([16]byte(f[38:54]))
	got := fmt.Sprintf("to % x, hop limit %d, class %#x, next header %d, %v > %v", f[:6], f[21], binary.BigEndian.Uint16(f[14:])>>4&0xff, f[20], src, dst)
	if want := "to 33 33 00 00 00 12, hop limit 255, class 0xc0, next header 112, fe80::1 > ff02::12"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	advert, drop := vrrp.Parse(f[frameHeader:], src, dst)
	if drop != vrrp.DropNone || advert.VRID != 51 || advert.Priority != 255 || advert.Addresses[0] != addr("fe80::200") {
		t.Errorf("%+v, drop %v", advert, drop)
	}

	// What is not ours stays in the kernel, what is wrong with ours is counted.
	c := b.dial(t, open6, false)
	say := func(r Router, hops int) {
		t.Helper()
		if err := unix.SetsockoptInt(c.(*raw).fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, hops); err != nil {
			t.Fatal(err)
		}
		send(t, c, packet{src: addr("fe80::2"), dst: group6, message: advertisement(t, r, 10, addr("fe80::2"), group6)})
	}
	foreign := web6(100, time.Second)
	foreign.VRID, foreign.Addresses = 52, foreign.Addresses[1:]
	say(foreign, 255)
	say(web6(100, time.Second), 254)
	say(web6(100, time.Second), 255)
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
	if s := a.Status()[0]; s.Counters.Drops != want || s.Counters.Received != 2 || s.LastDrop.Source != addr("fe80::2") {
		t.Errorf("%+v %+v", s.Counters, s.LastDrop)
	}
}
