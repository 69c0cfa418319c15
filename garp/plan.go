package garp

import (
	"cmp"
	"container/heap"
	"time"
)

// An announcement that failed is tried again after retryFirst, then twice as
// long each time up to retryMost; after retries in a row it counts as made and
// the schedule goes on.
const (
	retryFirst = 50 * time.Millisecond
	retryMost  = time.Second
	retries    = 10
)

// Plan decides when which target is announced. It reads no clock and sends
// nothing. The zero value plans nothing; a Plan is not safe for concurrent use.
//
// Of the targets that are due, the one announced least often since its schedule
// began comes first: every target is announced once before any is again.
type Plan struct {
	entries map[Target]*entry
	waiting queue // not due when last looked at, by time
	ready   queue // due, least announced first
}

// entry is the progress of one target through its schedule.
type entry struct {
	target Target
	claim  Claim
	start  time.Time // of the schedule
	last   time.Time // announcement; start if there was none
	phase  phase
	sent   int       // announcements in this phase
	total  int       // announcements since start
	fails  int       // in a row
	at     time.Time // of the next announcement; zero: there is none
	in     *queue    // nil: in none
	index  int       // in that queue
}

// phase is a part of a schedule.
type phase uint8

const (
	firstBurst phase = iota
	secondBurst
	refresh
)

// next sets at to the time of the announcement that follows.
func (e *entry) next() {
	s := e.claim.Schedule
	if e.phase == firstBurst && e.sent >= s.Count {
		e.phase, e.sent = secondBurst, 0
	}
	if e.phase == secondBurst && (s.RepeatAfter <= 0 || e.sent >= s.Count) {
		e.phase, e.sent = refresh, 0
	}
	switch {
	case e.phase == refresh && s.Refresh <= 0:
		e.at = time.Time{}
	case e.phase == refresh:
		e.at = e.last.Add(s.Refresh)
	case e.sent > 0:
		e.at = e.last.Add(max(s.Interval, 0))
	case e.phase == secondBurst:
		e.at = e.start.Add(s.RepeatAfter)
		if after := e.last.Add(max(s.Interval, 0)); e.at.Before(after) {
			e.at = after // the first burst lasted longer
		}
	default:
		e.at = e.start
	}
}

// Set makes claims what is announced. A target that is new, or whose Epoch
// changed, begins its schedule at now; one whose Schedule alone changed goes on
// where it is, by the new one; one that is missing is announced no more.
func (p *Plan) Set(now time.Time, claims map[Target]Claim) {
	if p.entries == nil {
		p.entries = make(map[Target]*entry, len(claims))
		p.waiting.compare = byTime
		p.ready.compare = byTotal
	}
	for target, e := range p.entries {
		if _, ok := claims[target]; !ok {
			p.move(e, nil)
			delete(p.entries, target)
		}
	}
	for target, claim := range claims {
		e, ok := p.entries[target]
		if ok && e.claim == claim {
			continue
		}
		if ok && e.claim.Epoch == claim.Epoch {
			e.claim = claim
		} else {
			p.move(e, nil)
			e = &entry{target: target, claim: claim, start: now, last: now}
			p.entries[target] = e
		}
		p.enqueue(e)
	}
}

// Next returns the target to announce at now. It returns the same one again
// until Sent or Failed says what became of it, or Set takes it away.
func (p *Plan) Next(now time.Time) (Target, bool) {
	for len(p.waiting.entries) > 0 && !p.waiting.entries[0].at.After(now) {
		p.move(p.waiting.entries[0], &p.ready)
	}
	if len(p.ready.entries) == 0 {
		return Target{}, false
	}
	return p.ready.entries[0].target, true
}

// Urgent reports whether the target that Next returned was never announced since
// its schedule began.
func (p *Plan) Urgent() bool {
	return len(p.ready.entries) > 0 && p.ready.entries[0].total == 0
}

// Sent says that target was announced at now.
func (p *Plan) Sent(now time.Time, target Target) {
	if e, ok := p.entries[target]; ok {
		p.advance(now, e)
	}
}

// Failed says that announcing target failed at now. It is due again a little
// later, until it has failed too often.
func (p *Plan) Failed(now time.Time, target Target) {
	e, ok := p.entries[target]
	if !ok {
		return
	}
	e.fails++
	if e.fails > retries {
		p.advance(now, e)
		return
	}
	e.at = now.Add(min(retryFirst<<(e.fails-1), retryMost))
	p.move(e, &p.waiting)
}

// Deadline reports when Next will have a target; the zero time means never.
func (p *Plan) Deadline() time.Time {
	switch {
	case len(p.ready.entries) > 0:
		return p.ready.entries[0].at
	case len(p.waiting.entries) > 0:
		return p.waiting.entries[0].at
	}
	return time.Time{}
}

func (p *Plan) advance(now time.Time, e *entry) {
	e.last, e.fails = now, 0
	e.sent++
	e.total++
	p.enqueue(e)
}

// enqueue puts e where it waits for its next announcement, if there is one.
func (p *Plan) enqueue(e *entry) {
	e.next()
	if e.at.IsZero() {
		p.move(e, nil)
	} else {
		p.move(e, &p.waiting)
	}
}

// move takes e, which may be nil, out of its queue and puts it in another.
func (p *Plan) move(e *entry, to *queue) {
	if e == nil {
		return
	}
	if e.in != nil {
		heap.Remove(e.in, e.index)
	}
	e.in = to
	if to != nil {
		heap.Push(to, e)
	}
}

// byTime orders by the time of the next announcement.
func byTime(a, b *entry) int {
	return cmp.Or(a.at.Compare(b.at), compare(a.target, b.target))
}

// byTotal orders by the number of announcements made.
func byTotal(a, b *entry) int {
	return cmp.Or(cmp.Compare(a.total, b.total), byTime(a, b))
}

func compare(a, b Target) int {
	return cmp.Or(cmp.Compare(a.Link, b.Link), a.Address.Compare(b.Address))
}

// queue is a heap of entries that know their index in it.
type queue struct {
	entries []*entry
	compare func(a, b *entry) int
}

func (q *queue) Len() int           { return len(q.entries) }
func (q *queue) Less(i, j int) bool { return q.compare(q.entries[i], q.entries[j]) < 0 }

func (q *queue) Swap(i, j int) {
	q.entries[i], q.entries[j] = q.entries[j], q.entries[i]
	q.entries[i].index, q.entries[j].index = i, j
}

func (q *queue) Push(x any) {
	e := x.(*entry)
	e.index = len(q.entries)
	q.entries = append(q.entries, e)
}

func (q *queue) Pop() any {
	n := len(q.entries) - 1
	e := q.entries[n]
	q.entries[n] = nil
	q.entries = q.entries[:n]
	return e
}
