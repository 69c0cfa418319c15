package vrrptest

import (
	"time"

	"github.com/understudy-ha/understudy/vrrp"
)

// plumbing is how long it takes at most until a new master has its addresses.
const plumbing = 20 * time.Millisecond

// host is a director: one process with one clock, that drives one virtual router, or
// a group of them.
type host struct {
	members []*node
	group   vrrp.Group // of the process, if there are several members

	mixed time.Duration // since when some members are master and some are not; never: they are not
}

// loop is what the loop around a virtual router knows, as package vrrp/speaker has it.
type loop struct {
	host    *host
	place   int // among host.members
	segment int // of the LAN; segments hear nothing of each other

	look      time.Duration // when it looks at what is wanted of it; never: it is not to
	known     bool          // it has looked
	fault     vrrp.Reason   // of its own, beside the link
	own       vrrp.Reason   // why it cannot take part, whatever its group says; as it was last seen
	running   bool          // Start was the last of Start, Stop and Leave
	began     bool          // in this process
	departing bool          // to end as soon as it is succeeded

	noted    time.Time     // what a process after this one finds: when a master last said so; zero: it is none
	interval time.Duration // of noted
}

// addresses is what the kernel of a director has.
type addresses struct {
	held bool
	from time.Duration // it answers from then on
}

// answers reports whether a neighbour that asks n for its addresses has an answer.
func (n *node) answers(now time.Duration) bool { return n.held && now >= n.from && n.link }

// State returns the state of a virtual router, init if there is no process.
func (l *LAN) State(id int) vrrp.State { return l.nodes[id].state }

// Answered reports whether a neighbour of a virtual router has an answer now when it
// asks for the addresses.
func (l *LAN) Answered(id int) bool { return l.answered(l.nodes[id]) }

// AddGroup adds a director with a virtual router on each of several segments, which
// change state together. It returns the number of each. What is done to the process
// of one (Start, Leave, Crash, Stall and so on) is done to all.
func (l *LAN) AddGroup(configs ...vrrp.Config) []int {
	ids := make([]int, len(configs))
	for i, c := range configs {
		ids[i] = l.Add(c)
	}
	l.Join(ids...)
	return ids
}

// Join makes one director with a group of several that have no process yet, as
// AddGroup does.
func (l *LAN) Join(ids ...int) {
	h := &host{mixed: never}
	for i, id := range ids {
		n := l.nodes[id]
		n.host, n.place, n.segment, n.config.Grouped = h, i, i, true
		h.members = append(h.members, n)
	}
	l.groups = append(l.groups, h)
}

func (h *host) grouped() bool { return len(h.members) > 1 }

// start starts the process of h.
func (l *LAN) start(h *host) {
	h.group = vrrp.Group{}
	h.group.Size(len(h.members))
	for _, n := range h.members {
		n.elector, n.state, n.stalled = l.build(n.config), vrrp.StateInit, 0
		n.status = n.elector.Status()
		n.control = n.control[:0]
		n.running, n.began, n.known, n.departing = false, false, false, false
		n.look = l.now
	}
	for _, n := range h.members {
		if h.grouped() {
			// What is found out of the links is not found out at once.
			n.look += l.turn(n)
			l.schedule(n)
		} else {
			l.run(n)
		}
	}
}

// turn draws how long a loop takes to look at what another one has told it.
func (l *LAN) turn(n *node) time.Duration {
	if n.latency <= 0 {
		return 0
	}
	return time.Duration(l.rng.Int64N(int64(n.latency)))
}

// align makes n run, or not run for its own reason or for that of its group.
func (l *LAN) align(n *node, now time.Time) {
	n.look, n.known, n.own = never, true, n.fault
	if !n.link {
		n.own = vrrp.ReasonLinkDown
	}
	if n.departing {
		return
	}
	l.report(n)
	reason, advice := n.own, vrrp.AdviceNone
	if n.host.grouped() {
		if advice = l.advise(&n.host.group, n.place); advice == vrrp.AdviceWait {
			reason = vrrp.ReasonGroupFault
		}
	}
	switch {
	case reason != vrrp.ReasonNone:
		l.halt(n, now, reason)
	case !n.running && advice == vrrp.AdviceHold:
	case !n.running:
		n.running = true
		l.begin(n, now)
	case advice == vrrp.AdviceLead:
		l.step(n, now, vrrp.Lead{})
	case advice == vrrp.AdviceConcede:
		l.step(n, now, vrrp.Concede{})
	case advice == vrrp.AdviceExpect:
		l.step(n, now, vrrp.Expect{})
	case advice == vrrp.AdviceLeave:
		l.step(n, now, n.leave(vrrp.ReasonHandover))
	}
}

// halt ends taking part of n, unless it does not for that reason.
func (l *LAN) halt(n *node, now time.Time, reason vrrp.Reason) {
	if !n.running && !n.status.Leaving && n.status.Reason == reason {
		return
	}
	n.running = false
	if reason.Mute() || !n.link {
		l.step(n, now, vrrp.Stop{Reason: reason})
	} else {
		l.step(n, now, n.leave(reason))
	}
}

// leave returns what n is told to leave: it waits as long as the others of its group.
func (n *node) leave(reason vrrp.Reason) vrrp.Leave {
	ev := vrrp.Leave{Reason: reason}
	if n.host.grouped() {
		ev.Wait = n.host.group.Patience()
	}
	return ev
}

// begin lets n take part: as master, if the process before this one was.
func (l *LAN) begin(n *node, now time.Time) {
	if !n.began {
		n.began = true
		if !n.noted.IsZero() && now.Sub(n.noted) < 3*n.interval {
			l.step(n, now, vrrp.Resume{})
		}
	}
	l.step(n, now, vrrp.Start{})
}

// follow does what the loop does after every step.
func (l *LAN) follow(n *node, now time.Time, before vrrp.Status, out vrrp.Output) {
	s := n.status
	if s.State == vrrp.StateMaster && !s.Leaving {
		if out.Advertise {
			n.noted, n.interval = now, n.config.Interval
		}
	} else if before.State == vrrp.StateMaster {
		n.noted = time.Time{}
	}
	// What a killed process has left stays until it is known whether this one is master.
	if hold := s.State == vrrp.StateMaster || s.Lingering || n.held && !n.began; hold != n.held {
		n.held = hold
		if hold {
			n.from = l.now + time.Duration(l.rng.Int64N(int64(plumbing)))
		}
	}
	if n.host.grouped() && s != before {
		l.report(n)
	}
}

// report tells the group of n how n is, and wakes the loops of all members if one of
// them has something to do.
func (l *LAN) report(n *node) {
	h := n.host
	if !h.grouped() {
		return
	}
	s := n.status
	news := h.group.Report(n.place, vrrp.Member{
		Known: n.known, Ready: n.known && n.own == vrrp.ReasonNone,
		State: s.State, Wants: s.Wants, Leaving: s.Leaving, Farewell: s.Farewell,
		Patience: n.config.Patience(),
	})
	if !news {
		return
	}
	for _, m := range h.members {
		if m.elector == nil {
			continue
		}
		at := l.now + l.turn(m)
		if m.look == never || at < m.look {
			m.look = at
		}
		l.schedule(m)
	}
}

// rouse has n look at what is wanted of it now, or when it runs again.
func (l *LAN) rouse(n *node) {
	n.look = l.now
	l.run(n)
}
