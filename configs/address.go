package configs

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// The functions here return what is wrong with a value, and what to do, as an
// error that continues "KEY = VALUE ".

// hostAddress parses an address that one host can have.
func hostAddress(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil && strings.Contains(s, "/"):
		return a, fmt.Errorf("has a prefix length; write the address alone")
	case err != nil:
		return a, notAddress(s)
	}
	return a, usable(a)
}

// notAddress says what is wrong with s, which is not an address.
func notAddress(s string) error {
	if s != "" && strings.Trim(s, "0123456789.:") != "" && !strings.ContainsAny(s, "[]%/") {
		return fmt.Errorf("is not an address, and host names are not looked up; write the IP address")
	}
	return fmt.Errorf("is not an IP address; write for example 192.0.2.10")
}

// usable checks that an address can be that of a host.
func usable(a netip.Addr) error {
	switch {
	case a.Is4In6():
		return fmt.Errorf("is an IPv4 address in IPv6 form; write %s", a.Unmap())
	case a.Zone() != "":
		return fmt.Errorf("has a zone; use an address that is valid beyond one link")
	case a.IsUnspecified(), a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("cannot be the address of a host; write a unicast address")
	}
	return nil
}

// endpoint parses "address:port".
func endpoint(s string) (netip.AddrPort, error) {
	ap, err := netip.ParseAddrPort(s)
	if err == nil {
		if err = usable(ap.Addr()); err == nil && ap.Addr().Is6() && ap.Addr().IsLinkLocalUnicast() {
			err = fmt.Errorf("is valid on one link only, which the kernel refuses; write a global or unique local address")
		}
		return ap, err
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return ap, fmt.Errorf("has no port; write %q", netip.AddrPortFrom(a, 80))
	}
	host, port, found := cutLast(s, ":")
	if !found {
		return ap, notAddress(s)
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err != nil {
		return ap, notAddress(host)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return ap, fmt.Errorf("has a wrong port; write a number from 0 to 65535 after the colon")
	}
	return ap, fmt.Errorf("is not an address and port; write for example \"192.0.2.10:80\" or \"[2001:db8::10]:80\"")
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// virtualAddress parses an address of a virtual router: with the prefix length
// of its network, or alone.
func virtualAddress(s string) (netip.Prefix, error) {
	a, err := netip.ParseAddr(s)
	if err == nil {
		return netip.PrefixFrom(a, a.BitLen()), virtual(a)
	}
	host, bits, found := strings.Cut(s, "/")
	if !found {
		return netip.Prefix{}, notAddress(s)
	}
	if a, err = netip.ParseAddr(host); err != nil {
		return netip.Prefix{}, notAddress(host)
	}
	if err := virtual(a); err != nil {
		return netip.Prefix{}, err
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Bits() == 0 {
		return p, fmt.Errorf("has the prefix length %s; write 1 to %d", quote(bits), a.BitLen())
	}
	if p.Bits() < a.BitLen()-1 && (a == p.Masked().Addr() || a.Is4() && a == broadcast(p)) {
		if a.Is6() { // RFC 4291 section 2.6.1
			return p, fmt.Errorf("is the address of every router of its network; write the address of a host in it")
		}
		return p, fmt.Errorf("is the network or broadcast address of its network; write the address of a host in it")
	}
	return p, nil
}

// virtual checks that an address can be moved by a virtual router.
func virtual(a netip.Addr) error {
	switch err := usable(a); {
	case err != nil:
		return err
	case a.IsLoopback():
		return fmt.Errorf("is a loopback address, which no other host can reach; write another")
	}
	return nil
}

// broadcast returns the last address of an IPv4 network.
func broadcast(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(b)
}
