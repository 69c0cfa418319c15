package garp

import (
	"encoding/binary"
	"net/netip"
)

// sighting is what one packet says: that address is at mac.
type sighting struct {
	address netip.Addr
	mac     MAC
	source  netip.Addr // of an IPv6 packet; invalid: ARP, or somebody without an address yet
}

// parse returns what a frame says of an address to those who receive it, and
// false if that is nothing. It takes what a neighbour's cache would learn from:
// ARP requests and replies whose sender has an address, and Neighbor
// Advertisements; and the Neighbor Solicitations by which a host looks whether
// it may have an address (RFC 4862 section 5.4).
func parse(frame []byte) (sighting, bool) {
	if len(frame) < ethernetHeader {
		return sighting{}, false
	}
	switch binary.BigEndian.Uint16(frame[ethernetType:]) {
	case typeARP:
		return parseARP(frame)
	case typeIPv6:
		return parseND(frame)
	}
	return sighting{}, false
}

func parseARP(frame []byte) (sighting, bool) {
	if len(frame) < arpEnd {
		return sighting{}, false
	}
	spaces, lengths := binary.BigEndian.Uint32(frame[arpSpaces:]), binary.BigEndian.Uint32(frame[arpLengths:])
	if spaces != arpEthernet && spaces != arpIEEE802 || lengths != arpRequest && lengths != arpReply {
		return sighting{}, false
	}
	s := sighting{
		address: netip.AddrFrom4([4]byte(frame[arpSender:])),
		mac:     MAC(frame[arpHW:]),
	}
	return s, supported(s.address) == nil
}

// parseND checks what RFC 4861 sections 7.1.1 and 7.1.2 demand.
func parseND(frame []byte) (sighting, bool) {
	if len(frame) < ndOptions {
		return sighting{}, false
	}
	end := ndType + int(binary.BigEndian.Uint16(frame[ipv6Length:]))
	if frame[ethernetHeader]>>4 != 6 || frame[ipv6Next] != protocolICMPv6 || frame[ipv6Next+1] != hopLimit ||
		end < ndOptions || end > len(frame) || frame[ndCode] != 0 || !sound(frame[:end]) {
		return sighting{}, false
	}
	source := netip.AddrFrom16([16]byte(frame[ipv6Source:]))
	destination := netip.AddrFrom16([16]byte(frame[ipv6Destination:]))
	s := sighting{
		address: netip.AddrFrom16([16]byte(frame[ndTarget:])),
		mac:     MAC(frame[ethernetSource:]),
	}
	if !source.IsUnspecified() {
		s.source = source
	}
	links, ok := parseOptions(frame[ndOptions:end])
	if !ok || supported(s.address) != nil {
		return sighting{}, false
	}
	switch frame[ndType] {
	case typeAdvertisement:
		if destination.IsMulticast() && frame[ndFlags]&flagSolicited != 0 {
			return sighting{}, false
		}
		if links.target != nil {
			s.mac = *links.target
		}
		return s, true
	case typeSolicitation:
		// One with a source asks for the address and says nothing of it.
		return s, source.IsUnspecified() && destination == solicitedNode(s.address) && links.source == nil
	}
	return sighting{}, false
}

// linkOptions are the link-layer addresses among the options; nil: there is none.
type linkOptions struct{ source, target *MAC }

// parseOptions returns the first link-layer address of each kind, and false if
// the options are not well formed, or an address is not one of Ethernet.
func parseOptions(b []byte) (links linkOptions, ok bool) {
	for len(b) > 0 {
		if len(b) < 2 || b[1] == 0 || len(b) < 8*int(b[1]) {
			return linkOptions{}, false
		}
		size := 8 * int(b[1])
		var place **MAC
		switch b[0] {
		case optionSource:
			place = &links.source
		case optionTarget:
			place = &links.target
		}
		if place != nil && *place == nil {
			if size != 8 {
				return linkOptions{}, false
			}
			m := MAC(b[2:])
			*place = &m
		}
		b = b[size:]
	}
	return links, true
}

// sound reports whether the checksum of an ICMPv6 message that ends with frame is
// right (RFC 4443 section 2.3).
func sound(frame []byte) bool {
	sum := uint32(len(frame)-ndType) + protocolICMPv6
	for b := frame[ipv6Source:]; len(b) > 0; b = b[min(2, len(b)):] {
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
		} else {
			sum += uint32(binary.BigEndian.Uint16(b))
		}
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return sum == 0xffff
}
