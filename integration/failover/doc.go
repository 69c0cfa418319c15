// Package failover tests what needs no IPVS: the election, the addresses and
// the announcements, as a client and the neighbours see them, alone and with
// keepalived as the other director.
//
// As root its tests run on the kernel of this machine, in network namespaces;
// for another user they run in the user-mode kernel.
package failover
