package link

import (
	"net"
	"net/netip"
)

// State is what is known of one interface.
type State struct {
	Index     int  // 0: there is no such interface
	Up        bool // administratively up and with carrier
	HWAddr    net.HardwareAddr
	Addresses []netip.Prefix // in the kernel's order, IPv4 and IPv6; those tagged as ours are left out
}
