// Package ipvsadm is the command `understudy ipvsadm`: the operations, options
// and listings of ipvsadm 1.31, for machines that do not have it.
//
// Parse turns a command line into a [Command], and ReadRules what `-S` printed;
// both only look names up. The listings are written from what the kernel said.
// [Program] is the edge: it opens the kernel, carries commands out and prints.
//
// # What is the same
//
// The table after a command, and every byte of a listing. That includes the
// order in which things are listed, which goes by differences of 32 bits with
// their sign and so has 192.0.2.1 before 10.0.0.1 (order.go), names cut at 28
// and 59 bytes, and `-S` without the thresholds of servers. The exit status is
// 2 for a command line that makes no sense, 255 for one that cannot be read as
// options at all and for what the kernel refuses, 1 for listing a service that
// does not exist, otherwise 0.
//
// # What is not
//
//   - Messages and the help text are our own.
//   - The order of options does not matter. ipvsadm ignores a mask (-M) that
//     stands before an IPv6 service, and a server (-r) before its service gets
//     port 0.
//   - An IPv4 address has four numbers: 10.1 is refused, as is 10.0.0.010, and
//     is never looked up as a name. Numbers are digits. A bracketed IPv6 address
//     needs no port.
//   - A name in brackets is that of an IPv6 address. ipvsadm prints such names,
//     but does not read them, so what its -S prints without -n it may refuse.
//   - -R reads and checks all rules before it changes anything, so rules with a
//     mistake change nothing, and sends them to the kernel together. Rules that
//     the kernel refuses do not stop those after them, but the status tells.
//   - -S prints a firewall mark above 2147483647 so that it can be restored.
//     (-L prints it negative, as ipvsadm does.)
package ipvsadm
