// Package simulate finds out what an election does with the timing of given
// configurations: how soon a dead master is replaced, which pauses and losses it
// outlives, and which interval would outlive those that are asked for.
//
// Run steps the routers of package vrrp on the virtual clock and the simulated LAN of
// package vrrptest, many times over with times and losses drawn from a seed. The same
// seed and the same directors give the same Report. Nothing of it is computed from a
// formula, so that it says what the daemon does, whatever the RFC has it do.
//
// The package owns no state, starts no goroutine and looks at nothing outside. It
// knows one virtual router at a time: groups, tracked things and the readiness of a
// director (preempt_when) are not simulated. The clocks of the directors differ by up
// to 50 ppm, their processes wake up to 0.2 ms late, and a new master has its
// addresses after up to 20 ms.
package simulate
