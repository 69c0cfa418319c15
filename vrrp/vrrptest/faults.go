package vrrptest

import (
	"slices"
	"time"

	"github.com/understudy-ha/understudy/vrrp"
)

// Start starts the process of a director that has none. One that leaves stays.
func (l *LAN) Start(id int) {
	h := l.nodes[id].host
	if !h.alive() {
		if l.check != nil {
			defer l.check.restart(h)()
		}
		l.disturb(0)
		l.start(h)
		return
	}
	for _, n := range h.members {
		if n.elector != nil && n.departing && !h.grouped() {
			l.disturb(0)
			n.departing = false
			l.rouse(n)
		}
	}
}

// alive reports whether h has a process.
func (h *host) alive() bool {
	for _, n := range h.members {
		if n.elector != nil {
			return true
		}
	}
	return false
}

// Stop ends the process of a director at once: it says farewell.
func (l *LAN) Stop(id int) {
	l.end(id, true, vrrp.ReasonNone, func(n *node) { l.tell(n, vrrp.Stop{Reason: vrrp.ReasonShutdown}) })
}

// end does something to every member of a director, which ends taking part by it,
// with a farewell or not. A reason says that it is to be succeeded without a loss.
func (l *LAN) end(id int, farewell bool, planned vrrp.Reason, f func(*node)) {
	h := l.nodes[id].host
	if !h.alive() {
		return
	}
	l.disturb(0)
	if n := h.members[0]; !h.grouped() && n.elector != nil && (!farewell || n.link) {
		l.expect(n, farewell, planned == vrrp.ReasonHandover)
	}
	if l.check != nil && planned != vrrp.ReasonNone {
		l.check.plan(h, planned)
	}
	for _, n := range h.members {
		if n.elector != nil {
			f(n)
		}
	}
}

// Leave ends the process of a director in order: a master goes on until it is
// succeeded. With ReasonHandover the process goes on, and with ReasonTrack there is
// something wrong with this one virtual router until Mend.
func (l *LAN) Leave(id int, reason vrrp.Reason) {
	n := l.nodes[id]
	if reason == vrrp.ReasonTrack {
		if n.fault == reason {
			return
		}
		l.disturb(0)
		if n.elector != nil && n.link {
			if l.check != nil {
				l.check.plan(n.host, reason)
			}
			if !n.host.grouped() {
				l.expect(n, true, false)
			}
		}
		n.fault = reason
		if n.elector != nil {
			l.rouse(n)
		}
		return
	}
	l.end(id, true, reason, func(n *node) {
		if reason == vrrp.ReasonHandover && n.id != id {
			return // its group tells it
		}
		if reason != vrrp.ReasonHandover {
			n.running, n.departing = false, true
		}
		if n.link {
			l.tell(n, n.leave(reason))
		} else if n.departing {
			l.tell(n, vrrp.Stop{Reason: vrrp.ReasonShutdown})
		}
	})
}

// Mend ends what Leave with ReasonTrack began.
func (l *LAN) Mend(id int) {
	n := l.nodes[id]
	if n.fault == vrrp.ReasonNone {
		return
	}
	l.disturb(0)
	n.fault = vrrp.ReasonNone
	if n.elector != nil {
		l.rouse(n)
	}
}

// Crash ends a director without a word, and with it what it has noted.
func (l *LAN) Crash(id int) {
	l.end(id, false, vrrp.ReasonNone, func(n *node) {
		n.exit()
		n.forget()
		n.held, n.noted = false, time.Time{}
	})
}

// forget drops what the process of n has not been told. Its configuration stands in a
// file, where the next one finds it.
func (n *node) forget() {
	for _, ev := range n.control {
		if rc, ok := ev.(vrrp.Reconfigure); ok {
			n.config = rc.Config
		}
	}
	n.control = n.control[:0]
}

// Kill ends the process of a director without a word. The kernel keeps the addresses,
// and a process that is started soon enough goes on as master.
func (l *LAN) Kill(id int) {
	l.end(id, false, vrrp.ReasonNone, func(n *node) {
		if l.check != nil {
			l.check.killed(n)
		}
		n.exit()
		n.forget()
	})
}

// Stall keeps the process of a director from running for d.
func (l *LAN) Stall(id int, d time.Duration) {
	h := l.nodes[id].host
	if !h.alive() {
		return
	}
	for _, n := range h.members {
		n.stalled = max(n.stalled, l.now+d)
	}
	l.disturb(h.members[0].stalled)
	for _, n := range h.members {
		l.schedule(n)
	}
}

// SetLink cuts or repairs the link of a virtual router, which its process sees.
func (l *LAN) SetLink(id int, up bool) {
	n := l.nodes[id]
	if n.link == up {
		return
	}
	l.disturb(0)
	switch {
	case up:
	case !n.host.grouped():
		l.expect(n, false, false)
	case l.check != nil && n.elector != nil:
		l.check.plan(n.host, vrrp.ReasonGroupFault, n)
	}
	n.link = up
	if n.elector == nil {
		return
	}
	if !up {
		n.inbox = n.inbox[:0]
		if n.departing {
			l.tell(n, vrrp.Stop{Reason: vrrp.ReasonShutdown})
			return
		}
	}
	l.rouse(n)
}

// Cut keeps what one director sends from another.
func (l *LAN) Cut(from, to int) {
	l.nodes[from].deaf |= 1 << to
	l.disturb(0)
}

// Partition cuts the LAN into parts: part holds a number for each director, and
// those with the same number hear each other.
func (l *LAN) Partition(part []int) {
	l.part = slices.Clone(part)
	for i, n := range l.nodes {
		n.deaf = 0
		for j := range l.nodes {
			if part[i] != part[j] {
				n.deaf |= 1 << j
			}
		}
	}
	l.disturb(0)
}

// Heal undoes every Cut and Partition.
func (l *LAN) Heal() {
	l.part = nil
	for _, n := range l.nodes {
		n.deaf = 0
	}
	l.disturb(0)
}

// SetNetwork changes what the links do.
func (l *LAN) SetNetwork(n Network) {
	l.Network = n
	l.disturb(0)
}

// Reconfigure gives a director another configuration.
func (l *LAN) Reconfigure(id int, c vrrp.Config) {
	n := l.nodes[id]
	c.Grouped = n.host.grouped()
	if l.check != nil {
		l.check.configured(c)
	}
	l.disturb(0)
	if n.elector == nil {
		n.config, n.said = c, nil
		return
	}
	l.tell(n, vrrp.Reconfigure{Config: c})
}

// tell hands the process of n an event that comes from its own machine.
func (l *LAN) tell(n *node, ev vrrp.Event) {
	n.control = append(n.control, ev)
	l.run(n)
}

// disturb notes a fault that lasts until the given time, or has happened.
func (l *LAN) disturb(until time.Duration) {
	l.Stats.Faults++
	if l.check != nil {
		l.check.disturb(max(until, l.now))
	}
}

// expect notes that n, about to leave, will have to be replaced.
func (l *LAN) expect(n *node, farewell, returns bool) {
	if l.check != nil {
		l.check.expect(n, farewell, returns)
	}
}
