// Package director computes what the kernel should hold, compares it with what
// the kernel does hold, and repairs the difference.
//
// # Shape
//
// Three values decide everything: the configuration, the roles of the virtual
// routers and the health of the real servers. [Plan] is a total, pure function
// of them and gives every object that the configuration names an [Intent] with
// a [Reason]. settle turns the plan into the content that the kernel should
// have now, given what it has; diff orders the changes. None of these reads a
// clock, does I/O or logs.
//
// [Director] is the edge around them. Its Run has three lanes, for addresses, for
// routes and rules, and for the IPVS table, each with a goroutine, a bell and a
// retry of its own, so that neither a slow dump of the IPVS table nor a route that
// the kernel refuses delays a takeover. A lane is
// level-triggered: a bell says only that something may have changed, and a lost
// bell costs at most the resync interval. The kernel is listed before it is
// changed and never flushed, with one exception: the addresses that a role has just
// brought are created and announced before the listing, in growing batches, if the
// last pass has not seen them. Creating what exists does nothing, and the listing
// that follows in the same pass repairs what the last one did not know. Nothing is
// deleted without a listing, and where the kernel keeps no tags nothing is created
// without one.
//
// # Who owns which state
//
// The configuration is replaced as a whole by [Director.Set]; roles and health
// belong to whoever hands in the functions that report them. What a lane
// remembers between passes (the last clean result, the errors already logged,
// the ledger) belongs to the goroutine of that lane; what [Director.Status]
// shows is a copy under a mutex.
//
// # Whose objects they are
//
// Only objects of ours are deleted.
//
// An address is ours if the kernel shows our protocol tag on it (IFA_PROTO,
// kernel 5.18). A kernel that never shows a tag gets the ledger instead: there,
// an address is ours if we created it. An address that was configured by hand
// is used and announced when it is wanted, and is left alone when it is not.
//
// Routes and rules carry the tag on every kernel that matters (RTA_PROTOCOL, and
// FRA_PROTOCOL of kernel 4.17): they need no ledger.
//
// IPVS has no owner tag. Ours are the services that the configuration names,
// those in the ledger, and in exclusive mode the whole table. Every real server
// inside a service of ours is ours too.
//
// # The ledger
//
// Content is always observed and never remembered, but ownership cannot be
// observed where there is no tag, so it is written down: a [Ledger] names the
// services and addresses that are about to be created, before they are, and
// forgets them after they are deleted. Killed between a reload that drops a
// service and its removal, the next start finds the service in the ledger and
// not in the configuration, and removes it. The ledger need not reach the disk:
// a crash of the machine empties the kernel's tables too. One that cannot be
// read or written is a warning, and counts as empty.
//
// # What it does not do
//
// It does not elect, probe, resolve names or send a packet, and it does not
// judge a configuration: that is taken as validated.
package director
