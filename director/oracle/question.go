package oracle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// Question is who asks for which service, and the table that answers.
type Question struct {
	Service      genl.Service
	Destinations []genl.Destination // in the kernel's order, which decides
	Client       netip.AddrPort     // port 0: not known
	// To is where the packet goes. For a service with an address it may be left
	// out; where a service has many (fwmark, every port), the parts that are not
	// known are left zero.
	To     netip.AddrPort
	Kernel Kernel
	// LastWeights are the weights that servers of an mh service had before they
	// were set to 0 (0: they were made so), where the operator knows them.
	LastWeights map[netip.AddrPort]int32
	Usual       map[netip.AddrPort]int32 // weights to guess these from, such as those configured

	standard bool // the sizes of the scheduler's table are those of Linux by default
}

// The scheduler flags of sh and mh.
const (
	flagFallback = genl.FlagSched1
	flagPort     = genl.FlagSched2
)

const ftp = 21 // a service on it has templates without ports

func (q *Question) is6() bool        { return q.Service.Family == unix.AF_INET6 }
func (q *Question) persistent() bool { return q.Service.Flags&genl.FlagPersistent != 0 }

// Check reports what is wrong with the question.
func (q Question) Check() error { return q.complete() }

// complete checks the question and fills in what follows from the service.
func (q *Question) complete() error {
	s := q.Service
	q.standard = s.Scheduler == "sh" && q.Kernel.SHBits == 0 || s.Scheduler == "mh" && q.Kernel.MHIndex == 0
	q.Kernel = q.Kernel.bound()
	c := q.Client.Addr().Unmap().WithZone("")
	q.Client = netip.AddrPortFrom(c, q.Client.Port())
	if !c.IsValid() {
		return errors.New("no client address")
	}
	if c.Is6() != q.is6() {
		return fmt.Errorf("client %s cannot ask for %s, which is of the other address family", c, Name(s.ServiceID))
	}
	if s.FWMark == 0 {
		to := q.To
		q.To = netip.AddrPortFrom(s.Address, s.Port)
		if to.Addr().IsValid() && to.Addr() != s.Address || s.Port != 0 && to.Port() != 0 && to.Port() != s.Port {
			return fmt.Errorf("packets to %s are not those of %s", to, Name(s.ServiceID))
		}
		if s.Port == 0 {
			q.To = netip.AddrPortFrom(s.Address, to.Port())
		}
	}
	if a := q.To.Addr(); a.IsValid() && a.Is6() != q.is6() {
		return fmt.Errorf("destination %s is of another address family than the client %s", a, c)
	}
	return nil
}

// prefix returns the length of the network that a template is for.
func (q *Question) prefix() int {
	if q.is6() {
		if n := q.Service.Netmask; n <= 128 {
			return int(n)
		}
		return 128
	}
	return bits.OnesCount32(q.Service.Netmask)
}

// network is the client's address as templates have it.
func (q *Question) network() netip.Addr {
	a := q.Client.Addr().Unmap()
	if !q.persistent() {
		return a
	}
	if !q.is6() && a.Is4() {
		b := a.As4()
		var masked [4]byte
		binary.BigEndian.PutUint32(masked[:], binary.BigEndian.Uint32(b[:])&q.Service.Netmask)
		return netip.AddrFrom4(masked)
	}
	p, err := a.Prefix(q.prefix())
	if err != nil {
		return a
	}
	return p.Addr()
}

// templateAt returns what a template of the service has for protocol, address
// and port.
func (q *Question) templateAt() (protocol string, at netip.AddrPort) {
	s := q.Service
	if s.FWMark != 0 {
		var b [16]byte
		binary.BigEndian.PutUint32(b[:], s.FWMark)
		if q.is6() {
			return "IP", netip.AddrPortFrom(netip.AddrFrom16(b), 0)
		}
		return "IP", netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), 0)
	}
	port := s.Port
	if port == ftp {
		port = 0
	}
	return protocolName(s.Protocol), netip.AddrPortFrom(s.Address, port)
}

func (q *Question) ownsTemplate(e Entry) bool {
	protocol, at := q.templateAt()
	return q.persistent() && e.Protocol == protocol && e.Virtual == at &&
		e.Client.Addr() == q.network() && e.Engine == q.Service.Engine
}

// ownsConnection reports whether e is a connection of the client's address to
// the service; for a fwmark, to one of its servers.
func (q *Question) ownsConnection(e Entry) bool {
	if e.Client.Addr() != q.Client.Addr() {
		return false
	}
	if to := q.To.Addr(); to.IsValid() && e.Virtual.Addr() != to {
		return false
	}
	if to := q.To.Port(); to != 0 && e.Virtual.Port() != to {
		return false
	}
	if q.Service.FWMark == 0 {
		return e.Protocol == protocolName(q.Service.Protocol)
	}
	return q.find(e.Server) >= 0
}

// find returns the server that an entry names, or -1. Where the service has
// every port, an entry has the port that the client asked for.
func (q *Question) find(at netip.AddrPort) int {
	for i, d := range q.Destinations {
		if d.Address == at.Addr() && (d.Port == at.Port() || d.Port == 0 || q.Service.Port == 0 || at.Port() == 0) {
			return i
		}
	}
	return -1
}

// server is a real server while the question is being answered.
type server struct {
	genl.Destination
	last       int32 // weight above 0 that it had last
	overloaded bool
	doubtful   bool // overloaded or not is the kernel's secret
	guessed    bool // last is
}

func (s server) available() bool          { return s.Weight > 0 && !s.overloaded }
func (s server) endpoint() netip.AddrPort { return netip.AddrPortFrom(s.Address, s.Port) }

// servers takes from the table what schedulers go by.
func (q *Question) servers() []server {
	list := make([]server, len(q.Destinations))
	for i, d := range q.Destinations {
		s := server{Destination: d, last: d.Weight}
		if total := uint64(d.Active) + uint64(d.Inactive); d.Upper > 0 {
			// A connection that reaches Upper sets the mark, and falling below Lower
			// clears it; without one, falling below three quarters. So the mark is
			// not there yet where Upper was set below the connections that were.
			clear := total < uint64(d.Lower)
			if d.Lower == 0 {
				clear = total*4 < uint64(d.Upper)*3
			}
			s.overloaded = total >= uint64(d.Upper)
			s.doubtful = s.overloaded || !clear
		}
		list[i] = s
	}
	for i := range list {
		if s := &list[i]; s.Weight <= 0 && q.Service.Scheduler == "mh" {
			known, ok := q.LastWeights[s.endpoint()]
			s.guessed = !ok
			if s.last = max(0, known); !ok {
				if s.last = q.Usual[s.endpoint()]; s.last <= 0 {
					s.last = usualWeight(q.Destinations)
				}
			}
		}
	}
	return list
}

// usualWeight is the guess at a weight that nobody knows: that of the others.
func usualWeight(list []genl.Destination) int32 {
	times := map[int32]int{}
	best := int32(1)
	for _, d := range list {
		if d.Weight > 0 {
			if times[d.Weight]++; times[d.Weight] > times[best] {
				best = d.Weight
			}
		}
	}
	return best
}

func protocolName(p uint16) string {
	switch p {
	case unix.IPPROTO_TCP:
		return "TCP"
	case unix.IPPROTO_UDP:
		return "UDP"
	case unix.IPPROTO_SCTP:
		return "SCTP"
	}
	return fmt.Sprint(p)
}
