package vrrp

import (
	"slices"
	"time"
)

// Recorder is a Router that remembers its last steps: a flight recorder. It is
// owned as a Router is.
type Recorder struct {
	*Router
	base Router  // the router before the oldest step kept
	ring []Entry // oldest at head once full
	head int
	size int
}

// Entry is one step of a Router.
type Entry struct {
	At     time.Time
	Event  Event
	Output Output
}

// Record returns r with a memory of its last size steps, at least one. From now on r is
// stepped through the Recorder only.
func Record(r *Router, size int) *Recorder {
	return &Recorder{Router: r, base: *r, size: max(size, 1)}
}

// Step steps the router and remembers it. Addresses of advertisements are not
// kept, since the election does not read them and 255 of them are 6 KiB.
func (r *Recorder) Step(now time.Time, ev Event) Output {
	out := r.Router.Step(now, ev)
	if rx, ok := ev.(Received); ok {
		rx.Advert.Addresses = nil
		ev = rx
	}
	e := Entry{At: now, Event: ev, Output: out}
	if len(r.ring) < r.size {
		r.ring = append(r.ring, e)
		return out
	}
	// The step that is forgotten is made part of the base, so that what is kept
	// can be replayed from there.
	oldest := r.ring[r.head]
	r.base.Step(oldest.At, oldest.Event)
	r.ring[r.head] = e
	r.head = (r.head + 1) % r.size
	return out
}

// Trace returns what is remembered. It shares nothing with the Recorder that
// later steps write.
func (r *Recorder) Trace() Trace {
	t := Trace{Base: r.base, Entries: slices.Concat(r.ring[r.head:], r.ring[:r.head])}
	if len(t.Entries) > 0 {
		t.Origin = t.Entries[0].At
	}
	return t
}

// AppendText appends Trace in its text form.
func (r *Recorder) AppendText(b []byte) ([]byte, error) { return r.Trace().AppendText(b) }

// Trace is a run of one Router that can be printed, parsed and replayed.
type Trace struct {
	Origin  time.Time // what the text form counts from
	Base    Router    // before the first entry
	Entries []Entry
}

// Replay returns t with the outputs that this version of the package gives.
func (t Trace) Replay() Trace {
	r := t.Base
	t.Entries = slices.Clone(t.Entries)
	for i, e := range t.Entries {
		t.Entries[i].Output = r.Step(e.At, e.Event)
	}
	return t
}
