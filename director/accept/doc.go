// Package accept enforces accept = false (RFC 9568 section 6.1, Accept_Mode): a
// master answers ARP and neighbour discovery for its addresses and has IPVS
// balance what comes to them, but takes nothing in for itself.
//
// It does so by a table of nftables of its own, "understudy" of the family inet.
// Its one chain is on the input hook, at a priority after those of IPVS: what IPVS
// balances never gets there. What does is dropped if it is sent to one of the
// addresses, except Neighbor Solicitations and Advertisements (RFC 9568 section
// 6.4.3). ARP is none of its business.
//
// The addresses are in sets that do not depend on who is master: a backup does
// not have them. So a takeover has nothing to do here.
//
// Keeper is level-triggered: Set says which addresses, and Run lists what the
// kernel has and replaces the whole table, in one transaction, if it differs. In
// the end the table goes; a killed daemon leaves it, and the next one adopts it.
// The goroutine of Run owns all but what Set and Status share. The table is ours
// by its name. The package decides nothing about virtual routers.
package accept
