package link

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
)

// Protocol is the IFA_PROTO value (linux/if_addr.h, kernel 5.18 or later) that
// marks an address as plumbed by us. The kernel uses 1 to 3 itself; 117 is free
// in iproute2's rt_addrprotos.
const Protocol uint8 = 117

// State is what is known of one interface. The zero value stands for an
// interface that does not exist. It is a value: the slices are never written
// after construction.
type State struct {
	Index     int  // 0: there is no such interface
	Up        bool // administratively up and with carrier
	HWAddr    net.HardwareAddr
	Addresses []netip.Prefix // in the kernel's order, IPv4 and IPv6; those tagged as ours are left out
}

// Equal reports whether s and o describe the same state.
func (s State) Equal(o State) bool {
	return s.Index == o.Index && s.Up == o.Up &&
		bytes.Equal(s.HWAddr, o.HWAddr) && slices.Equal(s.Addresses, o.Addresses)
}
