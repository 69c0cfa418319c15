package vrrptest

import (
	"slices"
	"time"

	"github.com/understudy-ha/understudy/vrrp"
)

// Start starts the process of a director that has none.
func (l *LAN) Start(id int) {
	n := l.nodes[id]
	if n.elector != nil {
		return
	}
	l.disturb(0)
	n.elector, n.state, n.stalled = l.build(n.config), vrrp.StateInit, 0
	n.control = n.control[:0]
	if n.link {
		l.tell(n, vrrp.Start{})
	} else {
		l.tell(n, vrrp.Stop{Reason: vrrp.ReasonLinkDown})
	}
}

// Stop ends the process of a director in order: it says farewell.
func (l *LAN) Stop(id int) {
	n := l.nodes[id]
	if n.elector == nil {
		return
	}
	l.disturb(0)
	if n.link {
		l.expect(n, true)
	}
	l.tell(n, vrrp.Stop{Reason: vrrp.ReasonShutdown})
}

// Crash ends the process of a director without a word.
func (l *LAN) Crash(id int) {
	n := l.nodes[id]
	if n.elector == nil {
		return
	}
	l.disturb(0)
	l.expect(n, false)
	n.exit()
	n.control = n.control[:0]
}

// Stall keeps the process of a director from running for d.
func (l *LAN) Stall(id int, d time.Duration) {
	n := l.nodes[id]
	if n.elector == nil {
		return
	}
	n.stalled = max(n.stalled, l.now+d)
	l.disturb(n.stalled)
	l.schedule(n)
}

// SetLink cuts or repairs the link of a director, which its process sees.
func (l *LAN) SetLink(id int, up bool) {
	n := l.nodes[id]
	if n.link == up {
		return
	}
	l.disturb(0)
	if !up {
		l.expect(n, false)
	}
	n.link = up
	switch {
	case n.elector == nil:
	case up:
		l.tell(n, vrrp.Start{})
	default:
		n.inbox = n.inbox[:0]
		l.tell(n, vrrp.Stop{Reason: vrrp.ReasonLinkDown})
	}
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
func (l *LAN) expect(n *node, farewell bool) {
	if l.check != nil {
		l.check.expect(n, farewell)
	}
}
