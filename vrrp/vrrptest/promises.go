package vrrptest

import (
	"time"

	"github.com/understudy-ha/understudy/vrrp"
)

const (
	// No director sends more than this many advertisements in an interval: one of
	// its own, the answers to others, and what a change of state costs.
	adverts = 8
	// In one instant of the LAN there are never more steps than this.
	stepsInInstant = 10_000
)

// advance checks, before the time of the LAN becomes t, what must hold until then.
func (c *checker) advance(t time.Duration) {
	l := c.lan
	if l.now <= c.masterBy && t > c.masterBy {
		c.mastered()
	}
	if l.now <= c.settledAt && t > c.settledAt {
		c.settled()
	}
	if c.takeover.by != 0 && t > c.takeover.to {
		l.fail("nobody took over by %v", c.takeover.to)
	}
	if t > l.now {
		c.steps = 0
	}
	c.announced(t)
	for _, h := range l.groups {
		c.unmixed(h, t)
	}
}

// stepped checks what n did.
func (c *checker) stepped(n *node, now time.Time, was vrrp.State, ev vrrp.Event, out vrrp.Output) {
	l := c.lan
	name := n.config.Name
	if c.steps++; c.steps > stepsInInstant {
		l.fail("more than %d steps in one instant", stepsInInstant)
	}
	mine := &c.nodes[n.id]
	switch ev := ev.(type) {
	case vrrp.Received:
		switch {
		case was != vrrp.StateBackup || out.Drop != vrrp.DropNone:
		case ev.Advert.Priority == 0:
			mine.farewell, mine.expects = now, true
		default:
			mine.expects = false
		}
	case vrrp.Expect: // repeated, it says nothing new
		if was == vrrp.StateBackup && !mine.expects {
			mine.farewell, mine.expects = now, true
		}
	case vrrp.Reconfigure:
		c.disturb(l.now) // a process that stalled hears of it late
	}
	if wants := n.status.Wants; wants != mine.wants {
		if mine.wants = wants; wants && mine.expects && n.config.Priority != vrrp.PriorityOwner {
			c.waited(n, now)
		}
	}
	if out.Advertise {
		c.advertised(n, was, out)
	}
	if !out.Transition {
		return
	}
	mine.expects = false
	if h := c.handover.restarted; h != nil && h != n.host {
		l.fail("%s went from %v to %v (%v) because of a restart that was short enough", name, out.From, out.To, out.Reason)
	}
	if l.now > c.settledAt {
		l.fail("%s went from %v to %v (%v) after everything had settled", name, out.From, out.To, out.Reason)
	}
	if out.Reason == vrrp.ReasonPreempt && n.config.Hold && n.config.Priority != vrrp.PriorityOwner {
		l.fail("%s took over from a master that lives while it was held back", name)
	}
	if out.To == vrrp.StateMaster {
		c.tookOver(n, now, out.Reason)
	} else if out.From == vrrp.StateMaster && l.now > c.masterBy {
		c.mastered()
	}
}

// advertised checks that only a master advertises, its own priority, and not
// without end.
func (c *checker) advertised(n *node, was vrrp.State, out vrrp.Output) {
	l := c.lan
	switch {
	case n.state == vrrp.StateMaster && out.Priority == n.config.Priority && !n.status.Leaving:
	case n.status.Leaving && !c.nodes[n.id].leaving && out.Priority == 0: // once
	case was == vrrp.StateMaster && n.state != vrrp.StateBackup && out.Priority == 0:
	default:
		l.fail("%s, once %v and now %v, advertises priority %d", n.config.Name, was, n.state, out.Priority)
	}
	mine := &c.nodes[n.id]
	length := max(time.Second, c.longest)
	if l.now >= mine.window+length {
		mine.window, mine.sent = l.now, 0
	}
	mine.sent++
	if limit := adverts * (int(length/c.shortest) + 8); mine.sent > limit {
		l.fail("%s sent more than %d advertisements in %v", n.config.Name, limit, length)
	}
}

// tookOver checks that n did not take over too soon.
func (c *checker) tookOver(n *node, now time.Time, reason vrrp.Reason) {
	l := c.lan
	if reason == vrrp.ReasonFarewell && !n.config.Grouped {
		c.waited(n, now)
	}
	if c.takeover.by>>n.id&1 != 0 {
		if l.now < c.takeover.from {
			l.fail("%s took over before %v", n.config.Name, c.takeover.from)
		}
		c.takeover = takeover{}
	}
}

// waited checks that n has waited for its skew time after a farewell. A member of a
// group has when it wants to be master, which it may be later.
func (c *checker) waited(n *node, now time.Time) {
	if wait, least := now.Sub(c.nodes[n.id].farewell), skew(n.config, c.shortest); wait < least {
		c.lan.fail("%s took over %v after a farewell, sooner than the skew time of %v", n.config.Name, wait, least)
	}
}

// mastered checks that every part with a live router has a master.
func (c *checker) mastered() {
	l := c.lan
	for _, n := range l.nodes {
		if n.state != vrrp.StateBackup {
			continue
		}
		found := false
		for _, m := range l.nodes {
			if !l.together(n, m) {
				continue
			}
			// A group of which one is master already is a turn away from being it.
			masters, others := m.host.count()
			found = found || m.state == vrrp.StateMaster || masters > 0 && others > 0
		}
		if !found {
			l.fail("%s is backup and nobody is master", n.config.Name)
		}
	}
}

// settled checks that every part has one master, and that no router that
// preempts is better.
func (c *checker) settled() {
	l := c.lan
	for _, m := range l.nodes {
		if m.state != vrrp.StateMaster {
			continue
		}
		for _, n := range l.nodes {
			switch {
			case n == m || !l.together(n, m):
			case n.state == vrrp.StateMaster:
				l.fail("%s and %s are both master", m.config.Name, n.config.Name)
			case n.state == vrrp.StateBackup && n.config.Priority > m.config.Priority &&
				(n.config.Preempt && !n.config.Hold || n.config.Priority == vrrp.PriorityOwner):
				l.fail("%s is master with priority %d and %s with %d is not",
					m.config.Name, m.config.Priority, n.config.Name, n.config.Priority)
			}
		}
	}
}
