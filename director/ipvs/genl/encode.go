package genl

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// The functions here append to b. Numbers are in the order of the machine, but
// where the kernel wants that of the network (be).

func align(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }

// begin appends the headers of a message, whose length finish sets.
func begin(b []byte, family, flags uint16, seq uint32, command, version uint8) []byte {
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = binary.NativeEndian.AppendUint16(b, family)
	b = binary.NativeEndian.AppendUint16(b, flags|unix.NLM_F_REQUEST)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0) // the kernel knows the sender
	// Not nl.Genlmsg, which fills the reserved bytes with what lies behind it.
	return append(b, command, version, 0, 0)
}

// finish sets the length of the message that begins at start. Its attributes
// have aligned it.
func finish(b []byte, start int) {
	binary.NativeEndian.PutUint32(b[start:], uint32(len(b)-start))
}

// head appends the header of an attribute with a value of size bytes.
func head(b []byte, kind uint16, size int) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+size))
	return binary.NativeEndian.AppendUint16(b, kind)
}

func u8(b []byte, kind uint16, v uint8) []byte {
	return append(head(b, kind, 1), v, 0, 0, 0)
}

func u16(b []byte, kind uint16, v uint16) []byte {
	return append(binary.NativeEndian.AppendUint16(head(b, kind, 2), v), 0, 0)
}

func be16(b []byte, kind uint16, v uint16) []byte {
	return append(binary.BigEndian.AppendUint16(head(b, kind, 2), v), 0, 0)
}

func u32(b []byte, kind uint16, v uint32) []byte {
	return binary.NativeEndian.AppendUint32(head(b, kind, 4), v)
}

func be32(b []byte, kind uint16, v uint32) []byte {
	return binary.BigEndian.AppendUint32(head(b, kind, 4), v)
}

// text appends s with a zero byte.
func text(b []byte, kind uint16, s string) []byte {
	b = append(append(head(b, kind, len(s)+1), s...), 0)
	for len(b)%unix.NLMSG_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}

// address appends 4 or 16 bytes, which are aligned.
func address(b []byte, kind uint16, a netip.Addr) []byte {
	if a.Is4() {
		v := a.As4()
		return append(head(b, kind, len(v)), v[:]...)
	}
	v := a.As16()
	return append(head(b, kind, len(v)), v[:]...)
}

// nest appends an attribute of attributes, to be ended by unnest.
func nest(b []byte, kind uint16) (nested []byte, start int) {
	return head(b, kind|unix.NLA_F_NESTED, 0), len(b)
}

func unnest(b []byte, start int) []byte {
	binary.NativeEndian.PutUint16(b[start:], uint16(len(b)-start))
	return b
}

// FamilyOf returns the address family of an address.
func FamilyOf(a netip.Addr) uint16 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// name checks a text of the kernel's.
func name(what, s string, limit int) error {
	if s == "" || len(s) >= limit || strings.IndexByte(s, 0) >= 0 {
		return fmt.Errorf("the %s's name %q does not have 1 to %d bytes", what, s, limit-1)
	}
	return nil
}

// appendID appends what names a service.
func appendID(b []byte, id ServiceID) ([]byte, error) {
	if id.Family != unix.AF_INET && id.Family != unix.AF_INET6 {
		return b, fmt.Errorf("address family %d is neither IPv4 nor IPv6", id.Family)
	}
	b = u16(b, svcFamily, id.Family)
	if id.FWMark != 0 {
		return u32(b, svcFWMark, id.FWMark), nil
	}
	if !id.Address.IsValid() || FamilyOf(id.Address) != id.Family {
		return b, fmt.Errorf("the service's address %v is not of its family", id.Address)
	}
	b = u16(b, svcProtocol, id.Protocol)
	b = address(b, svcAddress, id.Address)
	return be16(b, svcPort, id.Port), nil
}

