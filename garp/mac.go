package garp

import "net"

// MAC is an Ethernet address that can be compared.
type MAC [6]byte

// MACFrom returns hw as a MAC, and false if it is no Ethernet address.
func MACFrom(hw net.HardwareAddr) (MAC, bool) {
	if len(hw) != len(MAC{}) {
		return MAC{}, false
	}
	return MAC(hw), true
}

// String returns m in the usual form, 00:00:5e:00:01:33.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// MarshalText returns what String does.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }
