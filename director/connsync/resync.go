package connsync

import (
	"time"
)

// ResyncState is how far a resync has come that this director has asked for.
type ResyncState uint8

// The states.
const (
	ResyncNone ResyncState = iota
	ResyncAsked
	ResyncRunning // the peer sends
	ResyncDone
	ResyncFailed // the peer fell silent, or did not answer
)

var resyncNames = [...]string{"none", "asked", "running", "done", "failed"}

// String returns the state as one word.
func (s ResyncState) String() string { return resyncNames[s] }

// The times of a resync.
const (
	resyncPatience = 10 * time.Second // without progress
	resyncSettle   = time.Second      // for the kernel to take in what was sent last
	firstAgain     = 5 * time.Second  // until it is asked again; doubles
	lastAgain      = time.Hour
	warmUp         = 2 * time.Minute // in which a director that serves may still ask
)

// resync is the part of a node that asks for connections.
type resync struct {
	state    ResyncState
	of       uint64 // incarnation of the peer
	peer     string
	number   uint32
	began    time.Time
	progress time.Time // when the peer last said that it serves us
	ended    time.Time
	settled  time.Time // from then on a count says what it brought
	sent     uint32    // by the peer
	omitted  uint32
	tries    int
	again    time.Time // not before
}

// ask returns what beacons say of it.
func (r *resync) ask() Ask {
	if r.state != ResyncAsked && r.state != ResyncRunning {
		return Ask{}
	}
	return Ask{Of: r.of, Number: r.number}
}

// hear takes what a peer says of its serving us.
func (r *resync) hear(now time.Time, self uint64, v *Beacon) {
	if r.ask() == (Ask{}) || v.Incarnation != r.of || v.Serve.For != self || v.Serve.Number != r.number {
		return
	}
	// It reads its table first, and has nothing new to say until it sends. But to
	// serve for ever is no progress.
	if now.Sub(r.began) < bulkTime+resyncPatience {
		r.progress = now
	}
	r.state, r.sent, r.omitted = ResyncRunning, v.Serve.Sent, v.Serve.Omitted
	if v.Serve.Done {
		r.state, r.ended, r.settled = ResyncDone, now, now.Add(resyncSettle)
	}
}

// step decides whether to ask, and reports whether there is news for the peers.
func (r *resync) step(now time.Time, n *node) bool {
	if r.state == ResyncAsked || r.state == ResyncRunning {
		if now.Sub(r.progress) < resyncPatience {
			return false
		}
		r.state, r.ended, r.settled = ResyncFailed, now, now
		return true
	}
	if now.Before(r.again) || n.countedAt.IsZero() || n.countedAt.Before(r.settled) || n.local.flags&FlagReceiving == 0 {
		return false
	}
	p := n.source(now)
	if p == nil {
		if now.Sub(r.again) > lastAgain {
			r.tries = 0
		}
		return false
	}
	wait := min(firstAgain<<min(r.tries, 20), lastAgain)
	*r = resync{
		state: ResyncAsked, of: p.beacon.Incarnation, peer: p.name, number: r.number + 1,
		began: now, progress: now, tries: r.tries + 1, again: now.Add(wait),
	}
	return true
}

// source returns the peer to ask for connections; nil if nobody has what we lack.
//
// The kernel believes a message: it would put back a connection that has gone on
// here since, and a server that has changed. So a director that serves asks only
// shortly after it came back, and only if it knows less than half; one that does
// not asks whoever does.
func (n *node) source(now time.Time) *peer {
	var best *peer
	for _, p := range n.sorted() {
		if !p.alive(now) || p.beacon.ID != n.id && n.id != 0 {
			continue
		}
		if best == nil || p.better(best) {
			best = p
		}
	}
	if best == nil {
		return nil
	}
	own, theirs := n.counts.Lasting, best.beacon.Counts.Lasting
	young := now.Sub(n.started) < warmUp
	switch {
	case !behind(own, theirs, false):
		return nil
	case n.local.flags&FlagMaster != 0 && (!young || uint64(own)*2 >= uint64(theirs)):
		return nil
	case best.beacon.Flags&FlagMaster == 0 && !young:
		return nil
	}
	return best
}

// better reports whether p is to be asked rather than q: who serves, then who
// knows more.
func (p *peer) better(q *peer) bool {
	if a, b := p.beacon.Flags&FlagMaster, q.beacon.Flags&FlagMaster; a != b {
		return a > b
	}
	return p.beacon.Counts.Lasting > q.beacon.Counts.Lasting
}

// The rest after a resync, and between two that one director asks for. To read
// and send the table costs both sides, whoever and how many ask.
const (
	serveLeast = 4 * time.Second
	servePause = 4 // times what the last one took
)

// serving is the part of a node that grants requests, one at a time.
type serving struct {
	public  Serve
	peer    string
	granted bool // and not yet begun
	running bool
	began   time.Time
	ended   time.Time
}

// hear takes a peer's request.
func (s *serving) hear(now time.Time, self uint64, p *peer) {
	ask := p.beacon.Ask
	if now.Sub(s.ended) < max(serveLeast, servePause*s.ended.Sub(s.began)) {
		return
	}
	if ask.Of != self || s.running || s.granted || now.Sub(p.servedAt) < serveLeast || ask.Number == p.served {
		return
	}
	p.served, p.servedAt = ask.Number, now
	*s = serving{public: Serve{For: p.beacon.Incarnation, Number: ask.Number}, peer: p.name, granted: true}
}

// begin returns whether there is a granted request to carry out.
func (s *serving) begin(now time.Time) bool {
	if !s.granted {
		return false
	}
	s.granted, s.running, s.began = false, true, now
	return true
}

// advance notes how much has been sent.
func (s *serving) advance(sent, omitted uint32) {
	s.public.Sent, s.public.Omitted = sent, omitted
}

// end notes that all has been sent, or that it cannot be: then the peer is left
// to give up, and to ask another one.
func (s *serving) end(now time.Time, err error) {
	s.running, s.ended = false, now
	if err == nil {
		s.public.Done = true
	} else {
		s.public = Serve{}
	}
}
