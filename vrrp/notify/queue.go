package notify

import "slices"

// maxQueue is how many events wait for one target before events are let go that a
// later one of the same subject has overtaken. Where there are more subjects than
// that, one event of each may wait.
const maxQueue = 256

// queue holds the events that wait for one target, the oldest first. The zero
// value is empty.
type queue struct {
	events  []Event
	waiting map[Subject]int // of them; subjects of which none waits are absent
	dropped uint64
}

// push appends an event. Where the queue is full, the oldest event goes that is
// not the newest of its subject.
func (q *queue) push(e Event) {
	if q.waiting == nil {
		q.waiting = make(map[Subject]int)
	}
	q.events = append(q.events, e)
	q.waiting[e.Subject]++
	if len(q.events) <= maxQueue {
		return
	}
	for i, old := range q.events {
		if q.waiting[old.Subject] > 1 {
			q.events = slices.Delete(q.events, i, i+1)
			q.taken(old.Subject)
			q.dropped++
			return
		}
	}
}

// pop takes the oldest event.
func (q *queue) pop() (Event, bool) {
	if len(q.events) == 0 {
		return Event{}, false
	}
	e := q.events[0]
	q.events = slices.Delete(q.events, 0, 1)
	q.taken(e.Subject)
	return e, true
}

func (q *queue) taken(s Subject) {
	if q.waiting[s]--; q.waiting[s] == 0 {
		delete(q.waiting, s)
	}
}

// newest returns the newest event of a subject that waits, or the zero Event.
func (q *queue) newest(s Subject) Event {
	for _, e := range slices.Backward(q.events) {
		if e.Subject == s {
			return e
		}
	}
	return Event{}
}

// condense leaves the newest event of each subject.
func (q *queue) condense() {
	kept := q.events[:0]
	for _, e := range q.events {
		if q.waiting[e.Subject] > 1 {
			q.taken(e.Subject)
			q.dropped++
			continue
		}
		kept = append(kept, e)
	}
	clear(q.events[len(kept):])
	q.events = kept
}
