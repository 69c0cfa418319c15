package oracle

import (
	"math/bits"
	"net/netip"
)

// Kernel is what the kernel was built and set with, as far as it matters here.
// The zero value has the defaults of Linux 6.1, but for ReuseMode.
type Kernel struct {
	SHBits  int // CONFIG_IP_VS_SH_TAB_BITS; 0: 8
	MHIndex int // CONFIG_IP_VS_MH_TAB_INDEX; 0: 12

	ExpireQuiescent bool // net.ipv4.vs.expire_quiescent_template
	ExpireNodest    bool // net.ipv4.vs.expire_nodest_conn
	ReuseMode       int  // net.ipv4.vs.conn_reuse_mode; the kernel's default is 1
}

const (
	defaultSHBits  = 8
	defaultMHIndex = 12
	dhBits         = 8 // no option
)

// mhPrimes are the sizes of an mh table, by index from 8 on.
var mhPrimes = [...]int{251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131071}

// bound fills in defaults, and replaces what no kernel has.
func (k Kernel) bound() Kernel {
	if k.SHBits < 4 || k.SHBits > 20 {
		k.SHBits = defaultSHBits
	}
	if k.MHIndex < 8 || k.MHIndex >= 8+len(mhPrimes) {
		k.MHIndex = defaultMHIndex
	}
	return k
}

// lookup is the table of a hashing scheduler, filled.
type lookup struct {
	buckets  []int32 // which server; empty without servers
	index    func(port uint16, offset uint32) uint32
	fallback bool
	usesPort bool
	sums     bool       // index depends on the sum of port and offset only
	address  netip.Addr // that is hashed
}

// pick returns the server that the kernel chooses for a client's port, or -1,
// with the first bucket it looks in and the server there.
func (l lookup) pick(servers []server, port uint16) (chosen int, bucket uint32, first int) {
	if len(l.buckets) == 0 {
		return -1, 0, -1
	}
	if !l.usesPort {
		port = 0
	}
	bucket = l.index(port, 0)
	first = int(l.buckets[bucket])
	if servers[first].available() {
		return first, bucket, first
	}
	if l.fallback {
		n := uint32(len(l.buckets))
		for i := range n {
			s := int(l.buckets[l.index(port, (i+bucket)%n)])
			if servers[s].available() {
				return s, bucket, first
			}
		}
	}
	return -1, bucket, first
}

// share returns how many buckets each server has.
func (l lookup) share(servers int) []int {
	n := make([]int, servers)
	for _, s := range l.buckets {
		n[s]++
	}
	return n
}

// newSH fills the table of sh: the servers in turn, each as often in a row as
// its weight says, and once for weight 0.
func newSH(q *Question, servers []server) lookup {
	width := uint(q.Kernel.SHBits)
	size := uint32(1) << width
	l := lookup{
		fallback: q.Service.Flags&flagFallback != 0, usesPort: q.Service.Flags&flagPort != 0, address: q.Client.Addr(),
	}
	key := fold(q.Client.Addr(), q.is6())
	l.index = func(port uint16, offset uint32) uint32 {
		return (offset + hash32(key+uint32(port), width)) & (size - 1)
	}
	if len(servers) == 0 {
		return l
	}
	l.buckets = make([]int32, size)
	at, times := 0, int32(0)
	for i := range l.buckets {
		l.buckets[i] = int32(at)
		if times++; times >= servers[at].Weight {
			at, times = (at+1)%len(servers), 0
		}
	}
	return l
}

// newDH fills the table of dh: the servers in turn, whatever their weights. It
// is looked up by the address that the packet goes to.
func newDH(q *Question, servers []server) lookup {
	key := fold(q.To.Addr(), q.is6())
	l := lookup{address: q.To.Addr()}
	l.index = func(uint16, uint32) uint32 { return hash32(key, dhBits) }
	if len(servers) == 0 {
		return l
	}
	l.buckets = make([]int32, 1<<dhBits)
	for i := range l.buckets {
		l.buckets[i] = int32(i % len(servers))
	}
	return l
}

// newMH fills the table of mh, after Maglev (Eisenbud and others, NSDI 2016,
// section 3.4): in turn each server takes the next free bucket of its own
// permutation of all buckets, as many at a turn as its weight says. The weights
// are the last ones above zero, so that a server at weight 0 keeps its place.
func newMH(q *Question, servers []server) lookup {
	size := uint32(mhPrimes[q.Kernel.MHIndex-8])
	l := lookup{
		fallback: q.Service.Flags&flagFallback != 0, usesPort: q.Service.Flags&flagPort != 0, address: q.Client.Addr(),
		sums: true,
	}
	key := fold(q.Client.Addr(), q.is6())
	l.index = func(port uint16, offset uint32) uint32 {
		return hsiphash(key+uint32(port)+offset, mhKey1, mhKey1) % size
	}
	turns := mhTurns(q, servers)
	if turns == nil || len(servers) > int(size) {
		return l // the kernel refuses more servers than buckets
	}

	type walk struct{ at, skip uint32 }
	walks := make([]walk, len(servers))
	for i, s := range servers {
		v := fold(s.Address, q.is6()) + uint32(s.Port)
		walks[i] = walk{at: hsiphash(v, mhKey1, mhKey1) % size, skip: hsiphash(v, mhKey2, mhKey2)%(size-1) + 1}
	}
	l.buckets = make([]int32, size)
	for i := range l.buckets {
		l.buckets[i] = -1
	}
	for filled := uint32(0); ; {
		for i := range servers {
			for range turns[i] {
				w := &walks[i]
				for l.buckets[w.at] >= 0 {
					w.at = (w.at + w.skip) % size
				}
				l.buckets[w.at] = int32(i)
				if filled++; filled == size {
					return l
				}
			}
		}
	}
}

// mhTurns returns how many buckets each server takes at a turn: its weight by
// the greatest common divisor of all, cut down if that is large for the table.
// It is nil if all weights are zero.
func mhTurns(q *Question, servers []server) []int32 {
	var divisor, greatest int32
	for _, s := range servers {
		if s.last > 0 {
			divisor = gcd(s.last, divisor)
			greatest = max(greatest, s.last)
		}
	}
	if divisor == 0 {
		return nil
	}
	shift := max(0, bits.Len32(uint32(greatest/divisor))-q.Kernel.MHIndex/2)
	turns := make([]int32, len(servers))
	for i, s := range servers {
		if s.last > 0 {
			turns[i] = max(1, s.last/divisor>>shift)
		}
	}
	return turns
}

func gcd(a, b int32) int32 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
