// Package health finds out which real servers are fit to serve.
//
// A Check says how one server is probed and how many results in a row change the
// verdict; Status.after, which is pure, does the counting. Monitor is the edge:
// Set may be called from any goroutine and says which checks matter, Run owns
// the schedule, starts the probes and rings a bell when a verdict changed.
// Lookup and Snapshot read the current verdicts; nothing needs to be queued or
// replayed.
//
// A server is unknown until its first pass, which brings it up at once, or until
// Fall failures in a row, which take it down. As long as Timeout is at most
// Interval and not all probes at once hang, a server that dies is down within
// Interval*Fall + Timeout, and one that comes back is up within Interval*Rise
// and the time that the last probe takes.
//
// An answer over HTTP may say which weight its server wants (WeightHeader). The
// last pass counts: a failure keeps the weight, an answer without one takes it
// back. What becomes of it is for others to decide.
//
// The package does not decide what becomes of an unfit server, resolves no names
// and keeps no connections between probes.
package health
