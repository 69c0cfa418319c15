package oracle_test

import (
	"net/netip"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// row is a service, the way to its present state, and what must come out of it.
type row struct {
	name    string
	sched   string
	flags   uint32
	six     bool
	mark    uint32
	weights []int32 // of the servers, in the order of their making
	again   bool    // two servers are removed and made again, which changes the order
	upper   uint32  // threshold of the first server
	foreign bool    // servers of IPv6 behind a service of IPv4
	mask    uint32
	nets    int           // networks that the clients are of
	many    bool          // destinations
	step    bool          // the oracle looks at the kernel before each packet
	none    bool          // some clients are given no server
	last    map[int]int32 // weights that are known of servers that have 0: those are set to 0 that were made with more
}

func (r row) server(i int) genl.Destination {
	d := genl.Destination{
		Address: netip.AddrFrom4([4]byte{10, 60, byte(i >> 8), byte(101 + i)}), Port: uint16(8000 + i), Method: genl.Masquerade,
		Weight: r.weights[i],
	}
	if r.six || r.foreign {
		a := netip.MustParseAddr("2001:db8:60::").As16()
		a[13], a[15] = byte(i*37), byte(1+i)
		d.Address = netip.AddrFrom16(a)
	}
	if r.foreign {
		d.Method, d.Port = genl.Tunnelled, 53
	}
	if r.mark != 0 {
		d.Port = 0
	}
	if i == 0 {
		d.Upper = r.upper
	}
	return d
}

// set gives a server another weight, as a drain does.
func (r row) set(b *bench, i int, weight int32) {
	d := r.server(i)
	d.Weight = weight
	b.do(genl.Message{Op: genl.SetDest, Service: genl.Service{ServiceID: b.id}, Dest: d})
}

func rows() []row {
	weights := []int32{3, 1, 7, 2, 5}
	zero := []int32{3, 0, 7, 2, 0}
	list := []row{
		{name: "sh", sched: "sh", weights: weights},
		{name: "sh weights above the table", sched: "sh", weights: []int32{200, 100, 50, 10}},
		{name: "sh many", sched: "sh", weights: equal(100, 1)},
		{name: "sh-port", sched: "sh", flags: withPort, weights: weights},
		{name: "sh zero", sched: "sh", weights: zero, none: true},
		{name: "sh-fallback zero", sched: "sh", flags: fallback, weights: zero},
		{name: "sh-port and fallback zero", sched: "sh", flags: withPort | fallback, weights: []int32{0, 0, 0, 4, 0}},
		{name: "sh nothing", sched: "sh", flags: fallback, weights: []int32{0, 0}, none: true},
		{name: "sh overloaded", sched: "sh", flags: fallback, weights: weights, upper: 40, step: true},
		{name: "sh mark", sched: "sh", mark: 10, weights: weights},
		{name: "dh", sched: "dh", weights: weights},
		{name: "dh mark", sched: "dh", mark: 11, weights: zero, many: true, none: true},
		{name: "mh", sched: "mh", weights: weights},
		{name: "mh large weights", sched: "mh", weights: []int32{65535, 1, 4096, 30000}},
		{name: "mh many", sched: "mh", weights: equal(100, 10)},
		{name: "mh-port", sched: "mh", flags: withPort, weights: weights},
		{name: "mh made with zero", sched: "mh", weights: zero, last: map[int]int32{1: 0, 4: 0}},
		{name: "mh-fallback made with zero", sched: "mh", flags: fallback, weights: zero, last: map[int]int32{1: 0, 4: 0}},
		{name: "sh foreign", sched: "sh", foreign: true, weights: weights},
		{name: "mh foreign", sched: "mh", foreign: true, weights: weights},
		{name: "mh drained", sched: "mh", weights: weights, last: map[int]int32{2: 7}, none: true},
		{name: "mh-fallback drained", sched: "mh", flags: fallback, weights: weights, last: map[int]int32{2: 7}},
		{name: "mh-port and fallback drained", sched: "mh", flags: fallback | withPort, weights: weights, last: map[int]int32{2: 7}},
		{name: "sh made again", sched: "sh", weights: weights, again: true},
		{name: "mh made again", sched: "mh", weights: weights, again: true},
		{name: "sh persistent", sched: "sh", flags: persist, mask: 24, nets: 40, weights: weights, step: true},
		{name: "mh persistent drained", sched: "mh", flags: persist | fallback, mask: 24, nets: 90, weights: weights, step: true, last: map[int]int32{2: 7}},
		{name: "rr persistent", sched: "rr", flags: persist, mask: 24, nets: 40, weights: weights, step: true},
		{name: "wlc persistent mark", sched: "wlc", flags: persist, mark: 12, mask: 24, nets: 40, weights: weights, step: true},
		{name: "lc", sched: "lc", weights: zero, step: true},
		{name: "wlc", sched: "wlc", weights: weights, step: true},
		{name: "sed", sched: "sed", weights: weights, step: true},
		{name: "nq", sched: "nq", weights: weights, step: true},
		{name: "fo", sched: "fo", weights: []int32{3, 9, 9, 0}, upper: 50, step: true},
		{name: "ovf", sched: "ovf", weights: []int32{9, 9, 3}, upper: 50, step: true},
	}
	for _, r := range list {
		if !r.foreign {
			r.name, r.six = r.name+" ipv6", true
			if r.mask != 0 {
				r.mask = 64
			}
			list = append(list, r)
		}
	}
	return list
}

func equal(n int, weight int32) []int32 {
	list := make([]int32, n)
	for i := range list {
		list[i] = weight
	}
	return list
}
