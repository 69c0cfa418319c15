// Package route is the kernel's table of routes and of the rules that choose
// among routing tables, over rtnetlink.
//
// A [Table] lists the routes and rules that carry the protocol tag link.Protocol
// (RTA_PROTOCOL; FRA_PROTOCOL, kernel 4.17 or later) in every routing table, and
// those without it that stand where something is wanted. The tag is the only
// memory of what is ours, and it lives in the kernel. The kernel picks out the
// tagged routes itself (kernel 4.20 or later), and a routing table is read whole
// only while something is missing in it: a host may have a million routes.
//
// To delete, the kernel takes the first object that fits what it is told, and what
// is not said fits everything. So a route is deleted as it was just listed, and a
// rule only when it is the first to fit.
//
// All requests go through one socket, which belongs to the network namespace in
// which New was called. A Table may be used by several goroutines; they take
// turns. It watches nothing. Several paths in one route (ECMP), types of service
// and encapsulations are other people's: it neither makes nor changes them.
package route
