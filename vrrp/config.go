package vrrp

import (
	"net/netip"
	"time"
)

// Version is the protocol version spoken by a virtual router.
type Version uint8

// The protocol versions: RFC 3768 and RFC 9568 (which obsoletes RFC 5798).
const (
	V2 Version = 2
	V3 Version = 3
)

// Checksum says which checksum goes into advertisements of version 3 over IPv4, and
// which is heard. RFC 5798 section 5.2.8 includes a pseudo header, which keepalived
// and others do; RFC 9568 section 5.2.8 does not.
type Checksum uint8

// The checksums.
const (
	ChecksumRFC5798 Checksum = iota // sent and demanded: with the pseudo header
	ChecksumRFC9568                 // sent and demanded: without it
	ChecksumAny                     // sent with it, heard with and without
)

// PriorityOwner is the priority of the router that owns the addresses
// (RFC 9568 section 5.2.4).
const PriorityOwner = 255

// Config describes one virtual router, seen from this router. It is a value;
// the slice is never written after construction.
type Config struct {
	Name         string        // unique, for people
	VRID         uint8         // 1..255
	Version      Version       // V2 or V3
	Priority     uint8         // 1..254, or PriorityOwner
	Interval     time.Duration // Advertisement_Interval; V3: 10ms..40.95s in steps of 10ms; V2: 1s..255s in whole seconds
	Preempt      bool          // Preempt_Mode
	Hold         bool          // do not preempt for now, whatever Preempt says: this router is not ready to serve; a master that falls silent is replaced all the same
	Grouped      bool          // member of a group: becomes master by Lead alone
	PreemptDelay time.Duration // how long a better router lets worse masters live, after start and after each master that was no worse
	Primary      netip.Addr    // source address of our advertisements, unmapped and without zone; decides ties
	Addresses    []netip.Addr  // advertised, in this order
	Checksum     Checksum      // of V3 over IPv4
	Password     string        // V2 authentication type 1, at most 8 bytes; empty means type 0
}
