package vrrptest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/understudy-ha/understudy/vrrp"
)

// Elector is what a LAN needs of a *vrrp.Router. A test puts a broken one in its
// place to see the breakage found.
type Elector interface {
	Step(now time.Time, ev vrrp.Event) vrrp.Output
	Deadline() time.Time
	Status() vrrp.Status
	Advertisement(priority uint8) vrrp.Advertisement
}

// Group is where the routers of a LAN send their advertisements.
var Group = netip.AddrFrom4([4]byte{224, 0, 0, 18})

// origin is when every virtual clock begins. The date has no meaning.
var origin = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// The speaker reads at most so many waiting packets before it lets a deadline
// pass, and its socket holds at most so many.
const (
	readBeforeTick = 16
	socketBuffer   = 64
)

// Network is what the links of a LAN do to advertisements.
type Network struct {
	Delay     time.Duration // of every advertisement
	Jitter    time.Duration // at most so much more, drawn for each; more than an interval reorders
	Loss      float64       // probability for each receiver
	Duplicate float64       // probability for each receiver
	Loop      float64       // probability that the sender hears itself
}

// LAN is a set of routers and the network between them. It is owned by one
// goroutine.
type LAN struct {
	Network Network
	// Observe, if not nil, sees every output that is not zero.
	Observe func(node int, out vrrp.Output)

	now    time.Duration // since origin
	rng    *rand.Rand
	build  func(vrrp.Config) Elector
	advise func(g *vrrp.Group, place int) vrrp.Advice
	nodes  []*node
	groups []*host // with a group
	wire   flight
	sent   uint64
	part   []int    // of each director, while the LAN is cut into parts
	err    error    // the first promise broken
	check  *checker // nil in scenarios
	Stats  Stats
}

// Stats counts what happened.
type Stats struct {
	Time           time.Duration // simulated
	Steps          uint64        // of routers
	Advertisements uint64        // sent
	Transitions    uint64
	Faults         uint64
}

func (s *Stats) add(o Stats) {
	s.Time += o.Time
	s.Steps += o.Steps
	s.Advertisements += o.Advertisements
	s.Transitions += o.Transitions
	s.Faults += o.Faults
}

// NewLAN returns a LAN without routers. A nil build stands for vrrp.New.
func NewLAN(seed uint64, build func(vrrp.Config) Elector) *LAN {
	if build == nil {
		build = func(c vrrp.Config) Elector { return vrrp.New(c) }
	}
	return &LAN{
		rng:    rand.New(rand.NewPCG(seed, 0x5652_5250)),
		build:  build,
		advise: func(g *vrrp.Group, place int) vrrp.Advice { return g.Advise(place) },
	}
}

// Now returns how far the LAN has come.
func (l *LAN) Now() time.Duration { return l.now }

// node is a director: a process, its link and its clock; or one of several virtual
// routers of a director, each with a loop and a link of its own.
type node struct {
	id      int
	config  vrrp.Config
	elector Elector     // nil while there is no process
	status  vrrp.Status // of elector, after its last step
	state   vrrp.State
	link    bool
	ppm     int64         // how much faster than the LAN's its clock is
	ahead   time.Duration // how far its clock was ahead at the origin
	latency time.Duration // at most so late it wakes up
	stalled time.Duration // the process does nothing before

	control []vrrp.Event  // waiting for the process, before inbox
	inbox   []vrrp.Event  // waiting in the socket
	wake    time.Duration // when the process looks at its deadline; never if negative
	said    vrrp.Event    // its last advertisement, as others hear it
	prio    uint8         // of said
	saidAt  time.Duration // when it last advertised
	deaf    uint64        // bit set of the directors that do not hear it

	loop
	addresses
}

const never = time.Duration(-1)

// Add adds a director with its link up and no process, and returns its number.
func (l *LAN) Add(c vrrp.Config) int {
	n := &node{id: len(l.nodes), config: c, link: true, wake: never}
	n.look = never
	n.host = &host{members: []*node{n}}
	l.nodes = append(l.nodes, n)
	return n.id
}

