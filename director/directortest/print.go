package directortest

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/understudy-ha/understudy/director"
)

// String returns the addresses as ip addr shows them, the routes and rules, and
// the table as ipvsadm -Sn does.
func (k *Kernel) String() string {
	return FormatAddresses(k.Addresses()) + FormatRouting(k.Routing()) + FormatEntries(k.Entries())
}

// FormatRouting returns a line for each route and rule, in the order of the keys.
func FormatRouting(list map[director.RoutingKey]director.RoutingSpec) string {
	var b strings.Builder
	for _, k := range slices.SortedFunc(maps.Keys(list), director.RoutingKey.Compare) {
		fmt.Fprintf(&b, "%v (%v)\n", k, list[k])
	}
	return b.String()
}

// FormatAddresses returns the address lines of ip addr, in the order of the
// keys. Tagged ones end in "proto ours".
func FormatAddresses(list map[director.AddrKey]director.AddrSpec) string {
	var b strings.Builder
	for _, k := range slices.SortedFunc(maps.Keys(list), director.AddrKey.Compare) {
		family := "inet"
		if k.Prefix.Addr().Is6() {
			family = "inet6"
		}
		fmt.Fprintf(&b, "%s %s dev %s", family, k.Prefix, k.Link)
		if list[k].Ours {
			b.WriteString(" proto ours")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// FormatEntries returns the lines that ipvsadm 1.31 -Sn prints for the table, in
// the order of the keys, which is not always that of ipvsadm. Like ipvsadm, it
// leaves the thresholds of servers out.
func FormatEntries(list map[director.Key]director.Spec) string {
	var b strings.Builder
	for _, k := range slices.SortedFunc(maps.Keys(list), director.Key.Compare) {
		if k.IsService() {
			fmt.Fprintf(&b, "-A %s%s\n", serviceOption(k.Service), serviceOptions(k.Service, list[k].Service))
			continue
		}
		s := list[k].Server
		fmt.Fprintf(&b, "-a %s -r %s %s -w %d", serviceOption(k.Service), k.Server, forwardOption(s.Forward), s.Weight)
		b.WriteString(tunnelOptions(s))
		b.WriteByte('\n')
	}
	return b.String()
}

func serviceOption(k director.ServiceKey) string {
	switch {
	case k.FWMark != 0 && k.IPv6:
		return fmt.Sprintf("-f %d -6", k.FWMark)
	case k.FWMark != 0:
		return fmt.Sprintf("-f %d", k.FWMark)
	case k.Protocol == director.TCP:
		return "-t " + k.Address.String()
	case k.Protocol == director.UDP:
		return "-u " + k.Address.String()
	}
	return "--sctp-service " + k.Address.String()
}

func serviceOptions(k director.ServiceKey, s director.ServiceSpec) string {
	var b strings.Builder
	b.WriteString(" -s " + s.Scheduler)
	var flags []string
	for i, name := range []string{"fallback", "port", ""} {
		hashes := s.Scheduler == "sh" || s.Scheduler == "mh"
		switch {
		case s.Flags&(director.FlagSched1<<i) == 0:
		case !hashes:
			flags = append(flags, fmt.Sprintf("flag-%d", i+1))
		case name != "":
			flags = append(flags, s.Scheduler+"-"+name)
		}
	}
	if s.Persistence > 0 {
		fmt.Fprintf(&b, " -p %d", s.Persistence/time.Second)
		if k.Is6() {
			if s.Mask != 128 {
				fmt.Fprintf(&b, " -M %d", s.Mask)
			}
		} else if s.Mask != 32 {
			b.WriteString(" -M " + net.IP(net.CIDRMask(int(s.Mask), 32)).String())
		}
	}
	if s.Engine != "" {
		b.WriteString(" --pe " + s.Engine)
	}
	if s.Flags&director.FlagOnePacket != 0 {
		b.WriteString(" -o")
	}
	if s.Flags&(director.FlagSched1|director.FlagSched2|director.FlagSched3) != 0 {
		b.WriteString(" -b " + strings.Join(flags, ","))
	}
	return b.String()
}

func tunnelOptions(s director.ServerSpec) string {
	if s.Forward != director.TUN {
		return ""
	}
	checksum := " " + map[director.TunnelChecksum]string{
		director.NoChecksum: "--tun-nocsum", director.Checksum: "--tun-csum", director.RemoteChecksum: "--tun-remcsum",
	}[s.Tunnel.Checksum]
	switch s.Tunnel.Type {
	case director.GUE:
		return fmt.Sprintf(" --tun-type gue --tun-port %d", s.Tunnel.Port) + checksum
	case director.GRE:
		return " --tun-type gre" + checksum
	}
	return " --tun-type ipip"
}

func forwardOption(f director.Forward) string {
	switch f {
	case director.NAT:
		return "-m"
	case director.TUN:
		return "-i"
	case director.DR, director.Local: // which ipvsadm does not tell apart here
		return "-g"
	}
	return "-?"
}
