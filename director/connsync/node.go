package connsync

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// The times of the directors' own protocol.
const (
	beaconEvery = time.Second
	beaconLeast = 100 * time.Millisecond // between two, however much there is to say
	silentAfter = 3500 * time.Millisecond
	forgetAfter = 10 * time.Minute
	lookFor     = 20 * time.Second // a peer's synthetic connection; the kernels take about three
	window      = 30               // beacons of ours that another one may be behind
)

// ProbeResult is the fate of a synthetic connection at one peer.
type ProbeResult struct {
	Client netip.AddrPort // which one
	At     time.Time      // when it was made
	Lag    time.Duration  // until the peer's kernel had it, by our clock
}

// peer is another director.
type peer struct {
	name      string
	address   netip.Addr
	beacon    Beacon // the last one
	heard     time.Time
	since     time.Time // of its being heard without a gap
	confirmed bool      // its beacons answer ours
	answered  time.Time // when one last did

	// candidate is another incarnation of that name, which does not answer us yet:
	// the director has started again, or somebody plays a recording.
	candidate     Heard
	candidateFrom time.Time
	past          [4]uint64 // incarnations that were replaced; nobody goes back to them

	look     netip.AddrPort // its synthetic connection
	lookFrom time.Time
	seen     time.Time // when it was in our kernel; zero: not yet

	probed   ProbeResult // ours at it
	missed   int         // of ours since, that did not arrive
	served   uint32      // number of its last request that was granted
	servedAt time.Time
}

func (p *peer) alive(now time.Time) bool {
	return p.confirmed && now.Sub(p.heard) < silentAfter
}

// local is what a director knows of itself without any peer.
type local struct {
	flags          Flags
	judged, loaded bool
}

// node is the state of one director towards the others. It is pure: every method
// takes the time, and nothing in it blocks. Who uses it sees to it that one
// goroutine does at a time.
type node struct {
	name        string
	incarnation uint64
	id          uint8
	started     time.Time
	listening   time.Time // since when others can be heard; zero: they cannot
	sequence    uint64

	local     local
	counts    Counts
	countedAt time.Time // zero: never

	peers   map[string]*peer
	drops   [NumDrops]uint64
	dropped [NumDrops]time.Time // last
	oneWay  uint64              // beacons of directors that do not hear us

	probe   ProbeResult // the last one made; Lag is not used
	resync  resync
	serving serving

	lastSent time.Time
	kick     bool // there is something to say before the second is over
}

func newNode(name string, id uint8, incarnation uint64, now time.Time) *node {
	return &node{name: name, id: id, incarnation: incarnation, started: now, peers: map[string]*peer{}}
}

// hear takes a beacon from the network.
func (n *node) hear(now time.Time, from netip.Addr, v Beacon) Drop {
	drop := n.screen(now, from, v)
	if drop != DropNone {
		n.drop(now, drop)
	}
	return drop
}

// drop notes a beacon that was not acted upon.
func (n *node) drop(now time.Time, why Drop) {
	n.drops[why]++
	n.dropped[why] = now
}

func (n *node) screen(now time.Time, from netip.Addr, v Beacon) Drop {
	switch {
	case v.Incarnation == n.incarnation:
		return DropOwn
	case v.Name == n.name:
		return DropName
	}
	p := n.peers[v.Name]
	if p == nil {
		if len(n.peers) >= maxPeers && !n.evict(now) {
			return DropCrowd
		}
		p = &peer{name: v.Name}
		n.peers[v.Name] = p
	}
	same := p.beacon.Incarnation == v.Incarnation
	answers := n.answered(v)
	switch {
	case same && v.Sequence <= p.beacon.Sequence, slices.Contains(p.past[:], v.Incarnation):
		return DropReplay
	case same && p.confirmed && (answers || now.Sub(p.answered) < silentAfter):
	case answers && same:
		p.since, p.confirmed, n.kick = now, true, true
	case answers:
		n.replace(p, now, v.Incarnation)
		p.confirmed, n.kick = true, true
	case same:
		p.confirmed = false
		n.oneWay++
	case p.alive(now):
		if c := p.candidate; c.Incarnation == v.Incarnation && v.Sequence <= c.Sequence {
			return DropReplay
		}
		n.kick = n.kick || p.candidate.Incarnation != v.Incarnation
		p.candidate, p.candidateFrom = Heard{Incarnation: v.Incarnation, Sequence: v.Sequence}, now
		return DropNone
	default:
		n.oneWay++
		n.replace(p, now, v.Incarnation)
		n.kick = true // let it hear that it is heard
	}
	if now.Sub(p.heard) >= silentAfter {
		p.since = now
	}
	if answers {
		p.answered = now
	}
	p.beacon, p.address, p.heard = v, from, now
	if p.confirmed {
		n.act(now, p)
	}
	return DropNone
}

// replace makes p a director of another incarnation, of which nothing is known.
func (n *node) replace(p *peer, now time.Time, incarnation uint64) {
	past := p.past
	if was := p.beacon.Incarnation; was != 0 && was != incarnation && p.confirmed {
		copy(past[1:], past[:])
		past[0] = was
	}
	*p = peer{name: p.name, since: now, past: past, probed: p.probed, missed: p.missed, servedAt: p.servedAt}
}

// answered reports whether v has heard a recent beacon of ours.
func (n *node) answered(v Beacon) bool {
	for _, h := range v.Heard {
		if h.Incarnation == n.incarnation {
			return h.Sequence <= n.sequence && h.Sequence+window > n.sequence
		}
	}
	return false
}

