package vrrp

import "strconv"

// Drop says why a packet or an advertisement was not acted upon.
type Drop uint8

// The drops, in the order in which a packet meets them. The first group is for
// whoever reads the socket, the second is found by Parse, the third by Router.
const (
	DropNone        Drop = iota
	DropTTL              // TTL or hop limit is not 255 (RFC 9568 section 7.1)
	DropDestination      // sent neither to the group nor to one of our addresses
	DropPeer             // the source is not among the unicast peers

	DropShort    // shorter than the fixed part of a message
	DropVersion  // neither 2 nor 3, or not the version configured
	DropType     // not an ADVERTISEMENT
	DropFamily   // source, destination and own address are not of one family that the version carries
	DropCount    // the number of addresses does not fit the length of the message, or is 0
	DropChecksum // the checksum is wrong
	DropVRID     // VRID 0, or no such virtual router here
	DropAuthType // the authentication type is unknown or not the one configured
	DropInterval // advertisement interval 0, or in version 2 not the one configured

	DropNotRunning // the virtual router does not take part
	DropOwnAddress // our own advertisement came back, or another router has our address
	DropPassword   // the version 2 password is not the one configured
	DropAddresses  // the list of addresses is not the one configured, which has to be so
	DropOwner      // the priority is lower than ours, and we own the addresses
	DropPriority   // the priority is lower than ours

	// NumDrops is the number of drops, for counters indexed by Drop.
	NumDrops = iota
)

var dropNames = [NumDrops]string{
	DropNone:        "none",
	DropTTL:         "ttl",
	DropDestination: "destination",
	DropPeer:        "peer",
	DropShort:       "short",
	DropVersion:     "version",
	DropType:        "type",
	DropFamily:      "family",
	DropCount:       "count",
	DropChecksum:    "checksum",
	DropVRID:        "vrid",
	DropAuthType:    "auth-type",
	DropInterval:    "interval",
	DropNotRunning:  "not-running",
	DropOwnAddress:  "own-address",
	DropPassword:    "password",
	DropAddresses:   "addresses",
	DropOwner:       "owner",
	DropPriority:    "priority",
}

// String returns the drop as one word in lower case, fit for a metric label.
func (d Drop) String() string {
	if int(d) < len(dropNames) {
		return dropNames[d]
	}
	return "drop(" + strconv.Itoa(int(d)) + ")"
}
