// Package script runs the programs that an operator names: to notify somebody,
// or to find out whether this director is fit.
//
// A Command is a value, an argument list without a shell. Run starts it as its
// own user, with an environment of its own, the priority of an ordinary process
// and an end to its time, and returns when it is over. Of what it prints the last
// line is kept. Check tells beforehand whether a program may run: as root only
// what nobody but root can write.
//
// The package owns no state. Run blocks, and belongs into a goroutine of its
// own, away from the election.
//
// It does not keep a program from leaving processes behind: those that are in its
// process group when its time is up are killed, those that left the group, or
// that it started and did not wait for, are not. It does not look into what a
// program reads: a script that a root-owned interpreter is given is checked by
// nobody.
package script
