// Package garp announces addresses to the neighbours on a link, so that what is
// sent to an address reaches the machine that holds it now.
//
// An announcement of an IPv4 address is two broadcast frames: a gratuitous ARP
// request and a gratuitous ARP reply, since some devices learn from one form
// only (RFC 5227 section 2.3, RFC 5944 section 4.6). That of an IPv6 address is
// an unsolicited Neighbor Advertisement with the Override flag to all nodes
// (RFC 4861 section 7.2.6, RFC 9568 section 8.2.2).
//
// Frames builds the frames and Plan decides when which address is due; both are
// pure. Announcer is the edge: Set may be called from any goroutine and only
// stores what is wanted, Run owns the Plan and one packet socket per link. The
// hardware address is the one that the link has when a frame is sent.
//
// The package does not decide who holds an address, does not look whether the
// kernel has it, and receives nothing.
package garp
