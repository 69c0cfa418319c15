// Package directortest has a model of the kernel that a director works on, and
// the conformance suites that the model and the real tables both pass.
//
// [Kernel] holds addresses, routes and rules, and an IPVS table. It is as strict as Linux: it
// refuses duplicates, orphans and deletions of what is absent, and deleting a
// service or a primary address takes others along. A [Process] is what a
// director runs in: it offers the kernel as tables and its files as ledgers,
// can be killed between any two changes, and sees injected faults.
//
// [TestAddresses], [TestRouting] and [TestIPVS] are the contract of director.Table, as tests.
//
// Everything may be used from any goroutine. The model knows no packets, no
// connections and no time.
package directortest
