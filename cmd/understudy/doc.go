// Command understudy is a high-availability director for Linux IPVS: an
// election (VRRP) decides which of several directors holds the virtual
// addresses, health checks decide which real servers the IPVS table holds.
//
// This package knows both the pure parts, which decide, and the edges, which
// talk to the network and the kernel, and ties them together (run.go, daemon.go);
// it decides nothing itself. Every other file is one command of the command
// line or one side of the control socket.
package main
