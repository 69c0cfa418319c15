package ipvsadm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	servicesFile = "/etc/services"
	maxServices  = 1 << 20 // bytes that are read of it

	// lookupPatience is how long one name, all names that are not answered
	// together, and all addresses of a listing together, may take to be looked up.
	lookupPatience = 3 * time.Second
)

// Resolver looks names of hosts up; *net.Resolver does.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupAddr(ctx context.Context, address string) ([]string, error)
}

// Names translates between numbers and names. It serves one goroutine.
type Names struct {
	Ports    Ports
	Resolver Resolver // nil: there are no names of hosts

	addresses map[hostQuery]hostAnswer // what was looked up
	waited    time.Duration            // for answers to names that did not come
	hosts     map[netip.Addr]string    // what was looked up; empty: it has no name
	spent     time.Duration            // on looking them up
}

type hostQuery struct{ name, network string }

type hostAnswer struct {
	netip.Addr
	err error
}

// SystemNames are those of this machine.
func SystemNames() *Names {
	n := &Names{Resolver: net.DefaultResolver}
	if f, err := os.Open(servicesFile); err == nil { // without it there are numbers only
		defer f.Close()
		n.Ports = ReadPorts(f)
	}
	return n
}

// lookup returns the first address of a host in network, "ip4" or "ip6". It asks
// once for a name: rules repeat the same ones, and a name with several addresses
// has to mean the same one in all of them.
func (n *Names) lookup(ctx context.Context, name, network string) (netip.Addr, error) {
	if n.Resolver == nil {
		return netip.Addr{}, fmt.Errorf("%q is no address", name)
	}
	q := hostQuery{name, network}
	a, known := n.addresses[q]
	if !known {
		if n.waited >= lookupPatience {
			return netip.Addr{}, fmt.Errorf("look up host %q: names are not answered; write the address", name)
		}
		a.Addr, a.err = n.forward(ctx, name, network)
		if n.addresses == nil {
			n.addresses = map[hostQuery]hostAnswer{}
		}
		n.addresses[q] = a
	}
	return a.Addr, a.err
}

// forward asks for the addresses of a name.
func (n *Names) forward(ctx context.Context, name, network string) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupPatience)
	defer cancel()
	begin := time.Now()
	list, err := n.Resolver.LookupNetIP(ctx, network, name)
	var dns *net.DNSError
	var none *net.AddrError // it has addresses, of the other family
	if err != nil && !errors.As(err, &none) && !(errors.As(err, &dns) && dns.IsNotFound) {
		n.waited += time.Since(begin)
		return netip.Addr{}, fmt.Errorf("look up host %q: %w; write the address", name, err)
	}
	for _, a := range list {
		if a = a.Unmap(); a.Is4() == (network == "ip4") && a.Zone() == "" {
			return a, nil
		}
	}
	if network == "ip6" {
		return netip.Addr{}, fmt.Errorf("there is no host %q with an IPv6 address; write the address", name)
	}
	return netip.Addr{}, fmt.Errorf("there is no host %q with an IPv4 address; write the address, or the name in brackets for IPv6", name)
}

// hostText returns the name of an address, or the address.
func (n *Names) hostText(ctx context.Context, a netip.Addr) string {
	name, known := n.hosts[a]
	if !known {
		name = n.reverse(ctx, a)
		if n.hosts == nil {
			n.hosts = map[netip.Addr]string{}
		}
		n.hosts[a] = name
	}
	if name == "" {
		return addressText(a)
	}
	return name
}

// reverse asks for the name of an address while there is patience left.
func (n *Names) reverse(ctx context.Context, a netip.Addr) string {
	left := lookupPatience - n.spent
	if n.Resolver == nil || left <= 0 || a.IsUnspecified() {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	begin := time.Now()
	list, err := n.Resolver.LookupAddr(ctx, a.String())
	n.spent += time.Since(begin)
	if err != nil || len(list) == 0 {
		return ""
	}
	if name := strings.TrimSuffix(list[0], "."); name != "" && hostName(name) {
		return name
	}
	return ""
}

// Ports are the names of ports.
type Ports struct {
	numbers map[portName]uint16
	names   map[portNumber]string
}

type portName struct{ name, protocol string }

type portNumber struct {
	number   uint16
	protocol string
}

// ReadPorts reads a file such as /etc/services. What is no line of one is passed
// over, and the first line of several for the same name or port counts.
func ReadPorts(r io.Reader) Ports {
	p := Ports{numbers: map[portName]uint16{}, names: map[portNumber]string{}}
	in := bufio.NewScanner(io.LimitReader(r, maxServices))
	for in.Scan() {
		line, _, _ := strings.Cut(in.Text(), "#")
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		digits, protocol, _ := strings.Cut(f[1], "/")
		n, err := strconv.ParseUint(digits, 10, 16)
		if err != nil {
			continue
		}
		key := portNumber{uint16(n), protocol}
		if _, ok := p.names[key]; !ok {
			p.names[key] = f[0]
		}
		for i, name := range f {
			if i == 1 {
				continue
			}
			key := portName{name, protocol}
			if _, ok := p.numbers[key]; !ok {
				p.numbers[key] = uint16(n)
			}
		}
	}
	return p
}

// Number returns the port with a name.
func (p Ports) Number(name, protocol string) (uint16, bool) {
	n, ok := p.numbers[portName{name, protocol}]
	return n, ok
}

// text returns the name of a port, or its number.
func (p Ports) text(number uint16, protocol string) string {
	if name, ok := p.names[portNumber{number, protocol}]; ok && protocol != "" {
		return name
	}
	return strconv.Itoa(int(number))
}
