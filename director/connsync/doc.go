// Package connsync keeps the connections of two or more directors the same, so
// that established connections survive a failover, and proves that it does.
//
// The work itself is done by the kernel's synchronisation daemons (ip_vs_sync).
// This package adds what they lack:
//
//   - They are desired state: started, watched, repaired and stopped (keeper).
//   - The directors know of each other: a small beacon about once a second on
//     the same interface (Beacon, node).
//   - It is proven: a synthetic connection through a virtual service of our own
//     (ProbeService) is made in this kernel, and the peer says that its kernel
//     has it, and when.
//   - A director that comes back asks for the connections that were made while
//     it was away; the peer sends them in the kernels' own protocol (resync).
//   - Ready says when a director that came back may preempt.
//
// What decides is pure: node, repair, table, Ready and the codecs take values
// and a time. Sync is the edge. Its Run has one goroutine each for the kernel's
// daemons, for receiving, for the beacon, for counting, for probing and for the
// resync; node is shared between them under Sync.mu. It does not decide which
// services or servers there are, and never deletes a connection.
package connsync