// Clock makes the clock of a director differ: ahead of the LAN's at the origin
// and ppm faster. It also says how late its process wakes up at most.
func (l *LAN) Clock(id int, ahead time.Duration, ppm int64, latency time.Duration) {
	for _, n := range l.nodes[id].host.members {
		n.ahead, n.ppm, n.latency = ahead, ppm, latency
	}
}

// local converts a time of the LAN to what the clock of n shows.
func (n *node) local(t time.Duration) time.Time {
	return origin.Add(n.ahead + t + t/1_000_000*time.Duration(n.ppm) + t%1_000_000*time.Duration(n.ppm)/1_000_000)
}

// global returns the first time of the LAN at which the clock of n shows t.
func (n *node) global(t time.Time) time.Duration {
	d := t.Sub(origin) - n.ahead
	g := time.Duration(float64(d)/(1+float64(n.ppm)/1e6)) - 2
	for n.local(g).Before(t) {
		g++
	}
	return g
}

// RunUntil lets everything happen that happens up to t. It returns the first
// promise that was broken, if promises are checked.
func (l *LAN) RunUntil(t time.Duration) error {
	for l.err == nil {
		at, n := t+1, (*node)(nil)
		for _, m := range l.nodes {
			if m.wake != never && m.wake < at {
				at, n = m.wake, m
			}
		}
		packet := len(l.wire) > 0 && l.wire[0].at <= min(at, t)
		if packet {
			at = l.wire[0].at
		}
		if at > t {
			break
		}
		l.advance(at)
		if l.err != nil {
			break
		}
		if packet {
			l.deliver(l.wire.pop())
		} else {
			l.run(n)
		}
	}
	if l.err == nil {
		l.advance(t)
	}
	return l.err
}

func (l *LAN) advance(t time.Duration) {
	t = max(t, l.now)
	l.Stats.Time += t - l.now
	if l.check != nil {
		l.check.advance(t)
	}
	l.now = t
}

// run is one turn of the process of n: what waits first, then the deadline.
func (l *LAN) run(n *node) {
	for n.stalled <= l.now && l.err == nil {
		now := n.local(l.now)
		for len(n.control) > 0 && n.elector != nil {
			ev := n.control[0]
			n.control = append(n.control[:0], n.control[1:]...)
			l.step(n, now, ev)
		}
		if n.elector == nil {
			n.forget()
			break
		}
		if n.look != never && n.look <= l.now {
			l.align(n, now)
		}
		count := min(len(n.inbox), readBeforeTick)
		for _, rx := range n.inbox[:count] {
			l.step(n, now, rx)
		}
		if n.elector == nil {
			break
		}
		n.inbox = append(n.inbox[:0], n.inbox[count:]...)
		if d := n.elector.Deadline(); !d.IsZero() && !now.Before(d) {
			l.step(n, now, vrrp.Tick{})
			if n.elector == nil {
				break
			}
			if d := n.elector.Deadline(); !d.IsZero() && !d.After(now) {
				l.fail("%s has deadline %v right after a tick at %v", n.config.Name, d, now)
			}
		}
		if len(n.inbox) == 0 {
			break
		}
	}
	l.schedule(n)
}

// schedule computes when the process of n runs next of its own accord.
func (l *LAN) schedule(n *node) {
	n.wake = never
	if n.elector == nil {
		return
	}
	if d := n.elector.Deadline(); !d.IsZero() {
		n.wake = n.global(d)
		if n.latency > 0 {
			n.wake += time.Duration(l.rng.Int64N(int64(n.latency)))
		}
	}
	if n.look != never && (n.wake == never || n.look < n.wake) {
		n.wake = n.look
	}
	if n.stalled > l.now {
		if n.wake != never {
			n.wake = max(n.wake, n.stalled)
		}
		if len(n.inbox) > 0 || len(n.control) > 0 {
			n.wake = n.stalled
		}
	}
	if n.wake != never {
		n.wake = max(n.wake, l.now)
	}
}

