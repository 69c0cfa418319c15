package track

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Kind says what is watched.
type Kind uint8

// The kinds.
const (
	Interface Kind = iota + 1 // passes while it is up and has carrier
	Command                   // passes while it exits with status 0
	Process                   // passes while enough processes of a name live
	File                      // holds a number, 0 while all is well
	Route                     // passes while it is in the main table
	Service                   // passes while it has its quorum
)

var kindNames = [...]string{Interface: "interface", Command: "command", Process: "process", File: "file", Route: "route", Service: "service"}

// String returns the key of the configuration.
func (k Kind) String() string {
	if k >= 1 && int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Argv is the arguments of a command, the executable first, each followed by a
// zero byte: so it can be compared.
type Argv string

// Args returns words, which hold no zero bytes, as an Argv.
func Args(words ...string) Argv {
	var b strings.Builder
	for _, w := range words {
		b.WriteString(w)
		b.WriteByte(0)
	}
	return Argv(b.String())
}

// Words returns the arguments.
func (a Argv) Words() []string {
	words := strings.Split(string(a), "\x00")
	return words[:len(words)-1]
}

// String returns the arguments with spaces between them, for people.
func (a Argv) String() string { return strings.Join(a.Words(), " ") }

// Target is something to watch. It is a value; fields that its kind does not
// have are zero.
type Target struct {
	Kind Kind
	Name string // of the interface, process or service; absolute path of the file

	Command  Argv // the first word is an absolute path
	User     string
	Interval time.Duration // between the starts of two runs
	Timeout  time.Duration // at most Interval
	Rise     int           // passes in a row
	Fall     int           // failures in a row

	Count int // processes that there must be at least

	Prefix netip.Prefix // of the route's destination, masked
	Via    netip.Addr   // its gateway; zero: any, or none
	Device string       // its interface; empty: any
}

// identity is what remains of the Target when only how it is watched or judged
// changes: what is known of one is believed of the other until it is looked at.
func (t Target) identity() Target {
	t.Interval, t.Timeout, t.Rise, t.Fall, t.Count = 0, 0, 0, 0, 0
	return t
}

// String says in words what is watched.
func (t Target) String() string {
	switch t.Kind {
	case Command:
		return "command " + t.Command.String()
	case Process:
		if t.Count > 1 {
			return fmt.Sprintf("process %s, at least %d", t.Name, t.Count)
		}
	case Route:
		s := "route " + t.Prefix.String()
		if t.Via.IsValid() {
			s += " via " + t.Via.String()
		}
		if t.Device != "" {
			s += " dev " + t.Device
		}
		return s
	case Service:
		return "quorum of service " + t.Name
	}
	return t.Kind.String() + " " + t.Name
}

// MaxWeight is the greatest weight, and MaxNumber the greatest number that a
// file can hold; the least are these with a minus.
const (
	MaxWeight = 253
	MaxNumber = 254
)

// Item is what a virtual router makes of a Target.
type Item struct {
	Target
	// Weight is added to the priority: a positive one while the Target passes, a
	// negative one while it does not. The number in a File is multiplied by it
	// and then added. 0: while the Target does not pass, which for a File means a
	// number other than 0, the virtual router is in fault.
	Weight int
	// Reverse exchanges passing and not passing; the number in a File, if there is
	// a Weight, changes its sign.
	Reverse bool
}

// String says in words what is watched and whether it is reversed.
func (i Item) String() string {
	if i.Reverse {
		return i.Target.String() + ", reversed"
	}
	return i.Target.String()
}

// Effect says in words what the Item does to the virtual router: "fault", or a
// weight with its sign.
func (i Item) Effect() string {
	switch {
	case i.Weight == 0:
		return "fault"
	case i.Kind == File:
		return fmt.Sprintf("number × %d", i.Weight)
	}
	return fmt.Sprintf("weight %+d", i.Weight)
}
