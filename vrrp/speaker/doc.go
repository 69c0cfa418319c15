// Package speaker drives the virtual routers of one link and one address family:
// it puts the clock and the socket around the pure election of package vrrp.
//
// The goroutine in Speaker.Run owns the socket, every vrrp.Router and the heap
// of their deadlines. It sleeps in one place, the read of the socket, whose
// read deadline is the earliest deadline of all routers; Set, SetLink and the
// end of the context wake it by moving that deadline into the past. So neither
// goroutines nor descriptors grow with the number of virtual routers, and no
// timer has to be stopped. One more goroutine writes the log, so that a log
// that blocks cannot stop the election. Status and Trace read what the loop
// publishes, from any goroutine.
//
// What is known comes as a level, not as an edge: Set names every router that
// should be there, SetLink tells how the link is, and the loop works out the
// difference. In the other direction the loop publishes and rings a bell.
//
// The package decides nothing about who is master, plumbs no address and
// announces none.
package speaker
