// Package track watches what a virtual router depends on besides its own
// interface, and says what that means for its priority: interfaces, commands,
// processes, numbers in files, routes, and the quorum of IPVS services.
//
// What is watched is a Target, and what a virtual router makes of it an Item: a
// fault, or a weight that is added to the priority. Evaluate, the counting of
// rise and fall and the parsers of the kernel's messages are pure. Items of
// several virtual routers with the same Target share one watch.
//
// Tracker is the edge. Everything that is known of the targets is behind its
// mutex, which nobody holds for longer than it takes to read or write it. Run
// owns the goroutines: one for the services, one for the log, one for each of
// commands, processes, files and routes, one per command that is being run, and
// one for each open subscription of the kernel (process events, inotify, route
// notifications). Interfaces come by the callback of whoever follows them. A
// kind that no Item names opens nothing.
//
// The kernel's notifications are hints where it can be listed, and there is a
// listing every now and then, so that a lost one costs latency and not
// correctness. What is found is published, and a bell rung; the log comes after.
//
// The package does not know of elections: it neither changes a priority nor
// stops a virtual router. How a command is run is for package script.
package track
