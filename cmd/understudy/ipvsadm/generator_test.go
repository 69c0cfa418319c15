package ipvsadm_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// generator makes sequences of commands that make sense, though the kernel may
// refuse some of them: what they name exists often, but not always.
type generator struct{ *rand.Rand }

func pick[T any](g generator, list ...T) T { return list[g.IntN(len(list))] }

// maybe returns s once in n times.
func (g generator) maybe(n int, s string) string {
	if g.IntN(n) == 0 {
		return " " + s
	}
	return ""
}

func (g generator) sequence() []string {
	var services []string
	for range 2 + g.IntN(4) {
		services = append(services, g.service())
	}
	var steps []string
	for _, s := range services {
		steps = append(steps, "-A "+s+g.serviceOptions(s))
	}
	for range 6 + g.IntN(12) {
		s := pick(g, services...)
		switch n := g.IntN(20); {
		case n < 2:
			steps = append(steps, pick(g, "-A", "-A", "--add-service")+" "+s+g.serviceOptions(s))
		case n < 4:
			steps = append(steps, "-E "+s+g.serviceOptions(s))
		case n < 14:
			server := g.server(s)
			steps = append(steps, pick(g, "-a", "--add-server")+" "+s+server+g.serverOptions(s, server))
		case n < 16:
			server := g.server(s)
			steps = append(steps, "-e "+s+server+g.serverOptions(s, server))
		case n < 17:
			steps = append(steps, "-d "+s+g.server(s))
		case n < 18:
			steps = append(steps, "-D "+s)
		case n < 19:
			steps = append(steps, "-Z"+g.maybe(2, s))
		case g.IntN(6) == 0:
			steps = append(steps, "-C")
		}
	}
	return steps
}

// service returns the options that name one.
func (g generator) service() string {
	address := pick(g, "192.0.2.1:80", "192.0.2.1:443", "10.1.1.1:53", "200.1.1.1:http", "127.0.0.1:domain",
		"[2001:db8::1]:80", "[2001:db8::1]:443", "[fd00::1]:53", "[9000::1]:53")
	address = strings.NewReplacer("http", "80", "domain", "53").Replace(address)
	switch g.IntN(6) {
	case 0:
		return "-u " + address
	case 1:
		return "--sctp-service " + address
	case 2:
		return fmt.Sprintf("-f %d%s", 1+g.IntN(5), g.maybe(2, "-6"))
	case 3:
		return "--tcp-service=" + address
	}
	return "-t " + address
}

func six(service string) bool {
	return strings.Contains(service, "[") || strings.HasSuffix(service, "-6")
}

func (g generator) serviceOptions(service string) string {
	s := ""
	scheduler := pick(g, "", "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh")
	if scheduler != "" {
		s = pick(g, " -s ", " --scheduler ", " -s", " --scheduler=") + scheduler
	}
	switch scheduler {
	case "sh", "mh":
		s += g.maybe(2, "-b "+scheduler+"-port") // both at once below
		if !strings.Contains(s, "-b") {
			s += g.maybe(2, "--sched-flags "+scheduler+"-fallback,"+scheduler+"-port")
		}
	default:
		s += g.maybe(5, "-b "+pick(g, "flag-1", "flag-2,flag-3", "flag-3"))
	}
	s += g.maybe(3, pick(g, "-p", "-p 20", "-p20", "-p=600", "--persistent", "--persistent=86400", "--persistent 1"))
	if six(service) {
		s += g.maybe(4, pick(g, "-M 64", "--netmask 128", "-M 1"))
	} else {
		s += g.maybe(4, pick(g, "-M 255.255.255.0", "--netmask=255.255.255.255", "-M 0.0.0.0", "-M 255.0.255.0"))
	}
	if strings.HasPrefix(service, "-u") || strings.HasPrefix(service, "-f") {
		s += g.maybe(4, pick(g, "-o", "--ops"))
	}
	return s + g.maybe(8, "--pe sip") + g.maybe(20, "--sort")
}

// server returns the options that name one.
func (g generator) server(service string) string {
	address := pick(g, "10.0.0.1", "10.0.0.2:8080", "200.0.0.3", "127.0.0.1:80", "130.0.0.4:8080")
	if six(service) {
		address = pick(g, "[2001:db8::101]:80", "[2001:db8::102]:8080", "2001:db8::103", "[fd00::104]:0", "9000::5")
	}
	if g.IntN(8) == 0 { // perhaps across families, which serverOptions sees to
		address = pick(g, "10.0.0.1", "200.0.0.3:81", "2001:db8::103", "[9000::5]:81", "[a00:1::]:80")
	}
	return pick(g, " -r ", " --real-server ", " -r") + address
}

func (g generator) serverOptions(service, server string) string {
	s, method := "", g.IntN(6)
	if strings.Contains(server, "::") != six(service) {
		method = 3 // a tunnel is the only way to another family
	}
	switch method {
	case 0:
		s = pick(g, " -g", " --gatewaying")
	case 1, 2:
		s = pick(g, " -m", " --masquerading")
	case 3, 4:
		s = pick(g, " -i", " --ipip") + g.maybe(2, pick(g, "--tun-type ipip", "--tun-type gue --tun-port 6080",
			"--tun-type gue --tun-port 1 --tun-csum", "--tun-type gue --tun-port 65535 --tun-remcsum",
			"--tun-type gue --tun-port 9 --tun-nocsum", "--tun-type gre", "--tun-type gre --tun-csum", "--tun-type=gre --tun-nocsum"))
	}
	return s + g.maybe(2, pick(g, "-w 0", "-w 5", "--weight 2147483647", "-w65536")) +
		g.maybe(4, pick(g, "-x 100", "-x 100 -y 50", "-y 0", "--u-threshold 65536", "-x 3 -y 4"))
}
