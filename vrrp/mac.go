package vrrp

// VirtualMAC returns the hardware address of a virtual router, by the family of
// its advertisements (RFC 9568 section 7.3).
func VirtualMAC(vrid uint8, ipv6 bool) [6]byte {
	mac := [6]byte{0x00, 0x00, 0x5e, 0x00, 0x01, vrid}
	if ipv6 {
		mac[4] = 0x02
	}
	return mac
}
