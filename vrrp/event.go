package vrrp

import (
	"net/netip"
	"time"
)

// Event is something that happens to a Router: one of Start, Stop, Leave, Resume,
// Tick, Received, Reconfigure, Lead, Concede and Expect.
type Event interface{ event() }

// Start says that the router may take part: its link is up and it has a
// primary address. It does nothing to a router that already takes part; one that
// is about to leave stays.
type Start struct{}

// Stop ends taking part. A master says farewell with priority 0. A Reason that
// is a fault (Reason.Fault) leads to StateFault, any other to StateInit.
type Stop struct{ Reason Reason }

// Leave is a Stop that loses nothing, for a director whose link works: a master
// says farewell and goes on serving until it hears its successor, or until every
// backup that heard the farewell must have spoken (Status.Leaving). With
// ReasonHandover the router stays in the election: it becomes backup of its
// successor, and goes on as master if there is none. For a router that is not
// master it is a Stop, or with ReasonHandover nothing.
type Leave struct {
	Reason Reason
	// Wait is how long it waits for its successor at least: the longest time that a
	// member of its group waits. Its own time is Config.LeaveTime.
	Wait time.Duration
}

// Resume says that the router may take part and is master already: it was when
// its process ended, too short a time ago for a backup to have taken over. It
// does nothing to a router that already takes part.
type Resume struct{}

// Tick says that Deadline has been reached. An early Tick changes nothing.
type Tick struct{}

// Received is an advertisement for this virtual router that passed Parse.
type Received struct {
	Src    netip.Addr // unmapped, without zone
	Advert Advertisement
}

// Reconfigure replaces the configuration without a change of state (which is how
// Config.Hold is set and released), unless the
// priority becomes PriorityOwner. A master that stops being owner stays master
// until a better one takes over, so that nothing is lost meanwhile. Another VRID
// makes another virtual router: that is a Stop and a new Router.
type Reconfigure struct{ Config Config }

// Lead makes a member of a group master with the others, which is when every one of
// them has been seen with Status.Wants.
type Lead struct{}

// Concede makes a member of a group backup because another member has become it.
type Concede struct{}

// Expect tells a member of a group that another member has heard the farewell of
// its master: that director gives up the whole group.
type Expect struct{}

func (Start) event()       {}
func (Stop) event()        {}
func (Leave) event()       {}
func (Resume) event()      {}
func (Lead) event()        {}
func (Concede) event()     {}
func (Expect) event()      {}
func (Tick) event()        {}
func (Received) event()    {}
func (Reconfigure) event() {}

// State is the state of a virtual router on this router.
type State uint8

// The states. RFC 9568 section 6.4 knows the first three; fault is Initialize
// with a reason to be there.
const (
	StateInit State = iota
	StateBackup
	StateMaster
	StateFault
)

// Output is what one Step decided. It is comparable; the zero value means that
// nothing is to be done.
type Output struct {
	Advertise  bool  // send an advertisement now ...
	Priority   uint8 // ... with this priority (0 is the farewell)
	Transition bool  // the state changed From one To another for Reason
	From, To   State
	Reason     Reason
	Drop       Drop // why a Received event was not acted upon; DropNone otherwise
}
