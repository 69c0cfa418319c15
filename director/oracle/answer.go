package oracle

import (
	"fmt"
	"net/netip"
	"slices"
)

// Verdict is the kind of an answer.
type Verdict string

// The verdicts.
const (
	Given   Verdict = "server"  // there is one server
	None    Verdict = "none"    // a packet would be given to no server
	Depends Verdict = "depends" // on what the question leaves open, or on the kernel's own memory
)

// What decides, besides a scheduler, which decides by its name.
const (
	ByConnection = "connection"
	ByTemplate   = "persistence"
)

// Answer is which server the client would be given, and why.
type Answer struct {
	Verdict Verdict        `json:"verdict"`
	Server  netip.AddrPort `json:"server,omitzero"`
	By      string         `json:"decided_by"` // ByConnection, ByTemplate or the scheduler's name
	// Certain says that nothing which the kernel does not tell could make it
	// another server, if Kernel is right.
	Certain     bool             `json:"certain"`
	Candidates  []netip.AddrPort `json:"candidates,omitempty"` // that may be given, if it depends
	Lookup      *Lookup          `json:"lookup,omitempty"`     // of sh, dh and mh
	IfZero      string           `json:"at_weight_zero,omitempty"`
	IfRemoved   string           `json:"if_removed,omitempty"`
	Reasons     []string         `json:"reasons"`
	Connections []Entry          `json:"connections,omitempty"`      // of the client at present, the first few
	Total       int              `json:"connection_count,omitempty"` // of all of them
}

// Lookup is how a hashing scheduler came to its server.
type Lookup struct {
	Address netip.Addr `json:"address"` // that was hashed
	Port    uint16     `json:"port,omitempty"`
	Bucket  uint32     `json:"bucket"`
	Buckets int        `json:"buckets"`
	Shares  []Share    `json:"shares"`
}

// Share is a server's part in a hashing scheduler's table.
type Share struct {
	Server  netip.AddrPort `json:"server,omitzero"` // none: without a server
	Weight  int32          `json:"weight"`
	Buckets int            `json:"buckets"`
	Ports   int            `json:"ports,omitempty"` // of the client's source ports, where they decide
}

// Ask answers the question from the table and from what Scan found.
func Ask(q Question, found Found) (Answer, error) {
	if err := q.complete(); err != nil {
		return Answer{}, err
	}
	a := &account{q: &q, found: found, servers: q.servers()}
	a.Certain = true
	a.Connections, a.Total = slices.Clone(found.Connections), found.Total
	if !a.connection() && !a.template() {
		a.scheduler()
	}
	a.client()
	if found.Partial && a.By != ByConnection && a.By != ByTemplate {
		a.Certain = false
		a.say("the connection table was not read to its end: an entry in it may decide otherwise")
	}
	return a.Answer, nil
}

// account is an Answer in the making.
type account struct {
	Answer
	q       *Question
	found   Found
	servers []server
}

func (a *account) say(format string, args ...any) {
	a.Reasons = append(a.Reasons, fmt.Sprintf(format, args...))
}

// connection lets an entry of the very connection decide.
func (a *account) connection() bool {
	e := a.found.Exact
	if e == nil || a.q.Client.Port() == 0 {
		return false
	}
	k := a.q.Kernel
	ended := e.Protocol == "TCP" && (e.State == "TIME_WAIT" || e.State == "CLOSE") || e.Protocol == "SCTP" && e.State == "CLOSED"
	if ended && k.ReuseMode != 0 && !a.q.persistent() {
		a.say("the last connection from %s went to %s and is in state %s: the next one is scheduled anew (conn_reuse_mode)", e.Client, e.Server, e.State)
		a.forget(*e)
		return false
	}
	i := a.q.find(e.Server)
	if i < 0 && k.ExpireNodest {
		a.say("the connection from %s went to %s, which is not in the table any more: its next packet ends it (expire_nodest_conn)", e.Client, e.Server)
		a.forget(*e)
		return false
	}
	a.By = ByConnection
	a.say("connection from %s is in the kernel's table (%s, %s left without traffic), and keeps its server", e.Client, e.State, e.Expires)
	if i < 0 {
		a.Verdict = None
		a.say("but its server %s is not in the table any more: the kernel drops its packets until the entry expires (expire_nodest_conn is off)", e.Server)
	} else {
		a.Verdict, a.Server = Given, e.Server
		if w := a.servers[i].Weight; w <= 0 {
			a.say("its server has weight 0, which concerns new connections only")
		}
	}
	a.say("a connection from another port would be given: %s", a.afresh(a.servers))
	return true
}

