// Package oracle says which real server the kernel's IPVS would give to a
// client, and why: it computes from the table what the kernel computes from the
// packet.
//
// The order of the decision is the kernel's. An entry of the connection table
// keeps its server. A persistent service asks for the client's template. Then
// the scheduler decides. The hashing schedulers (sh, dh, mh) are computed in
// full; lc, wlc, sed, nq, fo and ovf from the connections as of now; of those
// that go by a history which the kernel does not tell (rr, wrr, lblc, lblcr,
// twos) the servers that may be chosen are named.
//
// Two things that the kernel knows are not in its table: whether a server
// between its two thresholds, or at an upper one that may have been lowered,
// counts as overloaded, and the last weight above zero of a server of an mh
// service. An answer that depends on them is not Certain, and says why.
//
// The facts are those of Linux 6.1 with 64-bit words; sh and dh hash as here
// since 4.18. Nothing in this package does I/O beyond the reader that Scan is
// given; it has no clock and no goroutine.
package oracle
