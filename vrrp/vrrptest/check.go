package vrrptest

import (
	"math"
	"time"

	"github.com/understudy-ha/understudy/vrrp"
)

const eternity = time.Duration(math.MaxInt64)

// checker holds a LAN to the promises of the protocol. It computes every bound
// itself, from the text of the RFC, and never asks a router.
type checker struct {
	lan *LAN

	shortest, longest time.Duration // advertisement intervals that were ever configured
	delay             time.Duration // the longest preempt delay that was ever configured
	until             time.Duration // the last fault lasts until
	masterBy          time.Duration // from then on every part has a master
	settledAt         time.Duration // from then on nothing changes any more
	wasSettled        bool          // when the last fault came
	takeover          takeover
	handover          handover
	steps             int // in this instant
	nodes             []checked
}

// takeover is when another director must become master, after one has left a
// LAN that had settled.
type takeover struct {
	from, to time.Duration
	by       uint64 // bit set of those who may
}

// checked is what the checker remembers of one director.
type checked struct {
	farewell time.Time // local time of the last priority 0 heard, here or by another member
	expects  bool      // nothing was heard since
	wants    bool      // after its last step, as are those below
	window   time.Duration
	sent     int // advertisements in the window

	leaving    bool
	held       bool
	repeats    uint64
	announceBy time.Duration // 0: nothing is asked of it
}

func newChecker(l *LAN) *checker {
	c := &checker{lan: l, shortest: eternity, nodes: make([]checked, len(l.nodes))}
	for _, n := range l.nodes {
		c.configured(n.config)
	}
	c.disturb(l.now)
	return c
}

func (c *checker) configured(v vrrp.Config) {
	c.shortest = min(c.shortest, v.Interval)
	c.longest = max(c.longest, v.Interval)
	c.delay = max(c.delay, v.PreemptDelay)
}

// slack is what clocks that differ by 1% each way may add to d.
func slack(d time.Duration) time.Duration { return d + d/40 }

// disturb computes anew by when things must be in order.
func (c *checker) disturb(until time.Duration) {
	l := c.lan
	c.wasSettled = l.now > c.settledAt
	c.until = max(c.until, until)
	c.takeover, c.handover = takeover{}, handover{}
	for i := range c.nodes {
		c.nodes[i].announceBy = 0
	}
	c.masterBy, c.settledAt = eternity, eternity
	if l.Network.Loss > 0 {
		return // there is no bound that always holds
	}
	transit := l.Network.Delay + l.Network.Jitter
	late := l.late()
	begin := max(c.until, l.wire.latest(l.now))
	// The longest that a backup waits: three intervals and a skew time, which is
	// less than one interval in version 3 and less than 1s in version 2, where no
	// interval is shorter.
	wait := slack(4*c.longest) + transit + late
	if len(l.groups) > 0 {
		if l.divided() {
			return // a group takes no part of a segment without the others
		}
		// The members have to be ready one after the other, each a turn later.
		wait += slack(2*c.longest) + 10*late
	}
	c.masterBy = begin + wait
	if l.asymmetric() || transit > c.shortest/4 {
		return // two masters that do not hear each other are no breach
	}
	// After the first master the best router waits for its advertisement and for
	// the preempt delay, discards advertisements until its timer runs out, and is
	// then heard by everybody.
	c.settledAt = c.masterBy + slack(c.delay) + wait + slack(3*c.longest) + 6*(transit+late)
}

// together reports whether n and m are in one part of the LAN.
func (l *LAN) together(n, m *node) bool {
	return n.segment == m.segment && (l.part == nil || l.part[n.id] == l.part[m.id])
}

// late is how late a process wakes up at most, and how long a turn of its loop takes.
func (l *LAN) late() (d time.Duration) {
	for _, n := range l.nodes {
		d = max(d, n.latency)
	}
	return d
}

// divided reports whether a director is not heard by another on its segment.
func (l *LAN) divided() bool {
	for _, n := range l.nodes {
		for _, m := range l.nodes {
			if n.segment == m.segment && n.deaf>>m.id&1 != 0 {
				return true
			}
		}
	}
	return false
}

// asymmetric reports whether a director of one part is not heard by another: it is cut
// off in one direction, or from some and not from others.
func (l *LAN) asymmetric() bool {
	for _, n := range l.nodes {
		for _, m := range l.nodes {
			if l.together(n, m) && n.deaf>>m.id&1 != 0 {
				return true
			}
		}
	}
	return false
}

// expect notes that n, if it is the settled master, must be replaced: one skew
// time after its farewell, or one master-down interval after its last
// advertisement. One that returns stays if it hears nobody in time. It is called
// after disturb, which forgets it.
func (c *checker) expect(n *node, farewell, returns bool) {
	l := c.lan
	if n.state != vrrp.StateMaster || !c.wasSettled || n.stalled > l.now {
		return
	}
	if farewell && l.now-n.saidAt <= l.Network.Jitter {
		return // the advertisement before it may arrive after it, as a sign of life
	}
	best, late, by := eternity, time.Duration(0), uint64(0)
	for _, m := range l.nodes {
		if m != n && l.together(n, m) && m.state == vrrp.StateBackup {
			by |= 1 << m.id
			best = min(best, skew(m.config, n.config.Interval))
			late = max(late, m.latency)
		}
	}
	if best == eternity {
		return
	}
	if returns && slack(best)+2*(l.Network.Delay+l.Network.Jitter)+2*late > n.config.Interval+skew(n.config, n.config.Interval)*39/40 {
		return // it gives up first, and stays
	}
	since, wait := l.now, best
	if !farewell {
		since, wait = n.saidAt, best+3*n.config.Interval
	}
	c.takeover = takeover{
		from: since + wait - wait/40,
		to:   since + slack(wait) + l.Network.Delay + l.Network.Jitter + late + time.Microsecond,
		by:   by,
	}
}

// skew is Skew_Time of RFC 9568 section 6.1 and RFC 3768 section 6.1.
func skew(v vrrp.Config, masterInterval time.Duration) time.Duration {
	unit := masterInterval
	if v.Version == vrrp.V2 {
		unit = time.Second
	}
	return time.Duration(float64(unit) * float64(256-int(v.Priority)) / 256)
}
