package ipvsadm

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

const (
	connectionsFile = "/proc/net/ip_vs_conn"
	maxLine         = 64 << 10 // bytes of a line of any input
)

// connections lists the kernel's table of connections, which in has as text.
func (l *listing) connections(in io.Reader) error {
	l.printf("IPVS connection entries\n")
	const heading = "pro expire %-11s %-18s %-18s "
	if l.format.Persistent {
		l.printf(heading+"%-18s %-16s %s\n", "state", "source", "virtual", "destination", "pe name", "pe_data")
	} else {
		l.printf(heading+"%s\n", "state", "source", "virtual", "destination")
	}
	scanner := bufio.NewScanner(in)
	scanner.Buffer(nil, maxLine)
	for n := 1; scanner.Scan(); n++ {
		if n == 1 {
			continue // the heading
		}
		if err := l.ctx.Err(); err != nil {
			return err
		}
		c, err := parseConnection(scanner.Text())
		if err != nil {
			return fmt.Errorf("read %s, line %d: %w", connectionsFile, n, err)
		}
		l.connection(c)
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("read %s: %w", connectionsFile, err)
	}
	return nil
}

// connection is an entry of the kernel's table of connections.
type connection struct {
	protocol                     string
	client, virtual, destination netip.AddrPort
	state                        string
	expires                      int    // seconds
	engine, data                 string // of persistence; empty: none
}

// parseConnection reads a line of /proc/net/ip_vs_conn.
func parseConnection(line string) (connection, error) {
	f := strings.Fields(line)
	if len(f) < 9 {
		return connection{}, fmt.Errorf("%d words where 9 or 11 are due", len(f))
	}
	c := connection{protocol: f[0], state: f[7]}
	for i, into := range []*netip.AddrPort{&c.client, &c.virtual, &c.destination} {
		a, err := hexAddress(f[1+2*i])
		if err != nil {
			return connection{}, err
		}
		p, err := strconv.ParseUint(f[2+2*i], 16, 16)
		if err != nil {
			return connection{}, fmt.Errorf("%q is no port", f[2+2*i])
		}
		*into = netip.AddrPortFrom(a, uint16(p))
	}
	n, err := strconv.ParseUint(f[8], 10, 64)
	if err != nil {
		return connection{}, fmt.Errorf("%q is no number of seconds", f[8])
	}
	if n <= maxInt { // a larger one, of an older kernel, is of an entry that is about to expire, below zero
		c.expires = int(n)
	}
	if len(f) >= 11 {
		c.engine, c.data = harmless(f[9]), harmless(f[10])
	}
	return c, nil
}

// harmless replaces what could do something to a terminal: the data of an engine
// are what a client sent.
func harmless(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// hexAddress reads "0A000001", or an IPv6 address.
func hexAddress(s string) (netip.Addr, error) {
	if len(s) == 8 && !strings.Contains(s, ":") {
		if b, err := hex.DecodeString(s); err == nil {
			return netip.AddrFrom4([4]byte(b)), nil
		}
	} else if a, err := netip.ParseAddr(s); err == nil && a.Is6() && a.Zone() == "" {
		return a, nil
	}
	return netip.Addr{}, fmt.Errorf("%q is no address", s)
}

func (l *listing) connection(c connection) {
	text := func(a netip.AddrPort) string {
		if l.format.Numeric {
			return endpoint(a.Addr(), a.Port())
		}
		s := bracketed(a.Addr(), l.names.hostText(l.ctx, a.Addr())) + ":" + l.names.Ports.text(a.Port(), strings.ToLower(c.protocol))
		return s[:min(len(s), widest)]
	}
	l.printf("%-3s %-6s %-11s %-18s %-18s ", c.protocol, fmt.Sprintf("%02d:%02d", c.expires/60, c.expires%60), c.state,
		text(c.client), text(c.virtual))
	if l.format.Persistent && c.engine != "" {
		l.printf("%-16s %-18s %s\n", text(c.destination), c.engine, c.data)
	} else {
		l.printf("%s\n", text(c.destination))
	}
}
