// Package vmac keeps the interfaces that carry the virtual MAC addresses of
// virtual routers (RFC 9568 section 7.3), and what they need of the kernel.
//
// Each is a macvlan above the interface of its virtual router, the parent. It is
// there as long as the configuration wants it, and up only while it holds an
// address: a backup must not receive what is sent to the virtual MAC (RFC 9568
// section 6.4.2). What a killed daemon has left is adopted as it is. Ours are the
// macvlans that bear link.Alias and a virtual MAC; no other is ever touched.
//
// The mode is bridge. In mode private the kernel gives a multicast that comes
// from a virtual MAC, which is how the other director advertises, to the macvlan
// with that address alone: the election on the parent would never hear another
// master (macvlan_handle_frame in drivers/net/macvlan.c).
//
// Keeper is level-triggered: Set says which interfaces there are to be, and Run
// lists what is there, repairs the difference, and in the end takes away what is
// ours. It also makes the settings without which the parent would answer for the
// addresses of the macvlan, remembers in a file what they were, and puts that
// back. Table stands in front of the table of addresses: an interface is up
// before its first address, and down after its last. plan and the settings are
// decided by functions of values alone.
//
// The goroutine of Run and that of the Table may both make a pass of the Keeper;
// they take turns. The package takes no part in the election and sends nothing.
package vmac
