// Package reign remembers which virtual routers a process was master of, and when
// it last said so, for the process that follows it after a crash.
//
// The memory is a file that is mapped: to note an advertisement is a store to
// memory, which outlives a process that is killed, costs no system call and waits
// for no disk. The file belongs on a file system that a reboot empties; one of an
// earlier boot is not believed.
//
// A Log is opened once by a process and says what its predecessor left. A Slot is
// written by the goroutine that drives its virtual router, without a lock. The
// package decides nothing: whether it is still time to go on as master is for
// whoever reads it.
package reign
