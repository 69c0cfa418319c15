package garp

import (
	"net/netip"
	"time"
)

// Schedule says when the announcements of one address are sent.
type Schedule struct {
	Count       int           // announcements per burst; 0 = none
	Interval    time.Duration // between the announcements of a burst; 0 = back to back
	RepeatAfter time.Duration // a second burst so long after the first began; 0 = none
	Refresh     time.Duration // one announcement so often afterwards; 0 = never
}

// Target is one address to announce on one link.
type Target struct {
	Link    string
	Address netip.Addr
}

// Claim says how a Target is announced. A new Epoch starts the schedule again.
type Claim struct {
	Schedule Schedule
	Epoch    uint64 // changes whenever the address was taken over or put back
}
