package ipvs

import (
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

const (
	flagsKnown = director.FlagOnePacket | director.FlagSched1 | director.FlagSched2 | director.FlagSched3

	nameLimit   = 16 // bytes with the final zero: IP_VS_SCHEDNAME_MAXLEN, IP_VS_PENAME_MAXLEN
	weightLimit = 65535
	// persistenceLimit keeps the kernel's product of seconds and HZ, of at most
	// 1000, within 32 bits. It is also what ipvsadm accepts.
	persistenceLimit = 31 * 24 * time.Hour

	// maskOdd stands for an IPv4 mask that is no prefix. It equals no mask that
	// can be wanted, so such a service gets updated.
	maskOdd = 255
)

// listable reports whether List can return k. The kernel takes more than can be
// wanted of it: any protocol, and IPv4 in the form of IPv6.
func listable(k director.ServiceKey) bool {
	addr := k.Address.Addr()
	if k.FWMark != 0 {
		return k.Protocol == 0 && !addr.IsValid()
	}
	return !k.IPv6 && addr.IsValid() && addr.Zone() == ""
}

// possible reports whether a service named k can be wanted.
func possible(k director.ServiceKey) bool {
	return listable(k) && (k.FWMark != 0 || k.Protocol != 0 && !k.Address.Addr().Is4In6())
}

// check refuses what the kernel would misunderstand.
func check(c *change) error {
	k := &c.Key
	switch {
	case !possible(k.Service):
		return errors.New("a service has either a protocol and an address or a fwmark")
	case k.IsService() && c.Op == director.Delete:
		return nil
	case k.IsService():
		return checkService(k.Service, c.New.Service)
	case k.Server.Addr().Is4In6() || k.Server.Addr().Zone() != "":
		return errors.New("a server has a plain IPv4 or IPv6 address")
	case !k.Server.IsValid():
		return errors.New("a server has an address and a port")
	case c.Op == director.Delete:
		return nil
	case mixed(*k) && c.New.Server.Forward != director.TUN:
		return fmt.Errorf("the server is of another address family than its service, which takes forwarding by tunnel and not by %v", c.New.Server.Forward)
	}
	return checkServer(c.New.Server)
}

// mixed reports whether a server is of another family than its service.
func mixed(k director.Key) bool { return k.Server.Addr().Is6() != k.Service.Is6() }

func checkService(k director.ServiceKey, s director.ServiceSpec) error {
	bits := uint8(32)
	if k.Is6() {
		bits = 128
	}
	switch {
	case s.Scheduler == "" || len(s.Scheduler) >= nameLimit:
		return fmt.Errorf("the scheduler's name %q does not have 1 to %d bytes", s.Scheduler, nameLimit-1)
	case len(s.Engine) >= nameLimit:
		return fmt.Errorf("the persistence engine's name %q has more than %d bytes", s.Engine, nameLimit-1)
	case s.Persistence < 0 || s.Persistence > persistenceLimit || s.Persistence%time.Second != 0:
		return fmt.Errorf("persistence %v is not in whole seconds between 0 and %v", s.Persistence, persistenceLimit)
	case s.Mask > bits:
		return fmt.Errorf("persistence mask %d is longer than %d", s.Mask, bits)
	case s.Flags&^flagsKnown != 0:
		return fmt.Errorf("flags %v are not known", s.Flags)
	}
	return nil
}

func checkServer(s director.ServerSpec) error {
	switch {
	case s.Weight < 0 || s.Weight > weightLimit:
		return fmt.Errorf("weight %d is not between 0 and %d", s.Weight, weightLimit)
	case s.Forward > director.DR:
		return fmt.Errorf("%v is no forwarding method", s.Forward)
	case s.Lower > s.Upper:
		return fmt.Errorf("the lower threshold %d is above the upper one, %d", s.Lower, s.Upper)
	case s.Forward != director.TUN && s.Tunnel != (director.Tunnel{}):
		return fmt.Errorf("a tunnel goes with forwarding by tunnel and not by %v", s.Forward)
	}
	return checkTunnel(s.Tunnel)
}

func checkTunnel(t director.Tunnel) error {
	switch {
	case t.Type > director.GRE:
		return fmt.Errorf("tunnel type %d is not known", t.Type)
	case t.Type == director.GUE && t.Port == 0:
		return errors.New("a GUE tunnel needs a port")
	case t.Type != director.GUE && t.Port != 0:
		return errors.New("only a GUE tunnel has a port")
	case t.Checksum > director.RemoteChecksum:
		return fmt.Errorf("tunnel checksum %d is not known", t.Checksum)
	case t.Type == director.IPIP && t.Checksum != director.NoChecksum:
		return errors.New("an IPIP tunnel has no checksum")
	case t.Type != director.GUE && t.Checksum == director.RemoteChecksum:
		return errors.New("only a GUE tunnel has a remote checksum")
	}
	return nil
}

// ServiceID returns k as the kernel has it.
func ServiceID(k director.ServiceKey) genl.ServiceID {
	id := genl.ServiceID{Family: unix.AF_INET, FWMark: k.FWMark}
	if k.Is6() {
		id.Family = unix.AF_INET6
	}
	if k.FWMark == 0 {
		id.Protocol, id.Address, id.Port = uint16(k.Protocol), k.Address.Addr(), k.Address.Port()
	}
	return id
}

// encodeService returns k as the kernel has it, with the content of s.
func encodeService(k director.ServiceKey, s director.ServiceSpec) genl.Service {
	out := genl.Service{
		ServiceID: ServiceID(k),
		Scheduler: s.Scheduler,
		Engine:    s.Engine,
		Flags:     uint32(s.Flags),
		Netmask:   encodeMask(k, s.Mask),
	}
	if s.Persistence > 0 {
		out.Flags |= genl.FlagPersistent
		out.Timeout = uint32(s.Persistence / time.Second)
	}
	return out
}

// encodeMask returns an IPv4 mask, or the prefix length for IPv6. Zero is every
// bit.
func encodeMask(k director.ServiceKey, ones uint8) uint32 {
	switch {
	case k.Is6() && ones == 0:
		return 128
	case k.Is6():
		return uint32(ones)
	case ones == 0:
		return 0xffffffff
	}
	return ^uint32(0) << (32 - ones)
}

func decodeMask(k director.ServiceKey, mask uint32) uint8 {
	if k.Is6() {
		return uint8(min(mask, maskOdd))
	}
	ones := bits.LeadingZeros32(^mask)
	if ones == 0 || encodeMask(k, uint8(ones)) != mask {
		return maskOdd
	}
	return uint8(ones)
}

// decodeService is the reverse of encodeService. Without persistence the mask
// has no effect, and comes back as every bit.
func decodeService(s *genl.Service) (director.ServiceKey, director.ServiceSpec, error) {
	k := director.ServiceKey{FWMark: s.FWMark}
	if s.FWMark != 0 {
		k.IPv6 = s.Family == unix.AF_INET6
	} else {
		if !s.Address.IsValid() || s.Protocol > 255 {
			return k, director.ServiceSpec{}, fmt.Errorf("parse service: protocol %d, address %v", s.Protocol, s.Address)
		}
		k.Protocol, k.Address = director.Protocol(s.Protocol), netip.AddrPortFrom(s.Address, s.Port)
	}
	spec := director.ServiceSpec{
		Scheduler: s.Scheduler,
		Flags:     director.Flags(s.Flags &^ (genl.FlagPersistent | genl.FlagHashed)),
		Engine:    s.Engine,
	}
	switch {
	case s.Flags&genl.FlagPersistent == 0:
		spec.Mask = decodeMask(k, encodeMask(k, 0))
	case s.Timeout == 0:
		// Persistent for no time: nothing that can be wanted looks like this.
		spec.Flags |= director.Flags(genl.FlagPersistent)
		spec.Mask = decodeMask(k, s.Netmask)
	default:
		spec.Persistence = time.Duration(s.Timeout) * time.Second
		spec.Mask = decodeMask(k, s.Netmask)
	}
	return k, spec, nil
}

// encodeServer returns a server as the kernel has it.
func encodeServer(k director.Key, s director.ServerSpec) genl.Destination {
	return genl.Destination{
		Address:    k.Server.Addr(),
		Port:       k.Server.Port(),
		Method:     uint32(s.Forward),
		Weight:     int32(s.Weight),
		Upper:      s.Upper,
		Lower:      s.Lower,
		TunnelType: uint8(s.Tunnel.Type),
		TunnelPort: s.Tunnel.Port,
		TunnelFlag: uint16(s.Tunnel.Checksum),
	}
}

// decodeServer is the reverse of encodeServer. Of a tunnel that is not in use
// nothing is said, since it has no effect; of one in use, everything: what
// cannot be wanted, such as the port of an IPIP tunnel, is drift.
func decodeServer(d *genl.Destination) (netip.AddrPort, director.ServerSpec, error) {
	if !d.Address.IsValid() {
		return netip.AddrPort{}, director.ServerSpec{}, errors.New("parse server: it has no address")
	}
	s := director.ServerSpec{
		Weight:  int(d.Weight),
		Forward: director.Forward(d.Method),
		Upper:   d.Upper,
		Lower:   d.Lower,
	}
	if s.Forward == director.TUN {
		s.Tunnel = director.Tunnel{
			Type:     director.Encapsulation(d.TunnelType),
			Checksum: director.TunnelChecksum(min(d.TunnelFlag, 255)),
			Port:     d.TunnelPort,
		}
	}
	return netip.AddrPortFrom(d.Address, d.Port), s, nil
}

func decodeCounters(d *genl.Destination) director.Counters {
	return director.Counters{Active: int(d.Active), Inactive: int(d.Inactive), Persistent: int(d.Persistent)}
}
