package vrrp

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What the tests of the RFCs' packets have in common. Checksums are computed here
// once more, from RFC 1071 and the pseudo headers as they are drawn, so that no test
// asks the code it is about.

// sum1071 is the checksum of RFC 1071 over the parts in a row, each of which has an
// even number of bytes.
func sum1071(parts ...[]byte) uint16 {
	var sum uint64
	for _, p := range parts {
		for ; len(p) >= 2; p = p[2:] {
			sum += uint64(binary.BigEndian.Uint16(p))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// pseudo6 is the pseudo header of RFC 8200 section 8.1 for n bytes of VRRP, pseudo4
// that of RFC 9293 section 3.1, with which RFC 5798 section 5.2.8 has VRRP over IPv4
// computed.
func pseudo6(src, dst netip.Addr, n int) []byte {
	s, d := src.As16(), dst.As16()
	b := append(s[:], d[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	return append(b, 0, 0, 0, 112)
}

func pseudo4(src, dst netip.Addr, n int) []byte {
	s, d := src.As4(), dst.As4()
	b := append(s[:], d[:]...)
	return append(b, 0, 112, byte(n>>8), byte(n))
}

// seal writes the checksum of the message b from src to dst into it.
func seal(b []byte, src, dst netip.Addr) []byte {
	b[6], b[7] = 0, 0
	sum := sum1071(b)
	switch {
	case b[0]>>4 != 3:
	case src.Is4():
		sum = sum1071(pseudo4(src, dst, len(b)), b)
	default:
		sum = sum1071(pseudo6(src, dst, len(b)), b)
	}
	binary.BigEndian.PutUint16(b[6:], sum)
	return b
}

// vip6 is the link-local address of the virtual router over IPv6, own6 and higher6
// are as own and higher.
var (
	vip6    = netip.MustParseAddr("fe80::200")
	own6    = netip.MustParseAddr("fe80::9")
	higher6 = netip.MustParseAddr("fe80::10")
)

func overIPv6(c *Config) {
	c.Primary, c.Addresses = own6, []netip.Addr{vip6, netip.MustParseAddr("fd00::200")}
}

// message3 is a message of version 3, VRID 51, priority 200 and 1s, by hand.
func message3(addresses ...netip.Addr) []byte {
	b := []byte{0x31, 51, 200, byte(len(addresses)), 0, 100, 0, 0}
	for _, a := range addresses {
		b = append(b, a.AsSlice()...)
	}
	return b
}

// deliver hands a packet to r as whoever reads the socket does.
func deliver(r *Router, now time.Time, b []byte, src, dst netip.Addr) Output {
	a, drop := Parse(b, src, dst)
	if drop != DropNone {
		return Output{Drop: drop}
	}
	return r.Step(now, Received{Src: src, Advert: a})
}

// discards delivers b to a backup and to a master that c describes: nothing may
// come of it.
func discards(t *testing.T, c Config, b []byte, src, dst netip.Addr, want Drop) {
	t.Helper()
	for _, steps := range [][]step{asBackup(), asMaster()} {
		r := run(t, c, steps)
		before, deadline := r.Status(), r.Deadline()
		at := t0.Add(steps[len(steps)-1].at + 500*ms)
		if diff := cmp.Diff(nothing.dropping(want), deliver(r, at, b, src, dst)); diff != "" {
			t.Errorf("%v (-want +got)\n%s", before.State, diff)
		}
		if r.Status() != before || !r.Deadline().Equal(deadline) {
			t.Errorf("%v: now %+v until %v, was %+v until %v", before.State, r.Status(), r.Deadline(), before, deadline)
		}
	}
}

// accepted delivers b, which is of a better router, to a backup and to a master that
// c describes: one follows it, the other gives way.
func accepted(t *testing.T, c Config, b []byte, src, dst netip.Addr) {
	t.Helper()
	r := run(t, c, asBackup())
	if got := deliver(r, t0.Add(time.Second), b, src, dst); got != nothing || r.Status().Master != src {
		t.Errorf("a backup: %+v, master %v", got, r.Status().Master)
	}
	r = run(t, c, asMaster())
	if got := deliver(r, t0.Add(4*time.Second), b, src, dst); got != transition(StateMaster, StateBackup, ReasonHigherPriority) {
		t.Errorf("a master: %+v", got)
	}
}

// wire encodes what the router of c advertises at a priority.
func wire(t *testing.T, c Config, priority uint8, dst netip.Addr) []byte {
	t.Helper()
	b, err := New(c).Advertisement(priority).Append(nil, c.Primary, dst)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
