package director

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// String returns the lower-case name of the protocol, or its number.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case SCTP:
		return "sctp"
	}
	return "protocol " + strconv.Itoa(int(p))
}

// String returns "tcp 10.0.0.1:80", "fwmark 10" or "fwmark 10 ipv6".
func (k ServiceKey) String() string {
	if k.FWMark == 0 {
		return k.Protocol.String() + " " + k.Address.String()
	}
	s := "fwmark " + strconv.FormatUint(uint64(k.FWMark), 10)
	if k.IPv6 {
		s += " ipv6"
	}
	return s
}

// Is6 reports whether the service balances IPv6.
func (k ServiceKey) Is6() bool {
	if k.FWMark != 0 {
		return k.IPv6
	}
	return k.Address.Addr().Is6()
}

// IsService reports whether k names a service rather than a server of one.
func (k Key) IsService() bool { return k.Server == netip.AddrPort{} }

// String returns the service, followed by the server if k names one:
// "tcp 10.0.0.1:80 -> 10.0.1.1:80".
func (k Key) String() string {
	if k.IsService() {
		return k.Service.String()
	}
	return k.Service.String() + " -> " + k.Server.String()
}

// String returns "10.0.0.1/24 on eth0".
func (k AddrKey) String() string { return k.Prefix.String() + " on " + k.Link }

// String returns "create", "update" or "delete".
func (o Op) String() string {
	switch o {
	case Create:
		return "create"
	case Update:
		return "update"
	case Delete:
		return "delete"
	}
	return "op " + strconv.Itoa(int(o))
}

// String returns the word used in the configuration: "nat", "local", "tun" or
// "dr".
func (f Forward) String() string {
	switch f {
	case NAT:
		return "nat"
	case Local:
		return "local"
	case TUN:
		return "tun"
	case DR:
		return "dr"
	}
	return "forward " + strconv.Itoa(int(f))
}

// String returns the word used in the configuration: "ipip", "gue" or "gre".
func (e Encapsulation) String() string {
	switch e {
	case IPIP:
		return "ipip"
	case GUE:
		return "gue"
	case GRE:
		return "gre"
	}
	return "encapsulation " + strconv.Itoa(int(e))
}

// String returns "ipip", or "gue port 6080, remote checksum".
func (t Tunnel) String() string {
	s := t.Type.String()
	if t.Port != 0 {
		s += fmt.Sprintf(" port %d", t.Port)
	}
	switch t.Checksum {
	case NoChecksum:
	case Checksum:
		s += ", checksum"
	case RemoteChecksum:
		s += ", remote checksum"
	default:
		s += fmt.Sprintf(", checksum %d", t.Checksum)
	}
	return s
}

// String joins the names of the flags with commas; it is empty for none.
func (f Flags) String() string {
	var names []string
	for _, n := range []struct {
		flag Flags
		name string
	}{
		{FlagOnePacket, "one-packet"},
		{FlagSched1, "flag-1"},
		{FlagSched2, "flag-2"},
		{FlagSched3, "flag-3"},
	} {
		if f&n.flag != 0 {
			names = append(names, n.name)
			f &^= n.flag
		}
	}
	if f != 0 {
		names = append(names, fmt.Sprintf("%#x", uint32(f)))
	}
	return strings.Join(names, ",")
}

// String returns "wrr", followed by what is not at its default.
func (s ServiceSpec) String() string {
	var b strings.Builder
	b.WriteString(s.Scheduler)
	if s.Flags != 0 {
		b.WriteString(" (" + s.Flags.String() + ")")
	}
	if s.Persistence != 0 {
		fmt.Fprintf(&b, " persistent %d s /%d", s.Persistence/time.Second, s.Mask)
	}
	if s.Engine != "" {
		b.WriteString(" by " + s.Engine)
	}
	return b.String()
}

// String returns "dr weight 1", followed by the thresholds if there are any.
func (s ServerSpec) String() string {
	t := s.Forward.String()
	if s.Tunnel != (Tunnel{}) {
		t += " (" + s.Tunnel.String() + ")"
	}
	t += fmt.Sprintf(" weight %d", s.Weight)
	if s.Upper != 0 || s.Lower != 0 {
		t += fmt.Sprintf(" connections %d..%d", s.Lower, s.Upper)
	}
	return t
}

// String returns the part of s that is set.
func (s Spec) String() string {
	if s.Service.Scheduler != "" {
		return s.Service.String()
	}
	return s.Server.String()
}

// String tells whether the address carries our tag.
func (s AddrSpec) String() string {
	if s.Ours {
		return "ours"
	}
	return "untagged"
}

// String returns the change as a line of a log has it.
func (c Change[K, V]) String() string {
	switch c.Op {
	case Create:
		return fmt.Sprintf("create %v (%v)", c.Key, c.New)
	case Update:
		return fmt.Sprintf("update %v (%v, was %v)", c.Key, c.New, c.Old)
	}
	return fmt.Sprintf("%v %v", c.Op, c.Key)
}
