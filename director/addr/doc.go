// Package addr is the kernel's table of interface addresses over rtnetlink.
//
// A Table lists and changes the addresses of the interfaces it was told of, and
// lists those of ours wherever they are. The addresses that it creates carry the protocol tag link.Protocol (IFA_PROTO,
// kernel 5.18 or later); the tag is the only memory of what is ours, and it
// lives in the kernel. An address that exists without the tag counts as present
// and stays somebody else's.
//
// Deleting the primary IPv4 address of a subnet makes the kernel delete the
// other addresses of that subnet on the interface too, ours or not, unless
// promote_secondaries is set. Apply therefore sets promote_secondaries on an
// interface before the first deletion that would take an address along which is
// not itself to be deleted, and leaves it set; it touches no other interface.
//
// Apply ends when packets to the new IPv6 addresses are for this host, or after 200 ms:
// the kernel acknowledges such an address up to milliseconds before it has made the
// local route to it, and whoever sends to it in between loses.
//
// All requests go through one socket, which belongs to the network namespace in
// which New was called, whatever thread uses it later. A Table may be used by
// several goroutines; they take turns. It watches nothing and announces nothing.
package addr
