package vrrp

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Condition is something between this router and another one that is not as it
// should be, and that the election alone does not put right.
type Condition uint8

// The conditions.
const (
	ConditionNone         Condition = iota
	ConditionTwoMasters             // two routers say that they are master, again and again
	ConditionSamePriority           // another owner of the addresses, or a master with the priority of our group: the greater address decides
	ConditionInterval               // another advertisement interval than ours
	ConditionVersion                // another version of the protocol
	ConditionVRID                   // our addresses under another VRID
	ConditionAddresses              // another list of addresses
	ConditionAuth                   // another authentication type or password
	ConditionChecksum               // the checksum of the other RFC
	ConditionOwnAddress             // our own source address is used by somebody else, or a switch sends our packets back
	ConditionConflict               // somebody else answers for one of our addresses (ARP, neighbour discovery)

	// NumConditions is the number of conditions, for tables indexed by Condition.
	NumConditions = iota
)

var conditionNames = [NumConditions]string{
	ConditionNone:         "none",
	ConditionTwoMasters:   "two-masters",
	ConditionSamePriority: "same-priority",
	ConditionInterval:     "interval",
	ConditionVersion:      "version",
	ConditionVRID:         "vrid",
	ConditionAddresses:    "addresses",
	ConditionAuth:         "authentication",
	ConditionChecksum:     "checksum",
	ConditionOwnAddress:   "own-address",
	ConditionConflict:     "address-conflict",
}

// String returns the condition as one word in lower case, fit for a metric label.
func (c Condition) String() string {
	if int(c) < len(conditionNames) {
		return conditionNames[c]
	}
	return "condition(" + strconv.Itoa(int(c)) + ")"
}

// Compare calls differs with every condition in which an advertisement, which the
// election has answered with drop, differs from c. It looks at nothing but the two,
// so that what takes two advertisements to find is not among them.
func (c Config) Compare(rx Received, drop Drop, differs func(Condition)) {
	a := rx.Advert
	switch drop {
	case DropVersion:
		differs(ConditionVersion)
		return
	case DropAuthType, DropPassword:
		differs(ConditionAuth)
		return
	case DropChecksum:
		differs(ConditionChecksum)
		return
	case DropOwnAddress:
		differs(ConditionOwnAddress)
		return
	case DropNone, DropInterval, DropAddresses, DropPriority, DropOwner:
	default:
		return // it is not for this router, or makes no sense
	}
	if a.Interval != c.Interval {
		differs(ConditionInterval)
	}
	if drop == DropAddresses || !SameAddresses(a.Addresses, c.Addresses) {
		differs(ConditionAddresses)
	}
	// RFC 9568 section 8.3.2: several owners SHOULD be logged. Other equal priorities
	// MAY be; they are how people have neither of two routers preempt the other, but in
	// a group each member would decide by its own addresses.
	if a.Priority == c.Priority && (c.Priority == PriorityOwner || c.Grouped) {
		differs(ConditionSamePriority)
	}
}

// Matches reports whether an advertisement lists the addresses of c, in whatever
// order, and over IPv6 a link-local one first. A router may demand the former by RFC
// 9568 section 7.1, and has to demand the latter by erratum 8300. In version 2 an owner
// is heard whatever it lists (RFC 3768 section 7.1).
func (c Config) Matches(a Advertisement) bool {
	switch {
	case a.Version == V2 && a.Priority == PriorityOwner:
		return true
	case len(a.Addresses) > 0 && a.Addresses[0].Is6() && !a.Addresses[0].IsLinkLocalUnicast():
		return false
	}
	return SameAddresses(a.Addresses, c.Addresses)
}

// SameAddresses reports whether two lists hold the same addresses, in whatever
// order. RFC 9568 section 7.1 lets a router compare them.
func SameAddresses(a, b []netip.Addr) bool {
	if slices.Equal(a, b) {
		return true
	}
	if len(a) != len(b) {
		return false
	}
	a, b = slices.Clone(a), slices.Clone(b)
	slices.SortFunc(a, netip.Addr.Compare)
	slices.SortFunc(b, netip.Addr.Compare)
	return slices.Equal(a, b)
}

// Explain says what differs, for people: what the other one has, and what c has.
func (c Config) Explain(which Condition, rx Received) string {
	a := rx.Advert
	switch which {
	case ConditionTwoMasters:
		return fmt.Sprintf("%v is master, too, with priority %d; look for a network that is cut in one direction, or for advertisements that a switch or firewall drops", rx.Src, a.Priority)
	case ConditionSamePriority:
		if c.Priority == PriorityOwner {
			return "it has priority 255, too, that of the owner of the addresses; leave it to one director"
		}
		return fmt.Sprintf("it has priority %d as this one; give the directors different ones", a.Priority)
	case ConditionInterval:
		return fmt.Sprintf("it advertises every %v, this one is set to %v", a.Interval, c.Interval)
	case ConditionVersion:
		return fmt.Sprintf("it speaks version %v, this one %v", a.Version, c.Version)
	case ConditionVRID:
		return fmt.Sprintf("it advertises%s with VRID %d, this one with %d", missing(" ", a.Addresses, nil), a.VRID, c.VRID)
	case ConditionAddresses:
		if SameAddresses(a.Addresses, c.Addresses) {
			return fmt.Sprintf("it advertises %v first, which is not link-local; put a link-local address (fe80::...) there", a.Addresses[0])
		}
		return "it advertises other addresses:" + missing(" without ", c.Addresses, a.Addresses) + missing(" and also ", a.Addresses, c.Addresses)
	case ConditionAuth:
		return fmt.Sprintf("authentication type %d where this one has %d, or another password", a.AuthType, c.authType())
	case ConditionChecksum:
		if a.Plain {
			return "it computes checksums without a pseudo header, as RFC 9568 does; set checksum = \"any\" or \"rfc9568\""
		}
		return "it computes checksums with a pseudo header, as RFC 5798 does; set checksum = \"any\" or \"rfc5798\""
	case ConditionOwnAddress:
		return fmt.Sprintf("it sends from our own address %v: another host has it, or a switch sends our packets back", rx.Src)
	}
	return which.String()
}

func (c Config) authType() int {
	if c.Version == V2 && c.Password != "" {
		return AuthSimple
	}
	return AuthNone
}

// most bounds the addresses that are named in a text.
const most = 5

// missing names what is in all and not in some.
func missing(what string, all, some []netip.Addr) string {
	var names []string
	more := 0
	for _, a := range all {
		switch {
		case slices.Contains(some, a):
		case len(names) < most:
			names = append(names, a.String())
		default:
			more++
		}
	}
	switch {
	case len(names) == 0:
		return ""
	case more > 0:
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return what + strings.Join(names, ", ")
}

// Rivals finds two masters, in the order in which advertisements are heard: who is
// heard between two advertisements of another one, twice in a row, is no successor.
// The zero value has heard nobody.
type Rivals struct {
	last, before netip.Addr
	turns        int
}

// Hear takes note of an advertisement of a master, and reports whether it is one of
// two. Time does not matter: a router that only listens hears both in turn.
func (r *Rivals) Hear(src netip.Addr) bool {
	switch src {
	case r.last:
		if r.turns > 0 {
			r.turns-- // it has spoken twice without the other one
		}
		return false
	case r.before:
		r.turns = min(r.turns+2, 4)
	default:
		r.turns = 0
	}
	r.before, r.last = r.last, src
	return r.turns > 2
}
