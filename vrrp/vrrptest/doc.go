// Package vrrptest is a LAN of virtual routers in one goroutine on a virtual
// clock, for tests of package vrrp and of whoever changes it.
//
// A LAN holds routers and a network between them that delays, loses, duplicates
// and reorders advertisements and can be cut in one direction or into parts.
// Processes stall, crash, stop and start; clocks run fast or slow. Everything
// that happens follows from a seed, so a failure is a reproduction.
//
// Run drives a LAN through random faults and checks after every step what the
// protocol promises. Play runs a scenario, a small text file of routers, faults
// and the transitions that follow, or a trace that a vrrp.Recorder printed.
//
// The package says nothing about sockets and real time: the loop around a
// Router is modelled here (it looks at its queue before it lets a deadline
// pass), and tested in package vrrp/speaker.
package vrrptest
