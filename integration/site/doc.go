// Package site builds what the product is for, in a lab: a client, a pair of
// directors and three real servers, with the network that the forwarding
// method needs, and drives the daemons through their command line and control
// socket only.
//
//	DR    everything on one link; the servers hold the VIP without ARP
//	NAT   the servers on an inside link, whose gateway is a second VIP
//	TUN   the servers behind a router; they decapsulate IP in IP
package site
