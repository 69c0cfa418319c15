package vrrptest

import (
	"slices"
	"time"

	"github.com/understudy-ha/understudy/vrrp"
)

// handover is what is promised since the last fault, if that was the planned leave
// of a settled master, or the end of its process.
type handover struct {
	planned   []*node // where they are, somebody answers at every time
	killed    *host   // was master, and its process has ended
	restarted *host   // and began again before anybody could take notice
}

// plan notes that the master h leaves as h is asked to, or because of a fault that
// lets it go on for a while: nobody must be without an answer, if there is somebody
// who can succeed it and the network is fast enough. That holds for all members but
// those that cannot be heard.
func (c *checker) plan(h *host, reason vrrp.Reason, but ...*node) {
	if !c.wasSettled {
		return
	}
	var planned []*node
	for _, n := range h.members {
		switch {
		case slices.Contains(but, n):
		case !c.succeeded(n, reason):
			return
		default:
			planned = append(planned, n)
		}
	}
	c.handover.planned = planned
}

// succeeded reports whether what n serves is served without a gap when n leaves.
func (c *checker) succeeded(n *node, reason vrrp.Reason) bool {
	l := c.lan
	if n.state != vrrp.StateMaster || n.status.Leaving || n.stalled > l.now || !n.answers(l.now) ||
		l.now-n.saidAt <= l.Network.Jitter { // the advertisement before the farewell may arrive after it, as a sign of life
		return false
	}
	if n.host.grouped() && l.now-n.saidAt+4*l.late() > n.config.Interval*39/40 && l.Network.Jitter > 0 {
		return false // nor one that it sends before its group has told it to leave
	}
	best := eternity
	for _, m := range l.nodes {
		if m != n && l.together(n, m) && m.state == vrrp.StateBackup && m.stalled <= l.now && m.host.fit() {
			best = min(best, skew(m.config, n.config.Interval))
		}
	}
	if best == eternity {
		return reason == vrrp.ReasonHandover
	}
	if n.host.grouped() && best < 8*l.late() {
		return false // a successor may speak before every member has said farewell
	}
	// A master waits for its successor for the longest skew time that there is, an
	// interval or in version 2 a second, and for its own skew time; then it still
	// lingers, or stays. The successor must have its addresses by then.
	unit := max(n.config.Interval, vrrp.UnitV3)
	wait := unit + skew(n.config, unit)
	if reason != vrrp.ReasonHandover {
		wait += vrrp.Linger
	}
	transit := l.Network.Delay + l.Network.Jitter
	return slack(best)+2*transit+6*l.late()+plumbing <= wait-wait/40
}

// fit reports whether every member of h can take over.
func (h *host) fit() bool {
	for _, n := range h.members {
		if n.elector == nil || n.state != vrrp.StateBackup || !n.link || n.fault != vrrp.ReasonNone || n.departing {
			return false
		}
	}
	return true
}

// killed notes that the process of n is about to end without a word.
func (c *checker) killed(n *node) {
	if c.wasSettled && n.state == vrrp.StateMaster && !n.status.Leaving && n.stalled <= c.lan.now {
		c.handover.killed = n.host
	}
}

// restart is called before h is started, and what it returns afterwards. If h was
// master a moment ago, nobody must take notice.
func (c *checker) restart(h *host) (after func()) {
	short := c.handover.killed == h
	for _, n := range h.members {
		gone := c.lan.now - n.saidAt + 4*n.latency
		short = short && slack(gone)+c.lan.Network.Jitter < 3*n.config.Interval*39/40 && n.link && n.fault == vrrp.ReasonNone && n.answers(c.lan.now) && !n.noted.IsZero()
	}
	return func() {
		if short {
			c.handover = handover{planned: h.members, restarted: h}
		}
	}
}

// served checks after every step of n that somebody answers during a planned
// handover, and that whoever does says so again when the one before has let go.
func (c *checker) served(n *node) {
	l := c.lan
	mine := &c.nodes[n.id]
	mine.leaving = n.status.Leaving
	for _, p := range c.handover.planned {
		if p.segment == n.segment && !l.answered(p) {
			l.fail("nobody answers for the addresses of %s while it hands over", p.config.Name)
		}
	}
	if n.status.Repeats != mine.repeats || n.state != vrrp.StateMaster || len(c.handover.planned) == 0 {
		mine.repeats, mine.announceBy = n.status.Repeats, 0
	}
	// With different intervals a third one may take over needlessly, and be answered late.
	if mine.held && !n.held && len(c.handover.planned) > 0 && c.shortest == c.longest && l.Network.Delay+l.Network.Jitter+2*l.late() < vrrp.Linger/2 {
		for _, m := range l.nodes {
			// One that believes its master to be dead waits for nothing to be let go of.
			if m != n && l.together(n, m) && m.state == vrrp.StateMaster && m.status.Reason != vrrp.ReasonMasterDown {
				c.nodes[m.id].announceBy = l.now + 2*vrrp.Linger
			}
		}
	}
	mine.held = n.held
}

// answered reports whether a neighbour of n has an answer from anybody.
func (l *LAN) answered(n *node) bool {
	for _, m := range l.nodes {
		if l.together(n, m) && m.answers(l.now) {
			return true
		}
	}
	return false
}

// announced checks, before the time becomes t, that masters have announced again.
func (c *checker) announced(t time.Duration) {
	for i := range c.nodes {
		if by := c.nodes[i].announceBy; by != 0 && t > by && len(c.handover.planned) > 0 {
			c.lan.fail("%s has not announced its addresses since the master before it let go of them", c.lan.nodes[i].config.Name)
		}
	}
}

// transition is how long the members of a group may differ. A member tells its group
// of a change in the turn in which it changes, and the others follow in the next turn
// of their loops. What they have begun a turn apart, as a Leave that nobody succeeds,
// they end a turn apart.
func (h *host) transition() (d time.Duration) {
	for _, n := range h.members {
		d = max(d, n.latency)
	}
	return 3 * d
}

// unmixed checks, before the time becomes t, that the members of h are not master in
// part for longer than one transition. A master that has said farewell, and serves
// until it is succeeded, counts as having given way. What does not run changes nothing.
func (c *checker) unmixed(h *host, t time.Duration) {
	masters, others := h.count()
	for _, n := range h.members {
		if n.stalled > c.lan.now {
			masters = 0
		}
	}
	if masters == 0 || others == 0 {
		h.mixed = never
		return
	}
	if h.mixed == never {
		h.mixed = c.lan.now
	}
	if t > h.mixed+h.transition() {
		c.lan.fail("%d of the %d members of the group of %s have been master alone since %v", masters, masters+others, h.members[0].config.Name, h.mixed)
	}
}

// count returns how many members of h are master and have not said farewell, and how
// many are not.
func (h *host) count() (masters, others int) {
	for _, n := range h.members {
		if n.state == vrrp.StateMaster && !n.status.Leaving {
			masters++
		} else {
			others++
		}
	}
	return masters, others
}
