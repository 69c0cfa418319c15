package notify

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// Options are what a Notifier needs.
type Options struct {
	Log *slog.Logger // nil: none
}

// Notifier delivers events to targets.
type Notifier struct {
	log       *slog.Logger
	newSender func(Target) sender
	bell      chan struct{} // capacity 1: Run has something to look at

	mu       sync.Mutex // held for no longer than it takes to look at all targets
	present  map[Subject]Event
	hearers  map[Subject]map[*recipient]States
	order    map[Subject][]*recipient // the keys of hearers, in the order of the configuration
	targets  map[string]*recipient    // by Target.key; those that are retired too
	sequence []*recipient             // the values of targets, in the order in which they came
}

// recipient is a target with what waits for it. The Notifier's mutex guards it, but
// for sender, which belongs to the delivery that is under way.
type recipient struct {
	target  Target
	sender  sender
	queue   queue
	busy    bool // a delivery is under way
	retired bool // nobody names it any longer: it goes when its queue is empty
	status  Status
}

// sender brings one event to its target. Only one call is under way at a time.
type sender interface {
	// send blocks until the event is delivered, cannot be, or ctx ends. It calls
	// waiting, if it waits for the other side without an end, with the reason.
	send(ctx context.Context, e Event, waiting func(error)) error
	close()
}

// Status is what is known of one target.
type Status struct {
	Target    string // a program, a path, or scheme and host of a URL
	Waiting   int    // events, that under way included
	Delivered uint64
	Failed    uint64 // events that were tried, in vain
	Dropped   uint64 // events that were overtaken while they waited
	Failing   bool   // the last try failed, or the present one waits for room
	LastError string // empty: there was none
	LastAt    time.Time
}

// New returns a Notifier without targets.
func New(opts Options) *Notifier {
	n := &Notifier{
		log:       opts.Log,
		newSender: newSender,
		bell:      make(chan struct{}, 1),
		present:   make(map[Subject]Event),
		targets:   make(map[string]*recipient),
	}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	return n
}

// Set replaces the targets. It names every subject that there is, also those
// without targets. A target that was there before keeps what waits for it; one
// that is new to a subject is told its present state; a subject that is no longer
// named is said to have stopped. Set does not wait for a delivery.
func (n *Notifier) Set(targets map[Subject][]Target) {
	n.mu.Lock()
	defer n.mu.Unlock()
	defer n.ring()
	for _, s := range slices.SortedFunc(maps.Keys(n.hearers), Subject.compare) {
		if _, there := targets[s]; !there {
			n.stop(s)
		}
	}
	old := n.hearers
	n.hearers = make(map[Subject]map[*recipient]States, len(targets))
	n.order = make(map[Subject][]*recipient, len(targets))
	for _, r := range n.sequence {
		r.retired = true
	}
	for _, s := range slices.SortedFunc(maps.Keys(targets), Subject.compare) {
		heard := make(map[*recipient]States)
		for _, t := range targets[s] {
			r := n.recipient(t)
			if _, twice := heard[r]; !twice {
				n.order[s] = append(n.order[s], r)
			}
			heard[r] |= t.on()
		}
		n.hearers[s] = heard
		n.tellPresent(s, old[s])
	}
	for _, r := range n.sequence {
		if r.retired {
			r.queue.condense()
		}
	}
}

// recipient returns that of a target, which is in use.
func (n *Notifier) recipient(t Target) *recipient {
	k := t.key()
	r := n.targets[k]
	if r == nil {
		r = &recipient{target: t, sender: n.newSender(t), status: Status{Target: t.String()}}
		n.targets[k] = r
		n.sequence = append(n.sequence, r)
	}
	r.retired = false
	return r
}

// tellPresent tells the present state of a subject to who did not hear of such a
// state before.
func (n *Notifier) tellPresent(s Subject, before map[*recipient]States) {
	e, known := n.present[s]
	if !known || e.To == StateStop {
		return
	}
	for _, r := range n.order[s] {
		if n.hearers[s][r].Has(e.To) && !before[r].Has(e.To) && r.queue.newest(s) != e {
			r.queue.push(e)
		}
	}
}

// stop says that a subject is no longer configured.
func (n *Notifier) stop(s Subject) {
	e, known := n.present[s]
	delete(n.present, s)
	if !known || e.To == StateStop {
		return
	}
	e.From, e.To, e.Reason, e.At = e.To, StateStop, "removed", time.Now()
	n.tell(e)
}

// Notify takes an event, which is delivered later. It may be called from any
// goroutine, before Run and before Set too, and blocks for nothing but another
// call. An event to the state that its subject has already is none, and so is the
// stop of a subject that has no state.
func (n *Notifier) Notify(e Event) {
	if e.To == StateInit {
		e.To = StateStop
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	last, known := n.present[e.Subject]
	_, named := n.hearers[e.Subject]
	if e.To == StateStop && !named {
		delete(n.present, e.Subject) // Set has said it
		return
	}
	if known && last.To == e.To || !known && e.To == StateStop {
		return
	}
	if known {
		e.From = last.To
	}
	if e.From == StateStop {
		e.From = StateInit
	}
	n.present[e.Subject] = e
	n.tell(e)
	n.ring()
}

// Present returns the newest event of every subject.
func (n *Notifier) Present() []Event {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Values(n.present))
}

// Resume takes events for told, as Present of another process has returned them. It
// is to be called before the first Notify.
func (n *Notifier) Resume(told []Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range told {
		if _, named := n.hearers[e.Subject]; named {
			n.present[e.Subject] = e
		}
	}
}

// tell queues an event for everybody who hears of it.
func (n *Notifier) tell(e Event) {
	for _, r := range n.order[e.Subject] {
		if n.hearers[e.Subject][r].Has(e.To) {
			r.queue.push(e)
		}
	}
}

func (n *Notifier) ring() {
	select {
	case n.bell <- struct{}{}:
	default:
	}
}

// Status returns what is known of the targets that are named, in the order in
// which they were first.
func (n *Notifier) Status() []Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []Status
	for _, r := range n.sequence {
		if r.retired {
			continue
		}
		s := r.status
		s.Waiting, s.Dropped = len(r.queue.events), r.queue.dropped
		if r.busy {
			s.Waiting++
		}
		all = append(all, s)
	}
	return all
}

// remove forgets a recipient. The caller holds the mutex.
func (n *Notifier) remove(r *recipient) {
	delete(n.targets, r.target.key())
	n.sequence = slices.DeleteFunc(n.sequence, func(o *recipient) bool { return o == r })
}
