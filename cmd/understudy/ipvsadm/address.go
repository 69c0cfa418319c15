package ipvsadm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

const ipv4 = unix.AF_INET

var errEmpty = errors.New("there is nothing; write ADDRESS[:PORT], or [ADDRESS]:PORT for IPv6")

// number reads digits.
func number(s string, low, high int64) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || s[0] < '0' || s[0] > '9' || n < low || n > high {
		return 0, fmt.Errorf("write a whole number from %d to %d", low, high)
	}
	return n, nil
}

// portProtocol names the protocol whose names the ports of a service go by: with
// a firewall mark, which has every protocol, that is TCP.
func portProtocol(id genl.ServiceID) string {
	if id.FWMark != 0 {
		return protocolName(unix.IPPROTO_TCP)
	}
	return protocolName(id.Protocol)
}

// protocolName names a protocol as /etc/services does; a service with a
// firewall mark has none.
func protocolName(p uint16) string {
	switch p {
	case unix.IPPROTO_TCP:
		return "tcp"
	case unix.IPPROTO_UDP:
		return "udp"
	case unix.IPPROTO_SCTP:
		return "sctp"
	}
	return ""
}

// endpoint returns "192.0.2.1:80" or "[2001:db8::1]:80".
func endpoint(a netip.Addr, port uint16) string {
	return bracketed(a, addressText(a)) + ":" + strconv.Itoa(int(port))
}

// addressText is a.String, but for IPv4 in the last 32 bits of IPv6, which the C
// library writes as IPv4: "::192.0.2.1".
func addressText(a netip.Addr) string {
	if b := a.As16(); a.Is6() && [12]byte(b[:12]) == [12]byte{} && (b[12] != 0 || b[13] != 0) {
		return "::" + netip.AddrFrom4([4]byte(b[12:])).String()
	}
	return a.String()
}

// bracketed puts what stands for a into brackets if a is IPv6.
func bracketed(a netip.Addr, text string) string {
	if a.Is4() {
		return text
	}
	return "[" + text + "]"
}

// maskNumber returns a mask as the kernel's value in genl: 255.255.255.0 is
// 0xffffff00.
func maskNumber(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

// maskText is the inverse.
func maskText(n uint32) string {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n))).String()
}

// address reads ADDRESS[:PORT], [ADDRESS][:PORT], an IPv6 address without a
// port, or names in the places of the address and of the port. The port is nil
// if there is none.
func (n *Names) address(ctx context.Context, s, protocol string) (netip.Addr, *uint16, error) {
	host, port, hasPort := s, "", false
	if inner, ok := strings.CutPrefix(s, "["); ok {
		var after string
		if host, after, ok = strings.Cut(inner, "]"); !ok {
			return netip.Addr{}, nil, errors.New(`"]" is missing; write [ADDRESS]:PORT`)
		}
		if port, hasPort = strings.CutPrefix(after, ":"); !hasPort && after != "" {
			return netip.Addr{}, nil, fmt.Errorf("do not know what %q after the address is; write [ADDRESS]:PORT", after)
		}
		a, err := n.host6(ctx, host)
		if err != nil {
			return netip.Addr{}, nil, err
		}
		p, err := n.portNumber(port, hasPort, protocol)
		return a, p, err
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Is6() {
		if a.Zone() != "" {
			return netip.Addr{}, nil, errors.New("a link-local address with a zone cannot be balanced; leave out what follows %")
		}
		return a, nil, nil
	}
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		host, port, hasPort = s[:i], s[i+1:], true
	}
	a, err := n.host(ctx, host)
	if err != nil {
		return netip.Addr{}, nil, err
	}
	p, err := n.portNumber(port, hasPort, protocol)
	return a, p, err
}

// host reads an IPv4 address, or looks a name up.
func (n *Names) host(ctx context.Context, s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err == nil && a.Is4():
		return a, nil
	case s == "":
		return netip.Addr{}, errEmpty
	case strings.Contains(s, ":"):
		return netip.Addr{}, errors.New("it is neither an address nor a name; write an IPv6 address with a port as [ADDRESS]:PORT")
	case numeric(s):
		return netip.Addr{}, fmt.Errorf("%s is no IPv4 address: it takes four numbers from 0 to 255 without leading zeros, such as 192.0.2.1", s)
	case !hostName(s):
		return netip.Addr{}, fmt.Errorf("%q is neither an address nor a host name; write ADDRESS[:PORT]", s)
	}
	return n.lookup(ctx, s, "ip4")
}

// host6 reads what stands in brackets: an IPv6 address, or a name, as a listing
// and -S without -n have it there.
func (n *Names) host6(ctx context.Context, s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err == nil && a.Is6() && a.Zone() == "":
		return a, nil
	case err == nil, s == "", numeric(s), !hostName(s):
		return netip.Addr{}, fmt.Errorf("%q is no IPv6 address and no name of a host; only those go in brackets", s)
	}
	return n.lookup(ctx, s, "ip6")
}

// numeric reports whether s was meant as an IPv4 address: its last label is a
// number, which no host name's is, or it begins with three numbers.
func numeric(s string) bool {
	labels := strings.Split(strings.TrimSuffix(s, "."), ".")
	count := 0
	for _, l := range labels {
		if !digits(l) {
			break
		}
		count++
	}
	return count >= 3 || digits(labels[len(labels)-1])
}

func digits(s string) bool {
	for _, r := range s {
		if r < '0' || r > '9' {
			return false
		}
	}
	return s != ""
}

// hostName reports whether s can be the name of a host.
func hostName(s string) bool {
	if len(s) > 253 || s[0] == '-' {
		return false
	}
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '.', r == '_':
		default:
			return false
		}
	}
	return true
}

// portNumber reads a port or the name of one.
func (n *Names) portNumber(s string, has bool, protocol string) (*uint16, error) {
	if !has {
		return nil, nil
	}
	if x, err := number(s, 0, 65535); err == nil {
		p := uint16(x)
		return &p, nil
	}
	if s != "" && !digits(s) {
		if p, ok := n.Ports.Number(s, protocol); ok {
			return &p, nil
		}
		return nil, fmt.Errorf("there is no %s service %q in %s; write the port as a number", protocol, s, servicesFile)
	}
	return nil, fmt.Errorf("%q is no port; write a number from 0 to 65535", s)
}
