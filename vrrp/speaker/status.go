package speaker

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/understudy-ha/understudy/vrrp"
)

// Status is what is known of one virtual router.
type Status struct {
	Link     string
	Config   vrrp.Config // in force, with the primary address, which is zero while there is none
	Unicast  bool        // sends to peers, not to the multicast group
	Counters Counters
	LastDrop LastDrop
	// Conditions are what is not as it should be between this router and others.
	Conditions []Condition
	vrrp.Status
}

// Counters count since the virtual router was added.
type Counters struct {
	Received    uint64 // messages for this VRID, those dropped included
	Sent        uint64 // messages taken by the kernel; with peers, one per peer
	SendErrors  uint64 // messages refused by the kernel
	Transitions uint64
	LateTicks   uint64 // deadlines met later than half an advertisement interval
	Drops       [vrrp.NumDrops]uint64
}

// LastDrop is the last message that was not acted upon.
type LastDrop struct {
	Drop   vrrp.Drop // DropNone: there was none
	Source netip.Addr
	At     time.Time
}

// counters are Counters that the loop counts while others read.
type counters struct {
	received, sent, sendErrors, transitions, lateTicks atomic.Uint64
	drops                                              [vrrp.NumDrops]atomic.Uint64
}

func (c *counters) load() Counters {
	out := Counters{
		Received:    c.received.Load(),
		Sent:        c.sent.Load(),
		SendErrors:  c.sendErrors.Load(),
		Transitions: c.transitions.Load(),
		LateTicks:   c.lateTicks.Load(),
	}
	for i := range c.drops {
		out.Drops[i] = c.drops[i].Load()
	}
	return out
}