func (l *LAN) step(n *node, now time.Time, ev vrrp.Event) {
	if n.elector == nil {
		return
	}
	l.Stats.Steps++
	was, before := n.state, n.status
	out := n.elector.Step(now, ev)
	if out.Transition {
		l.Stats.Transitions++
		if out.From != was {
			l.fail("%s left %v, which it was not in, but in %v", n.config.Name, out.From, was)
		}
		n.state = out.To
	}
	if rc, ok := ev.(vrrp.Reconfigure); ok {
		n.config, n.said = rc.Config, nil
	}
	n.status = n.elector.Status()
	l.follow(n, now, before, out)
	if l.check != nil {
		l.check.stepped(n, now, was, ev, out)
	}
	if l.Observe != nil && out != (vrrp.Output{}) {
		l.Observe(n.id, out)
	}
	if out.Advertise {
		l.send(n, out.Priority)
	}
	if n.departing && n.state != vrrp.StateMaster && n.state != vrrp.StateBackup && !n.status.Lingering || ev == (vrrp.Stop{Reason: vrrp.ReasonShutdown}) {
		n.exit()
		n.held = false
	}
	if l.check != nil {
		l.check.served(n)
	}
}

// exit ends the process of n, or its part of it.
func (n *node) exit() {
	n.elector, n.state, n.said, n.stalled = nil, vrrp.StateInit, nil, 0
	n.inbox, n.wake, n.status = n.inbox[:0], never, vrrp.Status{}
	n.look, n.running, n.departing, n.known = never, false, false, false
}

// send puts an advertisement of n on the wire for every other director.
func (l *LAN) send(n *node, priority uint8) {
	l.Stats.Advertisements++
	n.saidAt = l.now
	if n.said == nil || n.prio != priority {
		src := n.config.Primary
		b, err := n.elector.Advertisement(priority).Append(nil, src, Group)
		if err != nil {
			l.fail("%s sends what cannot be encoded: %v", n.config.Name, err)
			return
		}
		a, drop := vrrp.Parse(b, src, Group)
		if drop != vrrp.DropNone {
			l.fail("%s sends what is dropped: %v", n.config.Name, drop)
			return
		}
		// One value for all who hear it, and for as long as it stays the same.
		n.said, n.prio = vrrp.Received{Src: src, Advert: a}, priority
	}
	if !n.link {
		return
	}
	for _, m := range l.nodes {
		if m == n {
			if l.chance(l.Network.Loop) {
				l.post(m, n.said)
			}
			continue
		}
		if n.segment != m.segment || n.deaf&(1<<m.id) != 0 || l.chance(l.Network.Loss) {
			continue
		}
		l.post(m, n.said)
		if l.chance(l.Network.Duplicate) {
			l.post(m, n.said)
		}
	}
}

func (l *LAN) chance(p float64) bool { return p > 0 && l.rng.Float64() < p }

func (l *LAN) post(to *node, rx vrrp.Event) {
	at := l.now + l.Network.Delay
	if l.Network.Jitter > 0 {
		at += time.Duration(l.rng.Int64N(int64(l.Network.Jitter)))
	}
	l.sent++
	l.wire.push(letter{at: at, seq: l.sent, to: to, rx: rx})
}

// deliver puts a packet into the socket, which is there as long as the process,
// even if the process does not run.
func (l *LAN) deliver(p letter) {
	n := p.to
	if n.elector == nil || !n.link || len(n.inbox) >= socketBuffer {
		return
	}
	n.inbox = append(n.inbox, p.rx)
	if n.stalled <= l.now {
		l.run(n)
	} else {
		l.schedule(n)
	}
}

func (l *LAN) fail(format string, args ...any) {
	if l.err == nil {
		l.err = fmt.Errorf("at %v: "+format, append([]any{l.now}, args...)...)
	}
}
