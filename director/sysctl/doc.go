// Package sysctl knows which settings of the kernel a configuration needs,
// whether the kernel has them, and makes those that it is asked to.
//
// Needs, Wanted and Compare are pure: values of a configuration and of the
// kernel in, settings and findings out. Keeper is the edge around them. It has
// no goroutine: whoever owns it calls Check, at the start, after a reload and
// now and then, and it reads the kernel each time. What it remembers between
// checks decides only what is logged.
//
// Kernel reads and writes the files below /proc/sys/net, which are those of
// the network namespace that the calling thread is in. No name leads outside:
// CheckKey refuses what is no name of a key, and the files are opened below
// /proc/sys and nowhere else.
//
// The package does not undo what it has set, loads no module and judges no real
// server, whose settings are for that machine to have.
package sysctl
