package genl

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/rtattr"
)

var (
	errShort = errors.New("the kernel's answer is too short")
	native   = binary.NativeEndian
)

// message is a netlink message. Its body lies in the buffer it was read from.
type message struct {
	kind, flags uint16
	seq, port   uint32
	body        []byte
}

// next takes the first message off b.
func next(b []byte) (m message, rest []byte, err error) {
	if len(b) < unix.SizeofNlMsghdr {
		return m, nil, errShort
	}
	size := native.Uint32(b)
	if size < unix.SizeofNlMsghdr || uint64(size) > uint64(len(b)) {
		return m, nil, errShort
	}
	m = message{
		kind:  native.Uint16(b[4:]),
		flags: native.Uint16(b[6:]),
		seq:   native.Uint32(b[8:]),
		port:  native.Uint32(b[12:]),
		body:  b[unix.SizeofNlMsghdr:size],
	}
	return m, b[min(len(b), align(int(size))):], nil
}

// answer returns what an NLMSG_ERROR message says: nil is an acknowledgement.
// The kernel's words, if any, come after the errno.
func answer(m message) error {
	if len(m.body) < 4 {
		return errShort
	}
	code := int32(native.Uint32(m.body))
	if code == 0 {
		return nil
	}
	errno := unix.Errno(-code)
	skip := 4 + unix.SizeofNlMsghdr
	if m.flags&unix.NLM_F_ACK_TLVS == 0 || len(m.body) < skip {
		return errno
	}
	if m.flags&unix.NLM_F_CAPPED == 0 { // the whole request is echoed
		skip = 4 + align(int(min(native.Uint32(m.body[4:]), uint32(len(m.body)))))
	}
	if skip > len(m.body) {
		return errno
	}
	for kind, value := range rtattr.All(m.body[skip:]) {
		if kind == unix.NLMSGERR_ATTR_MSG && len(value) > 1 {
			return fmt.Errorf("%w: %q", errno, value[:len(value)-1])
		}
	}
	return errno
}

// attributes returns those of a generic netlink message.
func attributes(body []byte) ([]byte, error) {
	if len(body) < nl.SizeofGenlmsg {
		return nil, errShort
	}
	return body[nl.SizeofGenlmsg:], nil
}

// nested returns the value of the attribute of attributes that a message of the
// kernel's consists of.
func nested(body []byte, want uint16) ([]byte, error) {
	b, err := attributes(body)
	if err != nil {
		return nil, err
	}
	for kind, value := range rtattr.All(b) {
		if kind == want {
			return value, nil
		}
	}
	return nil, errShort
}

// number returns an unsigned number of 1, 2, 4 or 8 bytes in the order of the
// machine; 0 if there is none.
func number(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(native.Uint16(b))
	case 4:
		return uint64(native.Uint32(b))
	case 8:
		return native.Uint64(b)
	}
	return 0
}

func network16(b []byte) uint16 {
	if len(b) != 2 {
		return 0
	}
	return binary.BigEndian.Uint16(b)
}

// parseAddress reads an address, which the kernel sends in 16 bytes whatever
// its family.
func parseAddress(family uint16, b []byte) (netip.Addr, error) {
	switch {
	case family == unix.AF_INET && len(b) >= 4:
		return netip.AddrFrom4([4]byte(b)), nil
	case family == unix.AF_INET6 && len(b) >= 16:
		return netip.AddrFrom16([16]byte(b)), nil
	}
	return netip.Addr{}, fmt.Errorf("%d bytes are no address of family %d", len(b), family)
}

// parser decodes what IPVS says. It remembers the few names of schedulers and
// engines, so that a table does not repeat them.
type parser struct{ names map[string]string }

const maxNames = 64

func (p *parser) name(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	if s, ok := p.names[string(b)]; ok {
		return s
	}
	if p.names == nil || len(p.names) >= maxNames {
		p.names = map[string]string{}
	}
	s := string(b)
	p.names[s] = s
	return s
}

func parseStats(b []byte) (s Stats) {
	fields := [statsCount]*uint64{
		&s.Connections, &s.InPackets, &s.OutPackets, &s.InBytes, &s.OutBytes,
		&s.CPS, &s.InPPS, &s.OutPPS, &s.InBPS, &s.OutBPS,
	}
	for kind, value := range rtattr.All(b) {
		if kind >= 1 && kind <= statsCount {
			*fields[kind-1] = number(value)
		}
	}
	return s
}

