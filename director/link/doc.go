// Package link follows the network interfaces of the host: whether they exist,
// whether they can carry traffic, and which addresses are theirs.
//
// The kernel is listed, never remembered. A rtnetlink notification is only a
// hint that makes the Watcher list again, so that a lost or reordered one costs
// latency and not correctness; a listing every few seconds bounds the latency.
//
// The goroutine in Watcher.Run owns the sockets and is the only writer of the
// states; State and Watch may be called from any goroutine. The package changes
// nothing in the kernel and decides nothing about virtual routers.
package link
