package director

import (
	"strconv"
	"time"

	"github.com/understudy-ha/understudy/garp"
)

// Role is what a virtual router is to the kernel.
type Role uint8

// The roles.
const (
	RoleUnknown Role = iota // not settled since start: nobody knows who is master
	RoleBackup
	RoleMaster
	RoleFault
	RoleYielding // not master any more, but its successor may not be able to answer yet
)

// String returns the lower-case name that operators see.
func (r Role) String() string {
	switch r {
	case RoleUnknown:
		return "unknown"
	case RoleBackup:
		return "backup"
	case RoleMaster:
		return "master"
	case RoleFault:
		return "fault"
	case RoleYielding:
		return "yielding"
	}
	return "role " + strconv.Itoa(int(r))
}

// verdict is that on all that a virtual router in this role has in the kernel.
func (r Role) verdict() (Intent, Reason) {
	switch r {
	case RoleMaster:
		return Hold, ReasonMaster
	case RoleBackup:
		return Absent, ReasonBackup
	case RoleFault:
		return Absent, ReasonFault
	case RoleYielding:
		return Keep, ReasonYielding
	}
	return Keep, ReasonUnsettled
}

// RoleState is the current role of a virtual router.
type RoleState struct {
	Role  Role
	Epoch uint64 // grows whenever it became master, or somebody else was beside it; a change announces again
}

// Intent is what should become of an object.
type Intent uint8

// The intents. The zero value takes away.
const (
	Absent Intent = iota // delete it if it is there and ours
	Drain                // a server that goes when its connections have ended, and gets no new ones
	Keep                 // leave it if it is there, do not create it
	Hold                 // it should be there
)

// String returns the lower-case name that operators see.
func (i Intent) String() string {
	switch i {
	case Absent:
		return "absent"
	case Drain:
		return "drain"
	case Keep:
		return "keep"
	case Hold:
		return "hold"
	}
	return "intent " + strconv.Itoa(int(i))
}

// Reason says why an object has its Intent.
type Reason uint8

// The reasons.
const (
	ReasonNotConfigured Reason = iota // no configuration names it
	ReasonMaster                      // its virtual router is master
	ReasonBackup                      // its virtual router is backup
	ReasonFault                       // its virtual router is in fault
	ReasonYielding                    // its virtual router has just been succeeded, and the successor may not answer yet
	ReasonUnsettled                   // its virtual router has not settled since start
	ReasonConfigured                  // a service of the configuration
	ReasonUnchecked                   // a server without a check
	ReasonUp                          // a server whose check passes
	ReasonDown                        // a server whose check fails
	ReasonUnproved                    // a server whose check has no result yet
	ReasonStopping                    // the director is stopping
	ReasonDrained                     // an operator drains it
	ReasonNoQuorum                    // the service has lost its quorum, and something to say sorry with
	ReasonQuorum                      // the service has its quorum and needs no sorry server
	ReasonUndecided                   // nobody knows yet whether the service has its quorum
	ReasonDropped                     // the configuration does not name this server of its service
	ReasonReplaced                    // nor this one, but nobody knows yet whether those that it names can serve
)

// String returns the reason as operators read it.
func (r Reason) String() string {
	switch r {
	case ReasonNotConfigured:
		return "not configured"
	case ReasonMaster:
		return "master"
	case ReasonBackup:
		return "backup"
	case ReasonFault:
		return "fault"
	case ReasonYielding:
		return "until the new master answers"
	case ReasonUnsettled:
		return "role not settled yet"
	case ReasonConfigured:
		return "configured"
	case ReasonUnchecked:
		return "not checked"
	case ReasonUp:
		return "up"
	case ReasonDown:
		return "down"
	case ReasonUnproved:
		return "no check result yet"
	case ReasonStopping:
		return "stopping"
	case ReasonDrained:
		return "drained by hand"
	case ReasonNoQuorum:
		return "no quorum"
	case ReasonQuorum:
		return "quorum"
	case ReasonUndecided:
		return "quorum not known yet"
	case ReasonDropped:
		return "not configured any more"
	case ReasonReplaced:
		return "until one that replaces it has passed its check"
	}
	return "reason " + strconv.Itoa(int(r))
}

// Want is the verdict on one object.
type Want[V comparable] struct {
	Intent Intent
	Reason Reason
	Spec   V
	Name   string // of the virtual router or service that it belongs to
}

// Desired is the verdict on every address, route and rule that a configuration
// names. What it does not name is not wanted.
type Desired struct {
	Addresses map[AddrKey]Want[AddrSpec]
	Claims    map[AddrKey]garp.Claim // of the addresses to hold
	Routing   map[RoutingKey]Want[RoutingSpec]
}

// Plan decides on every address, route and rule that config names. It is pure and
// total: a virtual router missing from roles counts as RoleUnknown, and an object
// that is named twice gets the stronger intent, or else the first one.
func Plan(config Config, roles map[string]RoleState) Desired {
	addresses, claims := planAddresses(config, roles)
	return Desired{Addresses: addresses, Claims: claims, Routing: planRouting(config, roles)}
}

func planAddresses(config Config, roles map[string]RoleState) (map[AddrKey]Want[AddrSpec], map[AddrKey]garp.Claim) {
	n := 0
	for _, r := range config.Routers {
		n += len(r.Addresses)
	}
	wants := make(map[AddrKey]Want[AddrSpec], n)
	claims := make(map[AddrKey]garp.Claim, n)
	for _, r := range config.Routers {
		state := roles[r.Name]
		want := Want[AddrSpec]{Spec: AddrSpec{Ours: true}, Name: r.Name}
		want.Intent, want.Reason = state.Role.verdict()
		for _, p := range r.Addresses {
			key := AddrKey{Link: r.Link, Prefix: p}
			if old, ok := wants[key]; ok && old.Intent >= want.Intent {
				continue
			}
			wants[key] = want
			if want.Intent == Hold {
				claims[key] = garp.Claim{Schedule: r.Announce, Epoch: state.Epoch}
			}
		}
	}
	return wants, claims
}

// canonical returns s as the kernel gives it back: whole seconds, and a mask
// that means nothing without persistence filled in.
func canonical(k ServiceKey, s ServiceSpec) ServiceSpec {
	s.Persistence = s.Persistence.Truncate(time.Second)
	if s.Persistence == 0 || s.Mask == 0 {
		s.Mask = k.mask()
	}
	return s
}
