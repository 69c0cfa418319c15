package ipvsadm

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// The widths of names: all are cut at the first, those of IPv4 in the columns of
// a listing also at the second.
const (
	widest = 59
	column = 28
)

// entry is a service with its real servers.
type entry struct {
	genl.Service
	servers []genl.Destination
}

// listing writes entries in a format.
type listing struct {
	ctx    context.Context // of looking names up
	out    io.Writer
	names  *Names
	format Format
}

func (l *listing) printf(format string, args ...any) { fmt.Fprintf(l.out, format, args...) }

// table writes all entries below a heading.
func (l *listing) table(entries []entry) {
	l.heading()
	if !l.format.Unsorted {
		mergeSort(entries, compareServices)
	}
	for i := range entries {
		e := &entries[i]
		l.service(e)
		if !l.format.Unsorted {
			mergeSort(e.servers, compareServers)
		}
		for j := range e.servers {
			l.server(e, &e.servers[j])
		}
	}
}

// version writes the first line of a listing of the whole table.
func (l *listing) version(i genl.Info) {
	l.printf("IP Virtual Server version %d.%d.%d (size=%d)\n",
		i.Version>>16&0xff, i.Version>>8&0xff, i.Version&0xff, i.ConnSize)
}

func (l *listing) heading() {
	const local, remote = "Prot LocalAddress:Port", "  -> RemoteAddress:Port"
	switch f := l.format; {
	case f.Stats:
		l.printf("%-33s %8s %8s %8s %8s %8s\n%s\n", local, "Conns", "InPkts", "OutPkts", "InBytes", "OutBytes", remote)
	case f.Rate:
		l.printf("%-33s %8s %8s %8s %8s %8s\n%s\n", local, "CPS", "InPPS", "OutPPS", "InBPS", "OutBPS", remote)
	case f.Thresholds:
		l.printf("%-33s %-10s %-10s %-10s %-10s\n%s\n", local, "Uthreshold", "Lthreshold", "ActiveConn", "InActConn", remote)
	case f.Persistent:
		l.printf("%-33s %-9s %-11s %-10s %-10s\n%s\n", local, "Weight", "PersistConn", "ActiveConn", "InActConn", remote)
	case f.Tunnel:
		l.printf("%s Scheduler Flags\n%s           Forward TunnelInfo    Weight ActiveConn InActConn\n", local, remote)
	default:
		l.printf("%s Scheduler Flags\n%s           Forward Weight ActiveConn InActConn\n", local, remote)
	}
}

// service writes the line of a service.
func (l *listing) service(e *entry) {
	name := fmt.Sprintf("%-4s %s", strings.ToUpper(protocolName(e.Protocol)), l.column(e.Address.Is4(), l.endpoint(e.ServiceID)))
	if e.FWMark != 0 {
		name = "FWM  " + strconv.Itoa(int(int32(e.FWMark)))
		if e.Family != ipv4 {
			name += " IPv6"
		}
	}
	if l.format.Stats || l.format.Rate {
		l.printf("%-33s", name)
		l.counters(e.Stats)
		return
	}
	l.printf("%s %s", name, e.Scheduler)
	if flags := flagText(&e.Service); flags != "" {
		l.printf(" (%s)", flags)
	}
	if e.Flags&genl.FlagPersistent != 0 {
		l.printf(" persistent %d", e.Timeout)
		if mask := maskOf(&e.Service); mask != "" {
			l.printf(" mask %s", mask)
		}
		if e.Engine != "" {
			l.printf(" pe %s", e.Engine)
		}
	}
	if e.Flags&genl.FlagOnePacket != 0 {
		l.printf(" ops")
	}
	l.printf("\n")
}

// server writes the line of a real server of e.
func (l *listing) server(e *entry, d *genl.Destination) {
	l.printf("  -> %-28s", l.column(d.Address.Is4(), l.serverEndpoint(e, d)))
	switch f := l.format; {
	case f.Stats, f.Rate:
		l.counters(d.Stats)
	case f.Thresholds:
		l.printf(" %-10d %-10d %-10d %-10d\n", d.Upper, d.Lower, d.Active, d.Inactive)
	case f.Persistent:
		l.printf(" %-9d %-11d %-10d %-10d\n", uint32(d.Weight), d.Persistent, d.Active, d.Inactive)
	case f.Tunnel:
		l.printf(" %-7s %-13s %-6d %-10d %-10d\n", methodText(d.Method), tunnelText(d), d.Weight, d.Active, d.Inactive)
	default:
		l.printf(" %-7s %-6d %-10d %-10d\n", methodText(d.Method), d.Weight, d.Active, d.Inactive)
	}
}

