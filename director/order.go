package director

import (
	"cmp"
)

// Compare orders services: by protocol, address and port, the ones by fwmark
// (protocol 0) first.
func (k ServiceKey) Compare(o ServiceKey) int {
	return cmp.Or(
		cmp.Compare(k.Protocol, o.Protocol),
		k.Address.Compare(o.Address),
		cmp.Compare(k.FWMark, o.FWMark),
		compareBool(k.IPv6, o.IPv6),
	)
}

// Compare orders entries of the IPVS table: a service is followed by its
// servers.
func (k Key) Compare(o Key) int {
	return cmp.Or(k.Service.Compare(o.Service), k.Server.Compare(o.Server))
}

// Compare orders addresses by interface, then address, then prefix length.
func (k AddrKey) Compare(o AddrKey) int {
	return cmp.Or(
		cmp.Compare(k.Link, o.Link),
		k.Prefix.Addr().Compare(o.Prefix.Addr()),
		cmp.Compare(k.Prefix.Bits(), o.Prefix.Bits()),
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// mask returns the length that stands for "every bit" in the family of k.
func (k ServiceKey) mask() uint8 {
	if k.Is6() {
		return 128
	}
	return 32
}
