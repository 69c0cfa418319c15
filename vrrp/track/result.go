package track

import (
	"fmt"
	"time"
)

// State is what is known of a Target, or of an Item.
type State uint8

// The states.
const (
	Unknown State = iota // not looked at yet
	Pass
	Fail
)

// String returns the lower-case name that operators see.
func (s State) String() string {
	switch s {
	case Unknown:
		return "unknown"
	case Pass:
		return "pass"
	case Fail:
		return "fail"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

func passing(ok bool) State {
	if ok {
		return Pass
	}
	return Fail
}

// Observation is what is known of a Target.
type Observation struct {
	State  State
	Since  time.Time // when State changed, or when watching began
	Number int       // in a File; how many of a Process there are
	Reason string    // why it is so: what was found
	Note   string    // what is amiss with the watching; empty: nothing
	Passes int       // of a Command, in a row
	Fails  int
}

// finding is what one look at a target found out.
type finding struct {
	state  State // Unknown: nothing new
	first  bool  // it counts only where nothing is known yet
	number int
	reason string
	note   string
}

// found returns the Observation that follows o.
func (o Observation) found(now time.Time, f finding) Observation {
	o.Note = f.note
	if f.state == Unknown || f.first && o.State != Unknown {
		return o
	}
	if f.state != o.State {
		o.State, o.Since = f.state, now
	}
	o.Number, o.Reason = f.number, f.reason
	return o
}

// ran returns the Observation that follows o when a command has been run. The
// first result counts at once: a director that starts next to a check that fails
// must not become master for as long as it takes to fail so many times.
func (o Observation) ran(t Target, now time.Time, pass bool, reason string) Observation {
	state := o.State
	if pass {
		o.Passes, o.Fails = o.Passes+1, 0
		if o.State == Unknown || o.State == Fail && o.Passes >= t.Rise {
			state = Pass
		}
	} else {
		o.Passes, o.Fails = 0, o.Fails+1
		if o.State == Unknown || o.State == Pass && o.Fails >= t.Fall {
			state = Fail
		}
	}
	if !pass && state == Pass {
		reason = fmt.Sprintf("failed %d of %d times: %s", o.Fails, t.Fall, reason)
	}
	if pass && state == Fail {
		reason = fmt.Sprintf("passed %d of %d times", o.Passes, t.Rise)
	}
	return o.found(now, finding{state: state, reason: reason})
}

// ItemStatus is an Item with what is known of it.
type ItemStatus struct {
	Item
	State  State     // of the Item: with Reverse, a Target that fails makes it pass
	Since  time.Time // when State changed, or when watching began
	Reason string    // what was found
	Note   string    // what is amiss with the watching; empty: nothing
	Fault  bool      // the Item puts the virtual router into fault
	Adjust int       // what it adds to the priority at present
}

// Result is what the items of one virtual router amount to.
type Result struct {
	Fault   bool
	Pending bool         // of an Item nothing is known yet, and it is not long that it is watched
	Adjust  int          // the sum of those of the items; Priority clamps it
	Items   []ItemStatus // in the order of the configuration
}

// pendingLimit is how long an Item of which nothing is known makes a Result
// Pending.
const pendingLimit = 10 * time.Second

// owner is the priority of the router that owns the addresses (RFC 9568 section
// 5.2.4), which no weight changes.
const owner = 255

// Priority returns what becomes of a configured priority: 1 to 254, and the owner
// of the addresses stays what it is.
func (r Result) Priority(configured uint8) uint8 {
	if configured == owner {
		return owner
	}
	return uint8(max(1, min(int(configured)+r.Adjust, owner-1)))
}

// Reason says why there is a fault: the first Item that makes one, and what was
// found. It is empty without a fault.
func (r Result) Reason() string {
	for _, i := range r.Items {
		if i.Fault {
			return i.String() + ": " + i.Reason
		}
	}
	return ""
}

// Evaluate returns what items amount to at the time now; look tells what is known
// of a Target. An Item of which nothing is known counts as passing.
func Evaluate(items []Item, now time.Time, look func(Target) Observation) Result {
	r := Result{Items: make([]ItemStatus, 0, len(items))}
	for _, i := range items {
		s := i.judge(look(i.Target))
		r.Fault = r.Fault || s.Fault
		r.Pending = r.Pending || s.State == Unknown && now.Sub(s.Since) < pendingLimit
		r.Adjust += s.Adjust
		r.Items = append(r.Items, s)
	}
	return r
}

// judge returns what o means for the Item.
func (i Item) judge(o Observation) ItemStatus {
	s := ItemStatus{Item: i, State: o.State, Since: o.Since, Reason: o.Reason, Note: o.Note}
	if i.Kind == File && i.Weight != 0 {
		s.Adjust = o.Number * i.Weight
		if i.Reverse {
			s.Adjust = -s.Adjust
		}
		if s.Fault = s.Adjust < -MaxWeight; s.Fault {
			s.Adjust = 0
		}
		if o.State != Unknown {
			s.State = passing(!s.Fault && s.Adjust >= 0)
		}
		return s
	}
	if o.State != Unknown && i.Reverse {
		s.State = passing(o.State == Fail)
	}
	switch fails := s.State == Fail; {
	case i.Weight == 0:
		s.Fault = fails
	case fails == (i.Weight < 0):
		s.Adjust = i.Weight
	}
	return s
}
