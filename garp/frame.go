package garp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
)

var errInvalid = errors.New("that is no address of a host")

// supported returns nil if address can be announced and watched.
func supported(address netip.Addr) error {
	if !address.IsValid() || address.IsUnspecified() || address.IsMulticast() {
		return errInvalid
	}
	return nil
}

// plain returns address as it stands in a packet: IPv4 if it is, and without a
// zone.
func plain(address netip.Addr) netip.Addr { return address.Unmap().WithZone("") }

// Frames returns the Ethernet frames of one announcement, in the order to send
// them: that address is at the hardware address hw. For IPv6, router says
// whether the sender forwards packets; neighbours that use a host as their
// default router drop it when it is false (RFC 4861 section 7.2.5).
func Frames(hw net.HardwareAddr, address netip.Addr, router bool) ([][]byte, error) {
	frames, err := announcement(hw, plain(address), router)
	if err != nil {
		return nil, fmt.Errorf("build announcement of %v: %w", address, err)
	}
	return frames, nil
}

func announcement(hw net.HardwareAddr, address netip.Addr, router bool) ([][]byte, error) {
	if err := check(hw, address); err != nil {
		return nil, err
	}
	if address.Is6() {
		na, err := advertisement(hw, address, router)
		if err != nil {
			return nil, err
		}
		return [][]byte{na}, nil
	}
	// The target hardware address means nothing in a request and is zero
	// (RFC 5227 sections 2.1.1 and 2.3); in a reply it is the sender's
	// (RFC 5944 section 4.6), without which Linux does not take it for
	// gratuitous.
	request, err := arpFrame(arp.OperationRequest, hw, address, make(net.HardwareAddr, 6), address)
	if err != nil {
		return nil, err
	}
	reply, err := arpFrame(arp.OperationReply, hw, address, hw, address)
	if err != nil {
		return nil, err
	}
	return [][]byte{request, reply}, nil
}

// Probe returns the Ethernet frame that makes whoever else holds address answer,
// without telling anybody that the sender holds it: an ARP Probe (RFC 5227
// section 2.1.1), or the Neighbor Solicitation of a Duplicate Address Detection
// (RFC 4862 section 5.4.2).
func Probe(hw net.HardwareAddr, address netip.Addr) ([]byte, error) {
	frame, err := probe(hw, plain(address))
	if err != nil {
		return nil, fmt.Errorf("build probe for %v: %w", address, err)
	}
	return frame, nil
}

func probe(hw net.HardwareAddr, address netip.Addr) ([]byte, error) {
	if err := check(hw, address); err != nil {
		return nil, err
	}
	if address.Is6() {
		return ndFrame(hw, netip.IPv6Unspecified(), solicitedNode(address), &ndp.NeighborSolicitation{TargetAddress: address})
	}
	return arpFrame(arp.OperationRequest, hw, netip.IPv4Unspecified(), make(net.HardwareAddr, 6), address)
}

func check(hw net.HardwareAddr, address netip.Addr) error {
	if err := supported(address); err != nil {
		return err
	}
	if len(hw) != 6 {
		return fmt.Errorf("%q is not an Ethernet address", hw)
	}
	return nil
}

// arpFrame returns an ARP packet to everybody on the link.
func arpFrame(op arp.Operation, senderHW net.HardwareAddr, sender netip.Addr, targetHW net.HardwareAddr, target netip.Addr) ([]byte, error) {
	p, err := arp.NewPacket(op, senderHW, sender, targetHW, target)
	if err != nil {
		return nil, err
	}
	payload, err := p.MarshalBinary()
	if err != nil {
		return nil, err
	}
	f := ethernet.Frame{
		Destination: ethernet.Broadcast,
		Source:      senderHW,
		EtherType:   ethernet.EtherTypeARP,
		Payload:     payload,
	}
	return f.MarshalBinary()
}

// advertisement returns the unsolicited Neighbor Advertisement of RFC 4861
// section 7.2.6, as RFC 9568 section 8.2.2 wants it for a virtual router: the
// Override flag set, so that caches change, the Solicited flag clear.
func advertisement(hw net.HardwareAddr, address netip.Addr, router bool) ([]byte, error) {
	return ndFrame(hw, address, netip.IPv6LinkLocalAllNodes(), &ndp.NeighborAdvertisement{
		Router:        router,
		Override:      true,
		TargetAddress: address,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: hw}},
	})
}

// ndFrame returns a message of Neighbor Discovery to a group.
func ndFrame(hw net.HardwareAddr, source, group netip.Addr, m ndp.Message) ([]byte, error) {
	message, err := ndp.MarshalMessageChecksum(m, source, group)
	if err != nil {
		return nil, err
	}
	src, dst := source.As16(), group.As16()
	packet := make([]byte, 0, ipv6Header+len(message))
	packet = append(packet, 0x60, 0, 0, 0) // version 6, no traffic class, no flow label
	packet = append(packet, byte(len(message)>>8), byte(len(message)), protocolICMPv6, hopLimit)
	packet = append(packet, src[:]...)
	packet = append(packet, dst[:]...)
	packet = append(packet, message...)
	f := ethernet.Frame{
		Destination: net.HardwareAddr{0x33, 0x33, dst[12], dst[13], dst[14], dst[15]}, // RFC 2464 section 7
		Source:      hw,
		EtherType:   ethernet.EtherTypeIPv6,
		Payload:     packet,
	}
	return f.MarshalBinary()
}

// solicitedNode returns the group of those whose IPv6 addresses end like address
// (RFC 4291 section 2.7.1).
func solicitedNode(address netip.Addr) netip.Addr {
	a := address.As16()
	return netip.AddrFrom16([16]byte{0xff, 0x02, 11: 1, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]})
}
