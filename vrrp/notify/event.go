package notify

import (
	"cmp"
	"strconv"
	"time"

	"github.com/understudy-ha/understudy/vrrp"
)

// Kind is what an event is about.
type Kind uint8

// The kinds.
const (
	KindRouter Kind = iota // a virtual router
	KindGroup              // a group of them
)

// String returns the name of the table in the configuration.
func (k Kind) String() string {
	if k == KindGroup {
		return "group"
	}
	return "vrrp"
}

// State is what a subject is said to be.
type State uint8

// The states. Init is only ever left.
const (
	StateInit State = iota
	StateBackup
	StateMaster
	StateFault
	StateStop // it no longer takes part: the daemon stops, or it is no longer configured
)

var stateNames = [...]string{
	StateInit: "init", StateBackup: "backup", StateMaster: "master", StateFault: "fault", StateStop: "stop",
}

// String returns the name in lower case.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "state(" + strconv.Itoa(int(s)) + ")"
}

// StateOf returns the state of an election as that of an event.
func StateOf(s vrrp.State) State {
	switch s {
	case vrrp.StateBackup:
		return StateBackup
	case vrrp.StateMaster:
		return StateMaster
	case vrrp.StateFault:
		return StateFault
	}
	return StateInit
}

// States is a set of states.
type States uint8

// Of returns the set of the given states.
func Of(states ...State) States {
	var set States
	for _, s := range states {
		set |= 1 << s
	}
	return set
}

// AllStates are those that a subject can enter.
const AllStates = States(1<<StateBackup | 1<<StateMaster | 1<<StateFault | 1<<StateStop)

// Has reports whether the set has the state.
func (set States) Has(s State) bool { return set&(1<<s) != 0 }

// Subject is what changes state.
type Subject struct {
	Kind Kind
	Name string
}

// String returns the kind and the name in quotes.
func (s Subject) String() string { return s.Kind.String() + " " + strconv.Quote(s.Name) }

// compare orders virtual routers before groups, and by name.
func (s Subject) compare(o Subject) int {
	return cmp.Or(cmp.Compare(s.Kind, o.Kind), cmp.Compare(s.Name, o.Name))
}

// Event is a change of state.
type Event struct {
	Subject
	// From is the state before. Where the Notifier knows that, it fills it in.
	From State
	// To is the state now; StateInit counts as StateStop.
	To        State
	Reason    string // one word
	Priority  uint8  // in force; 0 for a group
	Interface string // empty for a group
	VRID      uint8  // 0 for a group
	At        time.Time
}
