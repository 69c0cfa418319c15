package garp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
)

// ErrIPv6 says that an address was not announced because it is an IPv6 address,
// which takes Neighbor Advertisements (RFC 4861 section 7.2.6).
var ErrIPv6 = errors.New("announcing IPv6 addresses is not supported")

// errInvalid says that there is no address to announce.
var errInvalid = errors.New("the address is not valid")

// supported returns nil if address can be announced.
func supported(address netip.Addr) error {
	switch {
	case !address.IsValid():
		return errInvalid
	case address.Unmap().Is6():
		return ErrIPv6
	}
	return nil
}

// Frames returns the Ethernet frames of one announcement, in the order to send
// them: that address, which is IPv4, is at the hardware address hw.
func Frames(hw net.HardwareAddr, address netip.Addr) ([][]byte, error) {
	if err := supported(address); err != nil {
		return nil, err
	}
	address = address.Unmap()
	if len(hw) != 6 {
		return nil, fmt.Errorf("build announcement of %v: %q is not an Ethernet address", address, hw)
	}
	// The target hardware address means nothing in a request and is zero
	// (RFC 5227 sections 2.1.1 and 2.3); in a reply it is the sender's
	// (RFC 5944 section 4.6), without which Linux does not take it for
	// gratuitous.
	request, err := frame(arp.OperationRequest, hw, make(net.HardwareAddr, 6), address)
	if err != nil {
		return nil, err
	}
	reply, err := frame(arp.OperationReply, hw, hw, address)
	if err != nil {
		return nil, err
	}
	return [][]byte{request, reply}, nil
}

func frame(op arp.Operation, sender, target net.HardwareAddr, address netip.Addr) ([]byte, error) {
	p, err := arp.NewPacket(op, sender, address, target, address)
	if err != nil {
		return nil, fmt.Errorf("build announcement of %v: %w", address, err)
	}
	payload, err := p.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("build announcement of %v: %w", address, err)
	}
	f := ethernet.Frame{
		Destination: ethernet.Broadcast,
		Source:      sender,
		EtherType:   ethernet.EtherTypeARP,
		Payload:     payload,
	}
	b, err := f.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("build announcement of %v: %w", address, err)
	}
	return b, nil
}