// forget takes an entry that does not count any more off the client's.
func (a *account) forget(e Entry) {
	a.Connections = slices.DeleteFunc(a.Connections, func(c Entry) bool { return c == e })
	a.Total--
}

// afresh is what a connection that is not in the table would be given.
func (a *account) afresh(servers []server) string {
	if i := a.valid(); i >= 0 {
		return a.servers[i].endpoint().String() + ", by persistence"
	}
	q := *a.q
	q.Client = netip.AddrPortFrom(q.Client.Addr(), 0)
	return q.choose(servers).text(servers)
}

// valid returns the server of a template that decides, or -1.
func (a *account) valid() int {
	t := a.found.Template
	if t == nil {
		return -1
	}
	i := a.q.find(t.Server)
	if i < 0 || a.q.Kernel.ExpireQuiescent && a.servers[i].Weight == 0 {
		return -1
	}
	return i
}

// template lets persistence decide.
func (a *account) template() bool {
	if !a.q.persistent() {
		return false
	}
	if a.q.Service.Engine != "" {
		a.Certain = false
		a.say("persistence engine %s goes by what is in the packet: a call that has a template stays with its server; what follows is for a new one", a.q.Service.Engine)
		return false
	}
	t := a.found.Template
	network := fmt.Sprintf("%s/%d", a.q.network(), a.q.prefix())
	if t == nil {
		a.say("no template of %s: the scheduler decides and makes one, for %d s", network, a.q.Service.Timeout)
		return false
	}
	i := a.valid()
	if i < 0 && a.q.find(t.Server) < 0 {
		a.say("the template of %s names %s, which is not in the table any more: the scheduler decides", network, t.Server)
		return false
	} else if i < 0 {
		a.say("the template of %s names %s, which has weight 0 (expire_quiescent_template is on): the scheduler decides", network, t.Server)
		return false
	}
	s := a.servers[i]
	a.Verdict, a.Server, a.By = Given, s.endpoint(), ByTemplate
	a.say("persistence: the template of %s names it, for %s more, and again %d s after the last of its connections", network, t.Expires, a.q.Service.Timeout)
	if s.Weight <= 0 {
		a.say("it has weight 0, but a template outlives that (expire_quiescent_template is off)")
	}
	a.say("without the template %s would give: %s", a.q.Service.Scheduler, a.q.choose(a.servers).text(a.servers))
	if a.IfZero = s.endpoint().String(); a.q.Kernel.ExpireQuiescent {
		a.IfZero = a.without(i, true)
	}
	a.IfRemoved = a.without(i, false)
	return true
}

// without is what the scheduler would give with a server at weight zero, or
// with it removed.
func (a *account) without(i int, zero bool) string {
	q := *a.q
	servers := slices.Clone(a.servers)
	if zero {
		servers[i].Weight = 0 // mh goes on with its last weight
	} else {
		servers = slices.Delete(servers, i, i+1)
	}
	return q.choose(servers).text(servers)
}

// client says what the client has now.
func (a *account) client() {
	if a.By == ByConnection {
		return
	}
	switch a.Total {
	case 0:
		a.say("%s has no connection to the service now", a.q.Client.Addr())
	case 1:
		a.say("%s has a connection to the service now, which keeps its server: %s", a.q.Client.Addr(), a.held())
	default:
		a.say("%s has %d connections to the service now, which keep their servers: %s", a.q.Client.Addr(), a.Total, a.held())
	}
}

// held lists the ports of the connections.
func (a *account) held() string {
	text := ""
	for i, e := range a.Connections {
		if i == 5 {
			return text + ", ..."
		}
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("port %d at %s (%s)", e.Client.Port(), e.Server, e.State)
	}
	return text
}
