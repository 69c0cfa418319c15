// Package ipvs is the kernel's IPVS table behind [director.Table], through package
// genl.
//
// A [Table] has two sockets, one to read with and one to write with, and whoever
// wants to use one waits for his turn. Changes go to the kernel in batches;
// those that turn out to be of another kind (a creation of what exists, an
// update of what is absent) follow in the next batch, unless a later change of
// the same call has overtaken them. A socket that is older than the module in the
// kernel is replaced and the call repeated, so that ip_vs may be unloaded and
// loaded again at any time.
//
// # What is read and written
//
// What is read equals what was written, so that nothing but drift differs:
// settings without effect (the mask without persistence, a tunnel that is not in
// use) are not read, and the kernel's own flag is left out. What would be
// misunderstood, or refused without a word, is refused here with one: a server of
// another family than its service other than in a tunnel, a GUE tunnel without a
// port, thresholds the wrong way round.
//
// # The older library
//
// The timeouts of connections (timeouts.go) go through moby/ipvs,
// which also is a witness in the tests. It was written for a container engine and
// trusts the kernel and its caller more than a director can:
//
//   - Without ip_vs in the kernel it reports success for everything. Every call
//     first asks the kernel for the generic netlink family.
//   - It remembers the number of that family for the life of the process, though
//     the number changes when the module is unloaded and loaded again; see
//     family.go.
//   - A handle serves one goroutine. Each call has a handle of its own, one at a
//     time.
//   - It waits for ever for an answer that was lost. Every call is watched; after
//     ten seconds, or when the caller's context ends, the handle is closed. The
//     goroutine of an abandoned call ends when its socket closes; if several do
//     not, no more are started.
//   - It logs through the standard logger of logrus, which is silenced.
//
// # Ownership
//
// A Table does not know whose an entry is: it does what it is told. [Ledger]
// writes down names for the director, which decides.
package ipvs
