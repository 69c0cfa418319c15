package speaker

import (
	"net/netip"
	"slices"
	"time"
)

// packet is a VRRP message and what its IP header says.
type packet struct {
	src, dst netip.Addr // unmapped, without zone
	ttl      uint8      // TTL or hop limit as received; sent is always 255
	// mac, unless it is zero, is the Ethernet source of a packet to be sent to the
	// multicast group. To any other destination it goes from the address of the
	// link, since only the kernel knows the way there.
	mac     [6]byte
	message []byte // empty if the IP header made no sense
}

// admission is what a socket receives.
type admission struct {
	ids vrids // the virtual routers
	// first are addresses that, as the first one of an advertisement of another
	// virtual router, have it received, too: they are ours.
	first     []netip.Addr
	multicast bool // member of the group
}

func (a admission) equal(b admission) bool {
	return a.ids == b.ids && a.multicast == b.multicast && slices.Equal(a.first, b.first)
}

// conn is a socket for VRRP on one link and of one address family. Only
// setReadDeadline may be called while another call is under way.
type conn interface {
	// group is the multicast address of the family.
	group() netip.Addr
	// admit restricts what is received, and joins or leaves the multicast group.
	admit(a admission) error
	// receive fills in ps from the start and returns how many. With wait it
	// blocks until there is one, or the read deadline has passed, which is
	// os.ErrDeadlineExceeded even if something is queued. Without wait it
	// returns what is queued, if anything, and clears the read deadline. The
	// messages are valid until the next call.
	receive(ps []packet, wait bool) (int, error)
	// send hands ps to the kernel in order, without waiting, and returns how many
	// it took; an error is about the one after them.
	send(ps []packet) (int, error)
	setReadDeadline(t time.Time) error
	Close() error
}

// vrids is a set of VRIDs: bit v%32 of word v/32.
type vrids [8]uint32

func (s vrids) has(v uint8) bool { return s[v/32]&(1<<(v%32)) != 0 }

func (s *vrids) add(v uint8) { s[v/32] |= 1 << (v % 32) }
