package garp

import (
	"cmp"
	"net/netip"
	"time"
)

// Watch says how a Target that this host holds is watched.
type Watch struct {
	// Own counts as ours beside the hardware address of the link; zero: none.
	Own    MAC
	Timing Timing
}

// Timing says when what concerns a watched target happens. A negative duration
// counts as zero.
type Timing struct {
	// Settle is how long two hosts may hold an address while one takes it over
	// from the other. What is heard for so long after a target was first watched
	// is ignored; then it is probed for, so that a holder that has stayed
	// answers. A conflict that began later is told of when the target is still
	// ours so long afterwards: otherwise it was us who gave way.
	Settle time.Duration
	// Probe is the time between further probes; 0 = none.
	Probe time.Duration
	// Expire is how long after a conflict was last heard of it is over, twice
	// Settle at least. It is probed for Settle before.
	Expire time.Duration
}

// DefaultTiming finds a second holder in two seconds when it was there before,
// and in a minute when it has come since and says nothing by itself.
var DefaultTiming = Timing{Settle: time.Second, Probe: time.Minute, Expire: time.Minute}

func (t Timing) settle() time.Duration { return max(t.Settle, 0) }
func (t Timing) expire() time.Duration { return max(t.Expire, 2*t.settle()) }

// Kind is the protocol by which an address was claimed.
type Kind string

// The kinds of claims.
const (
	ARP Kind = "arp" // of an IPv4 address (RFC 826)
	ND  Kind = "nd"  // of an IPv6 address (RFC 4861)
)

// Conflict is an address of ours that somebody else claims too.
type Conflict struct {
	Target Target
	MAC    MAC // where the address is said to be
	Kind   Kind
	Source netip.Addr // IPv6 source address of the last claim that had one; invalid: none, as in ARP
	First  time.Time  // claim heard
	Last   time.Time  // claim heard
	Count  uint64     // claims heard
}

func compareConflicts(a, b Conflict) int {
	return cmp.Or(compare(a.Target, b.Target), cmp.Compare(a.MAC.String(), b.MAC.String()))
}