// appendService appends a service, with its content if it is to be set.
func appendService(b []byte, s *Service, content bool) ([]byte, error) {
	b, start := nest(b, cmdService)
	b, err := appendID(b, s.ServiceID)
	if err != nil || !content {
		return unnest(b, start), err
	}
	if err := name("scheduler", s.Scheduler, schedulerLimit); err != nil {
		return b, err
	}
	b = text(b, svcScheduler, s.Scheduler)
	if s.Engine != "" {
		if err := name("persistence engine", s.Engine, engineLimit); err != nil {
			return b, err
		}
		b = text(b, svcEngine, s.Engine)
	}
	b = head(b, svcFlags, 8)
	b = binary.NativeEndian.AppendUint32(b, s.Flags&^FlagHashed)
	b = binary.NativeEndian.AppendUint32(b, 0xffffffff) // every flag is set or cleared
	b = u32(b, svcTimeout, s.Timeout)
	if s.Family == unix.AF_INET {
		b = be32(b, svcNetmask, s.Netmask)
	} else {
		b = u32(b, svcNetmask, s.Netmask)
	}
	return unnest(b, start), nil
}

// appendDest appends a destination, with its content if it is to be set.
func appendDest(b []byte, d *Destination, content bool) ([]byte, error) {
	b, start := nest(b, cmdDest)
	if !d.Address.IsValid() {
		return b, fmt.Errorf("the server has no address")
	}
	b = u16(b, destFamily, FamilyOf(d.Address))
	b = address(b, destAddress, d.Address)
	b = be16(b, destPort, d.Port)
	if !content {
		return unnest(b, start), nil
	}
	b = u32(b, destMethod, d.Method&methodMask)
	b = u32(b, destWeight, uint32(d.Weight))
	b = u32(b, destUpper, d.Upper)
	b = u32(b, destLower, d.Lower)
	// What is left out is 0 to the kernel, and was there before Linux 5.3, too.
	if d.TunnelType != 0 || d.TunnelPort != 0 || d.TunnelFlag != 0 {
		b = u8(b, destTunType, d.TunnelType)
		b = be16(b, destTunPort, d.TunnelPort)
		b = u16(b, destTunFlags, d.TunnelFlag)
	}
	return unnest(b, start), nil
}

// appendDaemon appends a synchronisation daemon, with its content if it is to
// be started.
func appendDaemon(b []byte, d *Daemon, content bool) ([]byte, error) {
	b, start := nest(b, cmdDaemon)
	b = u32(b, daemonState, uint32(d.State))
	if !content {
		return unnest(b, start), nil
	}
	if err := name("interface", d.Interface, interfaceLimit); err != nil {
		return b, err
	}
	b = text(b, daemonInterface, d.Interface)
	b = u32(b, daemonID, uint32(d.ID))
	if d.MaxLen != 0 {
		b = u16(b, daemonMaxLen, d.MaxLen)
	}
	switch {
	case d.Group.Is4():
		b = address(b, daemonGroup, d.Group)
	case d.Group.Is6():
		b = address(b, daemonGroup6, d.Group)
	}
	if d.Port != 0 {
		b = u16(b, daemonPort, d.Port)
	}
	if d.TTL != 0 {
		b = u8(b, daemonTTL, d.TTL)
	}
	return unnest(b, start), nil
}

// appendMessage appends m's attributes.
func appendMessage(b []byte, m *Message) ([]byte, error) {
	switch m.Op {
	case NewService, SetService, DelService:
		return appendService(b, &m.Service, m.Op != DelService)
	case NewDest, SetDest, DelDest:
		b, err := appendService(b, &m.Service, false)
		if err != nil {
			return b, err
		}
		return appendDest(b, &m.Dest, m.Op != DelDest)
	case NewDaemon, DelDaemon:
		return appendDaemon(b, &m.Daemon, m.Op == NewDaemon)
	case SetConfig:
		b = u32(b, cmdTimeoutTCP, m.Timeouts.TCP)
		b = u32(b, cmdTimeoutFin, m.Timeouts.TCPFin)
		return u32(b, cmdTimeoutUDP, m.Timeouts.UDP), nil
	case Zero:
		if m.Service.ServiceID == (ServiceID{}) {
			return b, nil
		}
		return appendService(b, &m.Service, false)
	case Flush:
		return b, nil
	}
	return b, fmt.Errorf("%d is no operation", m.Op)
}
