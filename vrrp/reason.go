package vrrp

import "strconv"

// Reason says why a virtual router is in the state that it is in.
type Reason uint8

// The reasons. The first group is decided by the election, the second comes
// with Stop and Leave.
const (
	ReasonNone           Reason = iota
	ReasonStartup               // init to backup: taking part begins
	ReasonOwner                 // to master: priority 255 does not wait
	ReasonMasterDown            // backup to master: no advertisement within the master-down interval
	ReasonFarewell              // backup to master: the master said priority 0 and the skew time has passed
	ReasonPreempt               // backup to master: the master heard has a lower priority
	ReasonHigherPriority        // master to backup: a higher priority was heard
	ReasonTie                   // master to backup: the same priority was heard from a greater address
	ReasonGroup                 // master to backup, backup to master: another member of its group has given way, or is master
	ReasonResumed               // init to master: a restart too short for anybody to have taken over

	ReasonShutdown   // to init: asked to stop
	ReasonRemoved    // to init: no longer configured
	ReasonHandover   // master to backup: asked to hand over
	ReasonLinkDown   // to fault: the interface is down or has lost its carrier
	ReasonNoAddress  // to fault: the interface has no address to send from
	ReasonSocket     // to fault: the socket cannot be opened or read
	ReasonTrack      // to fault: something that is tracked is not as it should be
	ReasonGroupFault // to fault: another member of its group is in fault

	// NumReasons is the number of reasons, for tables indexed by Reason.
	NumReasons = iota
)

var reasonNames = [NumReasons]string{
	ReasonNone:           "none",
	ReasonStartup:        "startup",
	ReasonOwner:          "owner",
	ReasonMasterDown:     "master-down",
	ReasonFarewell:       "farewell",
	ReasonPreempt:        "preempt",
	ReasonHigherPriority: "higher-priority",
	ReasonTie:            "tie",
	ReasonGroup:          "group",
	ReasonResumed:        "resumed",
	ReasonShutdown:       "shutdown",
	ReasonRemoved:        "removed",
	ReasonHandover:       "handover",
	ReasonLinkDown:       "link-down",
	ReasonNoAddress:      "no-address",
	ReasonSocket:         "socket",
	ReasonTrack:          "track",
	ReasonGroupFault:     "group-fault",
}

// String returns the reason as one word in lower case, fit for a metric label.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return "reason(" + strconv.Itoa(int(r)) + ")"
}

// Fault reports whether a Stop or Leave for this reason leads to StateFault.
func (r Reason) Fault() bool {
	return r.Mute() || r == ReasonTrack || r == ReasonGroupFault
}

// Mute reports whether a router that stops for this reason can neither say
// farewell nor serve.
func (r Reason) Mute() bool {
	return r == ReasonLinkDown || r == ReasonNoAddress || r == ReasonSocket
}
