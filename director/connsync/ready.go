package connsync

import "time"

// Reason says why a director is ready to serve, or what it waits for.
type Reason uint8

// The reasons. The first group waits.
const (
	WaitServers Reason = iota // not every server has been judged
	WaitTable                 // the IPVS table is not loaded
	WaitPeers                 // nobody has been heard yet, but may be
	WaitResync                // connections are being fetched from a peer
	WaitBehind                // a peer has more connections

	ReadyAlone    // no peer is heard: there is nobody to learn from
	ReadySynced   // as many connections as the peers
	ReadyUnsynced // connections are not synchronised: servers and table are all there is
	ReadyLimit    // the limit in time has passed
	NumReasons    = iota
)

var reasonNames = [NumReasons]string{"servers not judged", "table not loaded", "listening for peers", "resync under way", "behind a peer",
	"no peer", "synchronised", "no synchronisation", "limit passed"}

// String returns the reason in a few words.
func (r Reason) String() string { return reasonNames[r] }

// listenFor is how long a director that starts listens for peers: three beacons
// and a little.
const listenFor = 3500 * time.Millisecond

// slack is how many lasting connections fewer than a peer's nine tenths will do:
// with a handful of connections each that opens or closes is a large part.
const slack = 2

// ReadyInput is what readiness depends on.
type ReadyInput struct {
	Up      time.Duration // since the start
	Heard   time.Duration // since peers can be heard; 0: they cannot
	Limit   time.Duration // after this it is ready whatever it lacks; 0: there is no limit
	Judged  bool          // every server that is checked has been judged
	Loaded  bool          // the IPVS table holds what it should
	Synced  bool          // connections are synchronised: only then do the rest matter
	Counted bool          // Own is known
	Own     uint32        // lasting connections here
	Peers   []PeerInput   // that are heard
	Resync  ResyncState   // of the last one that was asked for
}

// PeerInput is a peer that is heard.
type PeerInput struct {
	Counted bool // Lasting is known
	Lasting uint32
}

// Ready reports whether a director may take over from one that serves well, and
// why.
func Ready(in ReadyInput) (bool, Reason) {
	ok, reason := settled(in)
	if !ok && in.Limit > 0 && in.Up >= in.Limit {
		return true, ReadyLimit
	}
	return ok, reason
}

func settled(in ReadyInput) (bool, Reason) {
	switch {
	case !in.Judged:
		return false, WaitServers
	case !in.Loaded:
		return false, WaitTable
	case !in.Synced:
		return true, ReadyUnsynced
	case len(in.Peers) == 0 && in.Heard < listenFor:
		return false, WaitPeers
	case len(in.Peers) == 0:
		return true, ReadyAlone
	case in.Resync == ResyncAsked || in.Resync == ResyncRunning:
		return false, WaitResync
	}
	for _, p := range in.Peers {
		if p.Counted && p.Lasting == 0 {
			continue // there is nothing to learn
		}
		if !p.Counted || !in.Counted || behind(in.Own, p.Lasting, in.Resync == ResyncDone) {
			return false, WaitBehind
		}
	}
	return true, ReadySynced
}

// behind reports whether own connections are fewer than nine tenths of a peer's.
// Until a resync has brought what it could, not even one may be missing of a
// few.
func behind(own, theirs uint32, tried bool) bool {
	missing := int64(theirs) - int64(own)
	allowed := int64(theirs) / 10
	if tried {
		allowed += slack
	}
	return missing > allowed
}

// latch remembers that a director was ready, so that connections which come
// faster than they are told of do not take that back. It is let go when no peer
// is heard any more: what happens at the peers from then on is missing here.
//
// The limit counts anew then, but only for who has not been waiting already: a
// peer that comes and goes must not put off for ever what a limit is to end.
type latch struct {
	since   time.Time     // what the limit counts from
	longest time.Duration // of the limits
	waited  bool          // until it was ready, or for so long
	is      bool          // ready, for this reason
	reason  Reason
	met     bool // peers were heard
	lost    bool // and are not any more
}

// ready is Ready with memory; in lacks Up and Limit.
func (l *latch) ready(now time.Time, in ReadyInput, limit time.Duration) (bool, Reason) {
	switch {
	case len(in.Peers) > 0 && l.lost:
		l.lost = false
		if l.waited {
			l.since, l.waited = now, false
		}
	case len(in.Peers) > 0:
		l.met = true
	case in.Synced && l.met && !l.lost:
		l.is, l.lost = false, true
		if l.waited {
			l.since = now
		}
	case l.lost && l.waited && in.Heard > 0 && now.Add(-in.Heard).After(l.since):
		// The link was away, and they may be heard again any moment.
		l.since, l.waited = now.Add(-in.Heard), false
	}
	if l.is {
		return true, l.reason
	}
	in.Up, in.Limit = now.Sub(l.since), limit
	ok, reason := Ready(in)
	if ok && reason != ReadyLimit && reason != ReadyAlone {
		l.is, l.reason = true, reason
	}
	l.longest = max(l.longest, limit)
	l.waited = l.waited || l.is || l.longest > 0 && in.Up >= l.longest
	return ok, reason
}