// counters ends a line with statistics or rates.
func (l *listing) counters(s genl.Stats) {
	five := [...]uint64{s.Connections, s.InPackets, s.OutPackets, s.InBytes, s.OutBytes}
	if !l.format.Stats {
		five = [...]uint64{s.CPS, s.InPPS, s.OutPPS, s.InBPS, s.OutBPS}
	}
	for _, n := range five {
		l.printf("%s", large(n, l.format.Exact))
	}
	l.printf("\n")
}

// large writes a counter nine wide: whole, or in thousands, millions and so on
// where it would not fit.
func large(n uint64, exact bool) string {
	switch {
	case exact || n < 1e8:
		return fmt.Sprintf(" %8d", n)
	case n < 1e9:
		return fmt.Sprintf("%8dK", n/1e3)
	case n < 1e11:
		return fmt.Sprintf("%8dM", n/1e6)
	case n < 1e14:
		return fmt.Sprintf("%8dG", n/1e9)
	}
	return fmt.Sprintf("%8dT", n/1e12)
}

// endpoint returns the address and port of a service as names or numbers.
func (l *listing) endpoint(id genl.ServiceID) string {
	if id.FWMark != 0 {
		return ""
	}
	if l.format.Numeric {
		return endpoint(id.Address, id.Port)
	}
	s := bracketed(id.Address, l.names.hostText(l.ctx, id.Address)) + ":" + l.names.Ports.text(id.Port, protocolName(id.Protocol))
	return s[:min(len(s), widest)]
}

func (l *listing) serverEndpoint(e *entry, d *genl.Destination) string {
	return l.endpoint(genl.ServiceID{Protocol: e.Protocol, Address: d.Address, Port: d.Port})
}

// column cuts the name of an IPv4 address.
func (l *listing) column(four bool, s string) string {
	if four {
		return s[:min(len(s), column)]
	}
	return s
}

// flagText names the scheduler flags of a service.
func flagText(s *genl.Service) string {
	var names []string
	for _, bit := range []uint32{genl.FlagSched1, genl.FlagSched2, genl.FlagSched3} {
		if s.Flags&bit == 0 {
			continue
		}
		var name string
		for _, f := range schedulerFlags {
			if f.bit == bit && (f.scheduler == "" || f.scheduler == s.Scheduler) {
				name = f.name // the scheduler's own, which comes later, before the common one
			}
		}
		names = append(names, name)
	}
	return strings.Join(names, ",")
}

// maskOf returns the mask of a persistent service unless it is the usual one.
func maskOf(s *genl.Service) string {
	switch {
	case s.Family == ipv4 && s.Netmask != anyIPv4:
		return maskText(s.Netmask)
	case s.Family != ipv4 && s.Netmask != allIP6:
		return strconv.Itoa(int(s.Netmask))
	}
	return ""
}

func methodText(m uint32) string {
	switch m {
	case genl.Masquerade:
		return "Masq"
	case genl.LocalNode:
		return "Local"
	case genl.Tunnelled:
		return "Tunnel"
	case genl.DirectRoute:
		return "Route"
	}
	return "Unknown"
}

// tunnelText describes a tunnel: "ipip", "gue:6080:+c".
func tunnelText(d *genl.Destination) string {
	if d.Method != genl.Tunnelled {
		return "n/a"
	}
	sum := "-c"
	switch director.TunnelChecksum(d.TunnelFlag) {
	case director.Checksum:
		sum = "+c"
	case director.RemoteChecksum:
		sum = "r+c"
	}
	switch director.Encapsulation(d.TunnelType) {
	case director.GUE:
		return fmt.Sprintf("gue:%d:%s", d.TunnelPort, sum)
	case director.GRE:
		return "gre:" + sum
	}
	return "ipip"
}
