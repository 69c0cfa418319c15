// Package rtnl talks to the kernel's route netlink (rtnetlink(7)): requests in
// batches, dumps that are repeated until they are consistent, and the kernel's own
// words for what it refuses.
//
// A [Socket] belongs to the network namespace in which it was opened, whatever
// thread uses it later. Every exchange ends with its context, and after five
// seconds at the latest. A Socket has no goroutine and is used by one at a time:
// who has it brings a lock. The package knows nothing of addresses and routes; it
// looks interfaces up, since everything hangs on their numbers.
package rtnl
