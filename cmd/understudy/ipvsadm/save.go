package ipvsadm

import (
	"fmt"
	"strings"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// rules writes all entries so that ReadRules understands them.
func (l *listing) rules(entries []entry) {
	mergeSort(entries, compareServices)
	for i := range entries {
		e := &entries[i]
		l.printf("-A %s -s %s%s\n", l.serviceOptions(e.ServiceID), e.Scheduler, serviceRule(&e.Service))
		mergeSort(e.servers, compareServers)
		for j := range e.servers {
			d := &e.servers[j]
			l.printf("-a %s -r %s %s -w %d%s\n", l.serviceOptions(e.ServiceID), l.serverEndpoint(e, d),
				methodOption(d.Method), d.Weight, tunnelRule(d))
		}
	}
}

// serviceOptions names a service: "-t 192.0.2.1:80".
func (l *listing) serviceOptions(id genl.ServiceID) string {
	if id.FWMark != 0 {
		s := fmt.Sprintf("-f %d", id.FWMark)
		if id.Family != ipv4 {
			s += " -6"
		}
		return s
	}
	return map[string]string{"tcp": "-t ", "udp": "-u ", "sctp": "--sctp-service "}[protocolName(id.Protocol)] + l.endpoint(id)
}

// serviceRule returns the options of a service that follow the scheduler.
func serviceRule(s *genl.Service) string {
	var b strings.Builder
	if s.Flags&genl.FlagPersistent != 0 {
		fmt.Fprintf(&b, " -p %d", s.Timeout)
		if mask := maskOf(s); mask != "" {
			fmt.Fprintf(&b, " -M %s", mask)
		}
	}
	if s.Engine != "" {
		fmt.Fprintf(&b, " --pe %s", s.Engine)
	}
	if s.Flags&genl.FlagOnePacket != 0 {
		b.WriteString(" -o")
	}
	if flags := flagText(s); flags != "" {
		fmt.Fprintf(&b, " -b %s", flags)
	}
	return b.String()
}

func methodOption(m uint32) string {
	switch m {
	case genl.Masquerade:
		return "-m"
	case genl.Tunnelled:
		return "-i"
	}
	return "-g"
}

// tunnelRule returns the options of a tunnel.
func tunnelRule(d *genl.Destination) string {
	if d.Method != genl.Tunnelled {
		return ""
	}
	sum := "--tun-nocsum"
	switch director.TunnelChecksum(d.TunnelFlag) {
	case director.Checksum:
		sum = "--tun-csum"
	case director.RemoteChecksum:
		sum = "--tun-remcsum"
	}
	switch director.Encapsulation(d.TunnelType) {
	case director.GUE:
		return fmt.Sprintf(" --tun-type gue --tun-port %d %s", d.TunnelPort, sum)
	case director.GRE:
		return " --tun-type gre " + sum
	}
	return " --tun-type ipip"
}
