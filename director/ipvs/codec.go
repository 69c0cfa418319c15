package ipvs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
)

const (
	flagPersistent = 0x1 // IP_VS_SVC_F_PERSISTENT
	flagHashed     = 0x2 // IP_VS_SVC_F_HASHED: set by the kernel
	flagsKnown     = uint32(director.FlagOnePacket | director.FlagSched1 | director.FlagSched2)

	schedulerLimit = 16 // bytes with the final zero: IP_VS_SCHEDNAME_MAXLEN
	weightLimit    = 65535
	// persistenceLimit keeps the kernel's product of seconds and HZ, of at most
	// 1000, within 32 bits. It is also what ipvsadm accepts.
	persistenceLimit = 31 * 24 * time.Hour

	// maskOdd stands for an IPv4 mask that is no prefix. It equals no mask that
	// can be wanted, so such a service gets updated.
	maskOdd = 255
)

// possible reports whether the kernel can have a service named k.
func possible(k director.ServiceKey) bool {
	addr := k.Address.Addr()
	if k.FWMark != 0 {
		return k.Protocol == 0 && !addr.IsValid()
	}
	return k.Protocol != 0 && addr.IsValid() && !addr.Is4In6() && addr.Zone() == ""
}

// check refuses what the kernel would misunderstand.
func check(c change) error {
	k := c.Key
	switch {
	case !possible(k.Service):
		return errors.New("a service has either a protocol and an address or a fwmark")
	case k.IsService() && c.Op == director.Delete:
		return nil
	case k.IsService():
		return checkService(k.Service, c.New.Service)
	case k.Server.Addr().Is4In6() || k.Server.Addr().Zone() != "":
		return errors.New("a server has a plain IPv4 or IPv6 address")
	case !k.Server.IsValid() || k.Server.Addr().Is6() != k.Service.Is6():
		return errors.New("the server is of another address family than its service")
	case c.Op == director.Delete:
		return nil
	}
	return checkServer(c.New.Server)
}

func checkService(k director.ServiceKey, s director.ServiceSpec) error {
	bits := uint8(32)
	if k.Is6() {
		bits = 128
	}
	switch {
	case s.Scheduler == "" || len(s.Scheduler) >= schedulerLimit:
		return fmt.Errorf("the scheduler's name %q does not have 1 to %d bytes", s.Scheduler, schedulerLimit-1)
	case s.Persistence < 0 || s.Persistence > persistenceLimit || s.Persistence%time.Second != 0:
		return fmt.Errorf("persistence %v is not in whole seconds between 0 and %v", s.Persistence, persistenceLimit)
	case s.Mask > bits:
		return fmt.Errorf("persistence mask %d is longer than %d", s.Mask, bits)
	case uint32(s.Flags)&^flagsKnown != 0:
		return fmt.Errorf("flags %v are not known", s.Flags)
	}
	return nil
}

func checkServer(s director.ServerSpec) error {
	switch {
	case s.Weight < 0 || s.Weight > weightLimit:
		return fmt.Errorf("weight %d is not between 0 and %d", s.Weight, weightLimit)
	case s.Forward != director.NAT && s.Forward != director.TUN && s.Forward != director.DR:
		return fmt.Errorf("%v is no forwarding method", s.Forward)
	}
	return nil
}

// encodeService returns k as the library has it, with the content of s.
func encodeService(k director.ServiceKey, s director.ServiceSpec) *ipvs.Service {
	out := &ipvs.Service{
		AddressFamily: unix.AF_INET,
		FWMark:        k.FWMark,
		SchedName:     s.Scheduler,
		Flags:         uint32(s.Flags),
		Netmask:       encodeMask(k, s.Mask),
	}
	if k.Is6() {
		out.AddressFamily = unix.AF_INET6
	}
	if k.FWMark == 0 {
		out.Protocol = uint16(k.Protocol)
		out.Address = k.Address.Addr().AsSlice()
		out.Port = k.Address.Port()
	}
	if s.Persistence > 0 {
		out.Flags |= flagPersistent
		out.Timeout = uint32(s.Persistence / time.Second)
	}
	return out
}

// encodeMask returns the bytes of an IPv4 mask as they lie in memory, or the
// prefix length for IPv6. Zero is every bit.
func encodeMask(k director.ServiceKey, bits uint8) uint32 {
	if k.Is6() {
		if bits == 0 {
			return 128
		}
		return uint32(bits)
	}
	if bits == 0 {
		bits = 32
	}
	return binary.NativeEndian.Uint32(net.CIDRMask(int(bits), 32))
}

func decodeMask(k director.ServiceKey, mask uint32) uint8 {
	if k.Is6() {
		return uint8(min(mask, maskOdd))
	}
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], mask)
	ones, bits := net.IPMask(b[:]).Size()
	if bits == 0 || ones == 0 {
		return maskOdd
	}
	return uint8(ones)
}

// decodeService is the reverse of encodeService. Without persistence the mask
// has no effect, and comes back as every bit.
func decodeService(s *ipvs.Service) (director.ServiceKey, director.ServiceSpec, error) {
	k := director.ServiceKey{FWMark: s.FWMark}
	if s.FWMark != 0 {
		k.IPv6 = s.AddressFamily == unix.AF_INET6
	} else {
		addr, ok := netip.AddrFromSlice(s.Address)
		if !ok || s.Protocol > 255 {
			return k, director.ServiceSpec{}, fmt.Errorf("parse service: protocol %d, address %v", s.Protocol, s.Address)
		}
		k.Protocol, k.Address = director.Protocol(s.Protocol), netip.AddrPortFrom(addr, s.Port)
	}
	spec := director.ServiceSpec{
		Scheduler: s.SchedName,
		Flags:     director.Flags(s.Flags &^ (flagPersistent | flagHashed)),
	}
	switch {
	case s.Flags&flagPersistent == 0:
		spec.Mask = decodeMask(k, encodeMask(k, 0))
	case s.Timeout == 0:
		// Persistent for no time: nothing that can be wanted looks like this.
		spec.Flags |= flagPersistent
		spec.Mask = decodeMask(k, s.Netmask)
	default:
		spec.Persistence = time.Duration(s.Timeout) * time.Second
		spec.Mask = decodeMask(k, s.Netmask)
	}
	return k, spec, nil
}

// encodeServer returns a server as the library has it.
func encodeServer(k director.Key, s director.ServerSpec) *ipvs.Destination {
	out := &ipvs.Destination{
		Address:         k.Server.Addr().AsSlice(),
		Port:            k.Server.Port(),
		AddressFamily:   unix.AF_INET,
		Weight:          s.Weight,
		ConnectionFlags: uint32(s.Forward),
		UpperThreshold:  s.Upper,
		LowerThreshold:  s.Lower,
	}
	if k.Server.Addr().Is6() {
		out.AddressFamily = unix.AF_INET6
	}
	return out
}

// decodeServer is the reverse of encodeServer.
func decodeServer(d *ipvs.Destination) (netip.AddrPort, director.ServerSpec, error) {
	addr, ok := netip.AddrFromSlice(d.Address)
	if !ok {
		return netip.AddrPort{}, director.ServerSpec{}, fmt.Errorf("parse server: address %v", d.Address)
	}
	return netip.AddrPortFrom(addr, d.Port), director.ServerSpec{
		Weight:  d.Weight,
		Forward: director.Forward(d.ConnectionFlags & ipvs.ConnectionFlagFwdMask),
		Upper:   d.UpperThreshold,
		Lower:   d.LowerThreshold,
	}, nil
}
