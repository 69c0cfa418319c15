// Package garp announces addresses to the neighbours on a link, so that what is
// sent to an address reaches the machine that holds it now, and finds out who
// else claims them.
//
// An announcement of an IPv4 address is two broadcast frames: a gratuitous ARP
// request and a gratuitous ARP reply, since some devices learn from one form
// only (RFC 5227 section 2.3, RFC 5944 section 4.6). That of an IPv6 address is
// an unsolicited Neighbor Advertisement with the Override flag to all nodes
// (RFC 4861 section 7.2.6, RFC 9568 section 8.2.2).
//
// Frames builds the frames and Plan decides when which address is due; both are
// pure. Announcer is the edge: Set may be called from any goroutine and only
// stores what is wanted, Run owns the Plan and one packet socket per link. Prepare
// has the sockets open before there is anything to announce. The hardware address is
// the one that the link has when a frame is sent: the link is looked up by its name
// before each burst, which takes some microseconds.
//
// The other half: parse reads what a frame says of an address, filter is the
// socket filter that keeps other frames away, lookout decides what is a conflict
// and when to probe; all are pure. Watcher is the edge. Its Run owns the sockets,
// one for ARP and one for IPv6 per link as far as there are addresses, opens and
// closes them, and sends the probes by them, so that whoever asks also hears the
// answer. Each socket has a goroutine that reads it; the lookout is behind a
// mutex. Packets that nobody needs do not get past the filter, and of those that
// do a bounded number is taken in a second.
//
// Probes replace the Duplicate Address Detection (RFC 4862, RFC 5227) which an
// address that is taken over cannot wait for.
//
// The package does not decide who holds an address, does not look whether the
// kernel has it, and does nothing about a conflict but tell of it. Where two
// hosts use one virtual MAC address, neighbours cannot tell them apart, and
// neither can the Watcher.
package garp
