// Package vrrp decides who is master of a virtual router: the Virtual Router
// Redundancy Protocol, version 3 (RFC 9568) and version 2 (RFC 3768).
//
// The package is pure. A Router is a value that is stepped with events and a
// time, and answers with what is to be done; it reads no clock, owns no
// goroutine, opens no socket and writes no log. Everything it will do later is
// in Deadline. The caller owns a Router and steps it from one goroutine at a
// time.
//
// Advertisements are decoded by Parse and encoded by Append. Every decision has
// a type: Reason says why a state changed, Drop why an advertisement was not
// acted upon. A Recorder keeps the last events of a Router and prints them as a
// scenario that package vrrptest replays.
//
// The package knows nothing of plumbing addresses, of ARP or of the state of a
// link: those follow from the role, or arrive as Start and Stop.
//
// RFC 9568 calls the elected router Active; this package says master, as RFC
// 3768 and operators do.
package vrrp
