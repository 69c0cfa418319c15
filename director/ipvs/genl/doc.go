// Package genl speaks the kernel's generic netlink protocol for IPVS
// (linux/ip_vs.h, IPVS_GENL_NAME) whole: every command and every attribute of
// services, destinations, synchronisation daemons, timeouts and counters.
//
// Values are the kernel's own; what they mean to a director is for the callers
// to say. It knows neither plan nor ownership, and repairs nothing.
//
// # How the kernel is asked
//
// The codec (encode.go, parse.go) is pure. A [Conn] is one socket that is
// connected to the kernel, and hears nobody else. The kernel answers within the
// system call that asks, as a rule: a Conn tries to read first, and waits with a
// deadline only where there is nothing to read yet. It starts no goroutine.
//
// Changes go many to a system call. Only the last of them asks for an
// acknowledgement; the kernel answers each failure in any case, under the number
// of its message, and in order. A whole batch of failures fits in the socket's
// queue.
//
// A dump of the servers of a service costs two system calls, however they are
// arranged: the kernel builds the end of a dump only when the rest is read, and
// refuses the next one before (seen with Linux 6.1). Both parts are read at once.
//
// # What cannot be seen
//
// A dump of more than one part, 32 KiB, is not one moment's view: the kernel
// goes on by position and does not mark a dump of IPVS that was overtaken by a
// change, so an entry may be missing for each that was deleted meanwhile, and one
// may be there twice. Callers look again.
//
// A message to the number of an IPVS that is gone gets ENOENT, as does one that
// names a scheduler that is missing. A Conn asks for the number again before it
// believes either, and [ErrReloaded] says that it is of no use any more. Asking
// makes the kernel load the module where it can.
package genl