// service decodes the body of an answer to IPVS_CMD_GET_SERVICE.
func (p *parser) service(body []byte) (Service, error) {
	b, err := nested(body, cmdService)
	if err != nil {
		return Service{}, fmt.Errorf("parse service: %w", err)
	}
	var (
		s                               Service
		addr, mask, narrow, wide, flags []byte
	)
	for kind, value := range rtattr.All(b) {
		switch kind {
		case svcFamily:
			s.Family = uint16(number(value))
		case svcProtocol:
			s.Protocol = uint16(number(value))
		case svcAddress:
			addr = value
		case svcPort:
			s.Port = network16(value)
		case svcFWMark:
			s.FWMark = uint32(number(value))
		case svcScheduler:
			s.Scheduler = p.name(value)
		case svcFlags:
			flags = value
		case svcTimeout:
			s.Timeout = uint32(number(value))
		case svcNetmask:
			mask = value
		case svcStats:
			narrow = value
		case svcStats64:
			wide = value
		case svcEngine:
			s.Engine = p.name(value)
		}
	}
	switch {
	case s.Family != unix.AF_INET && s.Family != unix.AF_INET6:
		return Service{}, fmt.Errorf("parse service: address family %d", s.Family)
	case len(flags) < 4 || len(mask) != 4:
		return Service{}, fmt.Errorf("parse service: %w", errShort)
	case s.FWMark != 0:
		s.Protocol, s.Port = 0, 0
	default:
		if s.Address, err = parseAddress(s.Family, addr); err != nil {
			return Service{}, fmt.Errorf("parse service: %w", err)
		}
	}
	s.Flags = native.Uint32(flags) &^ FlagHashed
	s.Netmask = native.Uint32(mask)
	if s.Family == unix.AF_INET {
		s.Netmask = binary.BigEndian.Uint32(mask)
	}
	if wide == nil {
		wide = narrow
	}
	s.Stats = parseStats(wide)
	return s, nil
}

// destination decodes the body of an answer to IPVS_CMD_GET_DEST, of a service
// of the given family.
func (p *parser) destination(family uint16, body []byte) (Destination, error) {
	b, err := nested(body, cmdDest)
	if err != nil {
		return Destination{}, fmt.Errorf("parse server: %w", err)
	}
	var (
		d                  Destination
		addr, narrow, wide []byte
	)
	for kind, value := range rtattr.All(b) {
		switch kind {
		case destAddress:
			addr = value
		case destPort:
			d.Port = network16(value)
		case destMethod:
			d.Method = uint32(number(value)) & methodMask
		case destWeight:
			d.Weight = int32(number(value))
		case destUpper:
			d.Upper = uint32(number(value))
		case destLower:
			d.Lower = uint32(number(value))
		case destActive:
			d.Active = uint32(number(value))
		case destInactive:
			d.Inactive = uint32(number(value))
		case destPersistent:
			d.Persistent = uint32(number(value))
		case destStats:
			narrow = value
		case destFamily:
			family = uint16(number(value))
		case destStats64:
			wide = value
		case destTunType:
			d.TunnelType = uint8(number(value))
		case destTunPort:
			d.TunnelPort = network16(value)
		case destTunFlags:
			d.TunnelFlag = uint16(number(value))
		}
	}
	if d.Address, err = parseAddress(family, addr); err != nil {
		return Destination{}, fmt.Errorf("parse server: %w", err)
	}
	if wide == nil {
		wide = narrow
	}
	d.Stats = parseStats(wide)
	return d, nil
}

// daemon decodes the body of an answer to IPVS_CMD_GET_DAEMON.
func (p *parser) daemon(body []byte) (Daemon, error) {
	b, err := nested(body, cmdDaemon)
	if err != nil {
		return Daemon{}, fmt.Errorf("parse synchronisation daemon: %w", err)
	}
	var d Daemon
	for kind, value := range rtattr.All(b) {
		switch kind {
		case daemonState:
			d.State = DaemonState(number(value))
		case daemonInterface:
			d.Interface = p.name(value)
		case daemonID:
			d.ID = uint8(number(value))
		case daemonMaxLen:
			d.MaxLen = uint16(number(value))
		case daemonGroup:
			d.Group, err = parseAddress(unix.AF_INET, value)
		case daemonGroup6:
			d.Group, err = parseAddress(unix.AF_INET6, value)
		case daemonPort:
			d.Port = uint16(number(value))
		case daemonTTL:
			d.TTL = uint8(number(value))
		}
		if err != nil {
			return Daemon{}, fmt.Errorf("parse synchronisation daemon: %w", err)
		}
	}
	if d.State != DaemonMaster && d.State != DaemonBackup {
		return Daemon{}, fmt.Errorf("parse synchronisation daemon: state %d", d.State)
	}
	return d, nil
}

// numbers decodes the numbers in the body of an answer to IPVS_CMD_GET_CONFIG
// or IPVS_CMD_GET_INFO.
func numbers(body []byte, fields map[uint16]*uint32) error {
	b, err := attributes(body)
	if err != nil {
		return err
	}
	found := 0
	for kind, value := range rtattr.All(b) {
		if f := fields[kind]; f != nil && len(value) == 4 {
			*f = native.Uint32(value)
			found++
		}
	}
	if found < len(fields) {
		return errShort
	}
	return nil
}
