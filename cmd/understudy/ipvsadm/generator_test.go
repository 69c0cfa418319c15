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
			steps = append(steps, g.verb("-A", "--add-service", s)+g.serviceOptions(s))
		case n < 4:
			steps = append(steps, g.verb("-E", "--edit-service", s)+g.serviceOptions(s))
		case n < 14:
			server := g.server(s)
			steps = append(steps, g.verb("-a", "--add-server", s)+server+g.serverOptions(s, server))
		case n < 16:
			server := g.server(s)
			steps = append(steps, g.verb("-e", "--edit-server", s)+server+g.serverOptions(s, server))
		case n < 17:
			steps = append(steps, g.verb("-d", "--delete-server", s)+g.server(s))
		case n < 18:
			steps = append(steps, g.verb("-D", "--delete-service", s))
		case n < 19:
			steps = append(steps, pick(g, "-Z", "--zero", g.verb("-Z", "--zero", s)))
		case g.IntN(6) == 0:
			steps = append(steps, pick(g, "-C", "--clear"))
		}
	}
	return steps
}

// verb returns a command for a service, perhaps with two letters behind one dash.
func (g generator) verb(short, long, service string) string {
	if letter, ok := strings.CutPrefix(service, "-"); ok && letter[0] != '-' && g.IntN(3) == 0 {
		return short + letter
	}
	return pick(g, short, short, long) + " " + service
}

// service returns the options that name one.
func (g generator) service() string {
	address := pick(g, "192.0.2.1:80", "192.0.2.1:443", "10.1.1.1:53", "200.1.1.1:80", "127.0.0.1:53", "localhost:80",
		"[2001:db8::1]:80", "[2001:db8::1]:443", "[fd00::1]:53", "[9000::1]:53")
	named := strings.NewReplacer(":80", ":http", ":443", ":https", ":53", ":domain").Replace(address)
	switch g.IntN(6) {
	case 0:
		// Of these, only the name of 53 is one of UDP everywhere.
		if strings.HasSuffix(address, ":53") {
			address = pick(g, address, named)
		}
		return pick(g, "-u ", "-u", "--udp-service ", "--udp-service=") + address
	case 1:
		return pick(g, "--sctp-service ", "--sctp-service=") + address
	case 2:
		return fmt.Sprint(pick(g, "-f ", "-f", "--fwmark-service ", "--fwmark-service="), 1+g.IntN(5), g.maybe(2, pick(g, "-6", "--ipv6")))
	}
	return pick(g, "-t ", "-t ", "-t", "-t=", "--tcp-service ", "--tcp-service=") + pick(g, address, named)
}

// udp, marked and six report what a service is.
func udp(service string) bool {
	return strings.HasPrefix(service, "-u") || strings.HasPrefix(service, "--udp")
}

func marked(service string) bool {
	return strings.HasPrefix(service, "-f") || strings.HasPrefix(service, "--fwmark")
}

func six(service string) bool {
	return strings.Contains(service, "[") || strings.HasSuffix(service, "6") && marked(service)
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
	if udp(service) || marked(service) {
		s += g.maybe(4, pick(g, "-o", "--ops"))
	}
	return s + g.maybe(8, "--pe sip") + g.maybe(20, "--sort")
}

// server returns the options that name one.
func (g generator) server(service string) string {
	address := pick(g, "10.0.0.1", "10.0.0.2:8080", "200.0.0.3", "127.0.0.1:80", "130.0.0.4:8080", "localhost:81", "10.0.0.5:domain")
	if strings.HasPrefix(service, "--sctp") {
		address = strings.Replace(address, "domain", "53", 1)
	}
	if six(service) {
		address = pick(g, "[2001:db8::101]:80", "[2001:db8::102]:8080", "2001:db8::103", "[fd00::104]:0", "9000::5")
	}
	if g.IntN(8) == 0 { // perhaps across families, which serverOptions sees to
		address = pick(g, "10.0.0.1", "200.0.0.3:81", "2001:db8::103", "[9000::5]:81", "[a00:1::]:80")
	}
	return pick(g, " -r ", " --real-server ", " --real-server=", " -r") + address
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
	return s + g.maybe(2, pick(g, "-w 0", "-w 5", "-w=7", "--weight 2147483647", "--weight=9", "-w65536")) +
		g.maybe(4, pick(g, "-x 100", "-x 100 -y 50", "-y0", "--u-threshold 65536", "--l-threshold=3 --u-threshold=5", "-x 3 -y 4"))
}