// evict forgets the director that has been silent for the longest time.
func (n *node) evict(now time.Time) bool {
	var oldest *peer
	for _, p := range n.peers {
		if !p.alive(now) && (oldest == nil || p.heard.Before(oldest.heard)) {
			oldest = p
		}
	}
	if oldest == nil {
		return false
	}
	delete(n.peers, oldest.name)
	return true
}

// act does what the last beacon of a confirmed peer calls for.
func (n *node) act(now time.Time, p *peer) {
	v := &p.beacon
	if v.Probe != p.look {
		p.look, p.lookFrom, p.seen = v.Probe, now, time.Time{}
	}
	for _, h := range v.Heard {
		if h.Incarnation == n.incarnation && h.Seen && n.probe.Client.IsValid() && h.Probe == n.probe.Client && p.probed.Client != h.Probe {
			p.probed = ProbeResult{Client: h.Probe, At: n.probe.At, Lag: max(now.Sub(n.probe.At)-h.Held, 0)}
			p.missed = 0
		}
	}
	n.resync.hear(now, n.incarnation, v)
	n.serving.hear(now, n.incarnation, p)
}

// due reports whether there is a beacon to send: once a second, or earlier when
// there is news.
func (n *node) due(now time.Time) bool {
	since := now.Sub(n.lastSent)
	return n.sequence == 0 || since >= beaconEvery || n.kick && since >= beaconLeast
}

// say returns the next beacon, if one is due.
func (n *node) say(now time.Time) (Beacon, bool) {
	if !n.due(now) {
		return Beacon{}, false
	}
	n.lastSent, n.kick = now, false
	n.sequence++
	v := Beacon{
		Name: n.name, Incarnation: n.incarnation, Sequence: n.sequence, Uptime: now.Sub(n.started),
		Flags: n.local.flags, ID: n.id, Counts: n.counts, Probe: n.probe.Client,
		Ask: n.resync.ask(), Serve: n.serving.public,
	}
	if !n.countedAt.IsZero() {
		v.Flags |= FlagCounted
	}
	for _, p := range n.sorted() {
		if len(v.Heard) < maxPeers && p.candidate.Incarnation != 0 && now.Sub(p.candidateFrom) < silentAfter {
			v.Heard = append(v.Heard, p.candidate)
		}
		if now.Sub(p.heard) >= silentAfter || len(v.Heard) == maxPeers {
			continue
		}
		h := Heard{Incarnation: p.beacon.Incarnation, Sequence: p.beacon.Sequence, Probe: p.look}
		if h.Seen = !p.seen.IsZero(); h.Seen {
			h.Held = now.Sub(p.seen)
		}
		v.Heard = append(v.Heard, h)
	}
	return v, true
}

// sorted returns the peers by name.
func (n *node) sorted() []*peer {
	var list []*peer
	for _, p := range n.peers {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b *peer) int { return strings.Compare(a.name, b.name) })
	return list
}

// looking reports whether there is a synthetic connection to look for.
func (n *node) looking(now time.Time) bool {
	for _, p := range n.peers {
		if p.alive(now) && p.look.IsValid() && p.seen.IsZero() && now.Sub(p.lookFrom) < lookFor {
			return true
		}
	}
	return false
}

// counted takes what a reading of the table found.
func (n *node) counted(now time.Time, c Counts, probes map[netip.AddrPort]bool) {
	n.counts, n.countedAt = c, now
	for _, p := range n.peers {
		if p.seen.IsZero() && p.look.IsValid() && probes[p.look] {
			p.seen = now
			n.kick = true // who measures waits for this
		}
	}
}

// probing notes that a synthetic connection is being made. What the one before it
// has not reached, it has missed.
func (n *node) probing(now time.Time, client netip.AddrPort) {
	if before := n.probe.Client; before.IsValid() {
		for _, p := range n.peers {
			if p.alive(now) && p.since.Before(n.probe.At) && p.probed.Client != before {
				p.missed++
			}
		}
	}
	n.probe = ProbeResult{Client: client, At: now}
	n.kick = true
}

// step looks at what time alone may have changed.
func (n *node) step(now time.Time, l local) {
	n.local = l
	for name, p := range n.peers {
		if now.Sub(p.heard) >= forgetAfter {
			delete(n.peers, name)
		}
	}
	if n.resync.step(now, n) {
		n.kick = true
	}
}

// readiness returns what Ready depends on, without a limit.
func (n *node) readiness(now time.Time) ReadyInput {
	in := ReadyInput{
		Up: now.Sub(n.started), Judged: n.local.judged, Loaded: n.local.loaded, Synced: true,
		Own: n.counts.Lasting, Resync: n.resync.state,
		// What was counted before the resync ended says nothing of what it brought.
		Counted: !n.countedAt.IsZero() && !n.countedAt.Before(n.resync.settled),
	}
	if !n.listening.IsZero() {
		in.Heard = now.Sub(n.listening)
	}
	for _, p := range n.peers {
		if p.alive(now) {
			in.Peers = append(in.Peers, PeerInput{Counted: p.beacon.Flags&FlagCounted != 0, Lasting: p.beacon.Counts.Lasting})
		}
	}
	return in
}

// probesArrived returns a number that changes when a synthetic connection of ours
// is seen by a peer.
func (n *node) probesArrived() int {
	count := 0
	for _, p := range n.peers {
		if p.probed.Client.IsValid() && p.probed.Client == n.probe.Client {
			count++
		}
	}
	return count
}

// met counts the directors that hear us and are heard.
func (n *node) met() int {
	count := 0
	for _, p := range n.peers {
		if p.confirmed {
			count++
		}
	}
	return count
}
