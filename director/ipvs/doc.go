// Package ipvs is the kernel's IPVS table behind [director.Table], over generic
// netlink through moby/ipvs.
//
// # What stands between the library and the table
//
// The library was written for a container engine and trusts the kernel and its
// caller more than a director can:
//
//   - Without ip_vs in the kernel it reports success for everything. Every List
//     and Apply first asks the kernel for the generic netlink family.
//   - It remembers the number of that family for the life of the process, though
//     the number changes when the module is unloaded and loaded again. A [Table]
//     sees the change and corrects the number; see family.go.
//   - A handle serves one goroutine. A Table has one handle and one lock, which
//     List, Apply and Counters take for as long as they run.
//   - It waits for ever for an answer that was lost. Every call is watched; after
//     ten seconds, or when the caller's context ends, the handle is closed and
//     the next call opens a new one. The goroutine of an abandoned call ends when
//     its socket closes; if several do not, the Table refuses to start more.
//   - It sends only the first four bytes of an IPv6 server of an IPv4 service. A
//     server of another family than its service is refused.
//   - It passes the persistence mask of IPv4 on as it lies in memory, and reads
//     the flag by which the kernel marks its hashed services. Both are converted,
//     so that what is read equals what was written.
//   - It logs through the standard logger of logrus, which is silenced.
//
// # What cannot be seen
//
// The library reads neither a service's persistence engine nor a server's tunnel
// type, so drift in these goes unnoticed; neither is ever set. Linux 6.1
// returns the forwarding method that was set even for a server on the director
// itself, so the method "local" (1) counts as drift.
//
// # Ownership
//
// A Table does not know whose an entry is: it does what it is told. [Ledger]
// writes down names for the director, which decides.
package ipvs
