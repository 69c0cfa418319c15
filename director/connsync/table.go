package connsync

import (
	"math"
	"net/netip"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// Omission says why a connection is not sent to a peer. omitNone: it is.
type Omission uint8

// The omissions.
const (
	omitNone      Omission = iota
	OmitPassing            // in a state that the kernels do not synchronise: it is over before it could matter
	OmitProbe              // our own
	OmitService            // of no service that there is
	OmitServer             // of a server that is gone, in a service with several forwarding methods
	OmitFamily             // of a server of the other address family, which the protocol cannot say
	OmitEngine             // with data of a persistence engine that do not fit
	OmitElsewhere          // of an address that another director serves
	numOmissions  = iota
)

var omissionNames = [numOmissions]string{"none", "passing", "probe", "no-service", "no-server", "other-family", "engine", "elsewhere"}

// String returns the omission as one word.
func (o Omission) String() string { return omissionNames[o] }

// table knows the forwarding method of connections, which the kernel's listing of
// them does not tell.
type table struct {
	services map[genl.ServiceID]*members
	marks    map[uint16][]*members // by family, to be searched by server
	timeouts genl.Timeouts

	elsewhere func(virtual netip.Addr) bool // another director serves it; nil: none does
}

// members are the servers of one service.
type members struct {
	mark    uint32
	methods map[netip.AddrPort]uint32
	common  uint32 // the method of all of them, mixed or none
}

const (
	mixed = math.MaxUint32
	none  = mixed - 1 // there are no servers
)

func newTable(t genl.Timeouts) *table {
	return &table{services: map[genl.ServiceID]*members{}, marks: map[uint16][]*members{}, timeouts: t}
}

// add adds servers to a service. What is added later counts more: the kernel's
// own table comes after what is configured, which is more than the table holds
// while servers are down.
func (t *table) add(s *genl.Service, dests []genl.Destination) {
	m := t.services[s.ServiceID]
	if m == nil {
		m = &members{mark: s.FWMark, methods: make(map[netip.AddrPort]uint32, len(dests)), common: none}
		t.services[s.ServiceID] = m
		if s.FWMark != 0 {
			t.marks[s.Family] = append(t.marks[s.Family], m)
		}
	}
	for _, d := range dests {
		m.methods[netip.AddrPortFrom(d.Address, d.Port)] = d.Method
		if m.common == none {
			m.common = d.Method
		} else if m.common != d.Method {
			m.common = mixed
		}
	}
}

// method returns how packets get to a server. A server of a persistent service
// for all ports has port 0.
func (m *members) method(server netip.AddrPort) (uint32, bool) {
	method, ok := m.methods[server]
	if !ok {
		method, ok = m.methods[netip.AddrPortFrom(server.Addr(), 0)]
	}
	return method, ok
}

// find returns the service of a connection.
func (t *table) find(e *Entry) *members {
	family := familyOf(e.Virtual.Addr())
	if e.Protocol == protoNone {
		return t.services[genl.ServiceID{Family: family, FWMark: markOf(e)}]
	}
	id := genl.ServiceID{Family: family, Protocol: uint16(e.Protocol), Address: e.Virtual.Addr(), Port: e.Virtual.Port()}
	if m := t.services[id]; m != nil {
		return m
	}
	id.Port = 0
	if m := t.services[id]; m != nil {
		return m
	}
	// The mark of its packets is not listed, so it is told by its server. The one
	// with the server decides; which of several, nobody can know.
	for _, m := range t.marks[family] {
		if _, ok := m.method(e.Server); ok {
			return m
		}
	}
	return nil
}

const (
	familyV4 = 2  // AF_INET
	familyV6 = 10 // AF_INET6
)

func familyOf(a netip.Addr) uint16 {
	if a.Is4() {
		return familyV4
	}
	return familyV6
}

// record returns what a peer is told of e, or why it is not.
func (t *table) record(e *Entry) (Record, Omission) {
	switch {
	case e.Virtual == ProbeService && e.Protocol == protoUDP:
		return Record{}, OmitProbe
	case e.Client.Addr().Is4() != e.Server.Addr().Is4() || e.Client.Addr().Is4() != e.Virtual.Addr().Is4():
		return Record{}, OmitFamily
	case t.elsewhere != nil && e.Protocol != protoNone && t.elsewhere(e.Virtual.Addr()):
		return Record{}, OmitElsewhere
	case !stays(e):
		return Record{}, OmitPassing
	case len(e.Engine) > maxEngine || len(e.Data) > maxEngineData:
		return Record{}, OmitEngine
	}
	m := t.find(e)
	if m == nil {
		return Record{}, OmitService
	}
	method, ok := m.method(e.Server)
	if !ok {
		if m.common == mixed || m.common == none {
			return Record{}, OmitServer
		}
		method = m.common
	}
	flags := method & flagMethod
	if method != genl.Masquerade {
		flags |= flagNoOutput
	}
	if e.Template() {
		flags |= flagTemplate | flagInactive
	} else if !active(e) {
		flags |= flagInactive
	}
	return Record{
		Protocol: e.Protocol, Flags: flags, State: e.State, Client: e.Client, Virtual: e.Virtual, Server: e.Server,
		Mark: m.mark, Timeout: t.timeout(e), Engine: e.Engine, Data: e.Data,
	}, omitNone
}

// stays reports whether the kernels tell each other of a connection in this state.
func stays(e *Entry) bool {
	switch {
	case e.Template():
		return true
	case e.Protocol == protoTCP:
		return e.State == tcpEstablished || e.State >= tcpFinWait && e.State <= tcpCloseWait
	case e.Protocol == protoSCTP:
		return e.State >= sctpEstablished && e.State <= sctpShutdownAck || e.State == sctpClosed
	}
	return true
}

// active reports whether the kernel counts a connection among the active ones.
// UDP never is.
func active(e *Entry) bool {
	switch e.Protocol {
	case protoTCP:
		return e.State >= tcpEstablished && e.State <= tcpSynRecv || e.State == tcpSynAck
	case protoSCTP:
		return e.State == sctpEstablished
	}
	return false
}

// timeout returns how long the peer keeps the connection if it hears no more of
// it. For one that lives this is what the kernel itself would say, the timeout
// of its state: it goes on here, and an idle client must not be forgotten there
// while it is known here. All others end there when they end here.
func (t *table) timeout(e *Entry) uint32 {
	full := uint32(0)
	switch {
	case e.Template():
	case e.Protocol == protoTCP && e.State == tcpEstablished:
		full = t.timeouts.TCP
	case e.Protocol == protoUDP:
		full = t.timeouts.UDP
	case e.Protocol == protoSCTP && e.State == sctpEstablished:
		full = 15 * 60 // fixed in the kernel
	}
	// 0 would mean the kernel's default.
	return max(full, e.Expires, 1)
}
