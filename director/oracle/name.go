package oracle

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// ErrName says that a text is not of a service as the kernel knows it; it may be
// the name of one in a configuration.
var ErrName = errors.New("not a service")

// ParseService reads a service as an operator writes it: "tcp 192.0.2.1:80",
// "udp:[2001:db8::1]:53", "192.0.2.1:80" (TCP), "fwmark 10", "fwmark 10 ipv6". A
// fwmark without a family gets that of the client. The error is ErrName if the
// text has none of these forms, and another one if it has a form but not its
// content.
func ParseService(text string, client netip.Addr) (genl.ServiceID, error) {
	word, rest := split(strings.TrimSpace(text))
	protocol := uint16(unix.IPPROTO_TCP)
	switch strings.ToLower(word) {
	case "tcp":
	case "udp":
		protocol = unix.IPPROTO_UDP
	case "sctp":
		protocol = unix.IPPROTO_SCTP
	case "fwmark":
		if rest != "" {
			return parseMark(rest, client)
		}
	default: // no word, or the name of a service
		if rest = strings.TrimSpace(text); !strings.Contains(rest, ":") {
			return genl.ServiceID{}, ErrName
		}
		word = ""
	}
	if rest == "" {
		return genl.ServiceID{}, ErrName
	}
	at, err := netip.ParseAddrPort(rest)
	if err != nil || at.Addr().Zone() != "" {
		if word == "" {
			return genl.ServiceID{}, ErrName
		}
		return genl.ServiceID{}, fmt.Errorf("%q is not ADDRESS:PORT or [ADDRESS]:PORT", rest)
	}
	return genl.ServiceID{Family: genl.FamilyOf(at.Addr().Unmap()), Protocol: protocol, Address: at.Addr().Unmap(), Port: at.Port()}, nil
}

// split cuts the first word off, at a space or colon.
func split(text string) (word, rest string) {
	i := strings.IndexAny(text, ": \t")
	if i < 0 {
		return text, ""
	}
	return text[:i], strings.TrimSpace(text[i+1:])
}

func parseMark(rest string, client netip.Addr) (genl.ServiceID, error) {
	number, which, named := strings.Cut(rest, " ")
	mark, err := strconv.ParseUint(number, 0, 32)
	if err != nil || mark == 0 {
		return genl.ServiceID{}, fmt.Errorf("%q is not a fwmark from 1 to 4294967295", number)
	}
	id := genl.ServiceID{FWMark: uint32(mark), Family: genl.FamilyOf(client)}
	switch which = strings.TrimSpace(which); {
	case which == "ipv6":
		id.Family = unix.AF_INET6
	case which == "ipv4":
		id.Family = unix.AF_INET
	case named:
		return genl.ServiceID{}, fmt.Errorf("%q after the fwmark is neither ipv4 nor ipv6", which)
	}
	return id, nil
}

// ParseClient reads ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT. Without a port it
// is 0.
func ParseClient(text string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil && a.Zone() == "" {
		return netip.AddrPortFrom(a.Unmap(), 0), nil
	}
	a, err := netip.ParseAddrPort(text)
	if err != nil || a.Addr().Zone() != "" {
		return netip.AddrPort{}, fmt.Errorf("%q is not an ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT", text)
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
}

// Name writes a service as ParseService reads it.
func Name(id genl.ServiceID) string {
	if id.FWMark != 0 {
		if id.Family == unix.AF_INET6 {
			return fmt.Sprintf("fwmark %d ipv6", id.FWMark)
		}
		return fmt.Sprintf("fwmark %d", id.FWMark)
	}
	return strings.ToLower(protocolName(id.Protocol)) + " " + netip.AddrPortFrom(id.Address, id.Port).String()
}
