// Package vrrptest is a LAN of virtual routers in one goroutine on a virtual
// clock, for tests of package vrrp and of whoever changes it.
//
// A LAN holds routers and a network between them that delays, loses, duplicates
// and reorders advertisements and can be cut in one direction or into parts.
// Processes stall, crash, are killed and begin again, leave and hand over; what is
// tracked fails; clocks run fast or slow. A director may have a group of routers,
// each on a segment of its own. Everything that happens follows from a seed, so a
// failure is a reproduction.
//
// A router has its addresses, and answers for them, from a plumbing delay after it
// became master until it is neither master (which it is while it leaves) nor lingers
// after that. The addresses of a process that was killed stay. While a master leaves
// as planned, somebody answers at every time.
//
// The members of a group are mixed while some are master, and have not said farewell,
// and others are not. They are for no longer than one transition: the turn of the loop
// in which a member changes, the next turn of the others, and a turn by which timers
// that they have set one after the other differ.
//
// Run drives a LAN through random faults and checks after every step what the
// protocol promises. Play runs a scenario, a small text file of routers, faults
// and the transitions that follow, or a trace that a vrrp.Recorder printed.
//
// The package holds no test, so that package simulate can use it for a product. It
// says nothing about sockets and real time: the loop around a
// Router is modelled here (it looks at its queue before it lets a deadline
// pass), and tested in package vrrp/speaker.
package vrrptest
