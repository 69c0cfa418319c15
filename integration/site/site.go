package site

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/understudy-ha/understudy/configs"
	"github.com/understudy-ha/understudy/integration/lab"
)

// The addresses of every site.
const (
	VIP       = "10.51.0.100"
	VIP6      = "fd51::100"    // of a site with IPv6, which also has
	LinkVIP   = "fe80::51:100" // as the first address that is advertised (RFC 9568 section 5.2.9)
	ClientIP  = "10.51.0.10"
	InsideVIP = "10.53.0.1" // the servers' gateway with NAT
	EchoPort  = 7           // UDP, one packet at a time scheduled, for probing
)

// Options say how a site differs from the usual one.
type Options struct {
	Forward     string        // "dr" (default), "nat", "tun"
	Interval    time.Duration // of advertisements; default 1 s
	Version     int           // of VRRP; default 3
	Scheduler   string        // default "rr"
	Persistence time.Duration
	Weights     []int  // of the servers; default 1 each
	Check       string // TOML of [service.check]; default: HTTP every 200 ms, rise 2, fall 2
	Garp        string // TOML of [vrrp.garp]
	Servers     int    // default 3
	Director    string // TOML put into [director]
	Service     string // TOML put into both services
	Extra       string // TOML put at the end of the files of both directors
	// KeepalivedExtra is put at the end of a keepalived's file, KeepalivedRouter into
	// its vrrp_instance.
	KeepalivedExtra, KeepalivedRouter string
	NoServices                        bool // virtual routers only; the directors answer probes themselves
	Addresses                         []string
	IPv6                              bool      // the virtual router is one for IPv6; with NoServices
	Unicast                           bool      // advertisements go to the other director's address, not to the group
	VirtualMAC                        bool      // the virtual router has the MAC address of the RFC
	Password                          string    // of version 2's simple authentication
	Router                            string    // TOML put into [[vrrp]]
	Files                             [2]string // configuration files to use instead of written ones, with Interval said
}

// Site is a pair of directors and what is around it.
type Site struct {
	Lab     *lab.Lab
	Options Options
	LAN     *lab.Switch
	Client  *lab.Node
	// ClientPort is the client's cable to the LAN.
	ClientPort  *lab.Port
	LB          [2]*Director // the first has the higher priority
	Servers     []*lab.Node
	ServerPorts []*lab.Port
	Services    []*lab.Server // what runs on Servers

	tb lab.TB
}

// DefaultCheck is the usual [service.check].
const DefaultCheck = `type = "http"
path = "/healthz"
interval = "200ms"
timeout = "200ms"
rise = 2
fall = 2
`

// New builds a site without starting a daemon.
func New(tb lab.TB, o Options) *Site {
	tb.Helper()
	if o.Forward == "" {
		o.Forward = "dr"
	}
	if o.Interval == 0 {
		o.Interval = time.Second
	}
	if o.Version == 0 {
		o.Version = 3
	}
	if o.Scheduler == "" {
		o.Scheduler = "rr"
	}
	if o.Check == "" {
		o.Check = DefaultCheck
	}
	if o.Servers == 0 {
		o.Servers = 3
	}
	switch {
	case len(o.Addresses) > 0:
	case o.IPv6:
		o.Addresses = []string{LinkVIP + "/64", VIP6 + "/64"}
	default:
		o.Addresses = []string{VIP + "/24"}
	}
	s := &Site{Lab: lab.New(tb), Options: o, tb: tb}
	tb.Cleanup(s.showLogs)
	s.LAN = s.Lab.Switch("lan")
	s.Client = s.Lab.Node("client")
	s.ClientPort = s.connect(s.Client, 10)
	for i := range s.LB {
		n := s.Lab.Node(fmt.Sprintf("lb%d", i+1))
		d := &Director{Node: n, site: s, tb: tb}
		d.Port = s.connect(n, 11+i)
		d.socket = s.Lab.Dir() + "/" + n.Name + ".sock"
		s.LB[i] = d
	}
	if o.NoServices {
		for _, d := range s.LB {
			d.Node.Serve(nil, []string{s.Echo().String()})
		}
	} else {
		s.addServers()
	}
	for i, d := range s.LB {
		if o.Files[i] == "" {
			d.Write(s.Config(i))
			continue
		}
		c, err := configs.Load(o.Files[i])
		if err != nil {
			tb.Fatalf("load %s: %v", o.Files[i], err)
		}
		d.File, d.socket = o.Files[i], c.Socket
	}
	return s
}

// connect connects a node to the LAN, with the addresses that it has there.
func (s *Site) connect(n *lab.Node, host int) *lab.Port {
	prefixes := []string{fmt.Sprintf("10.51.0.%d/24", host)}
	if s.Options.IPv6 {
		prefixes = append(prefixes, fmt.Sprintf("fd51::%d/64", host))
		n.Sysctl("net.ipv6.conf.default.accept_ra", "0")
		// The lab's own addresses are usable at once. Those that the daemons add
		// later meet the kernel as it is by default.
		n.Sysctl("net.ipv6.conf.default.accept_dad", "0")
	}
	p := s.LAN.Connect(n, "eth0", prefixes...)
	if s.Options.IPv6 {
		Eventually(s.tb, 5*time.Second, "the link-local address of "+n.Name, func() bool { return p.LinkLocal().IsValid() })
		n.Sysctl("net.ipv6.conf.default.accept_dad", "1")
		n.Sysctl("net.ipv6.conf.eth0.accept_dad", "1")
	}
	return p
}

func (s *Site) addServers() {
	vip := netip.MustParseAddr(VIP)
	var link *lab.Switch
	var network string
	switch s.Options.Forward {
	case "dr":
		link, network = s.LAN, "10.51.0"
	case "nat":
		link, network = s.Lab.Switch("inside"), "10.53.0"
		for i, d := range s.LB {
			d.Inside = link.Connect(d.Node, "eth1", fmt.Sprintf("10.53.0.%d/24", 11+i))
			d.Node.Sysctl("net.ipv4.ip_forward", "1")
		}
	case "tun":
		link, network = s.Lab.Switch("far"), "10.52.0"
		router := s.Lab.Node("router")
		s.LAN.Connect(router, "eth0", "10.51.0.1/24")
		link.Connect(router, "eth1", "10.52.0.1/24")
		router.Sysctl("net.ipv4.ip_forward", "1")
		for _, d := range s.LB {
			d.Node.Route("10.52.0.0/24", "10.51.0.1")
		}
	}
	for i := range s.Options.Servers {
		n := s.Lab.Node(fmt.Sprintf("rs%d", i+1))
		own := fmt.Sprintf("%s.%d", network, 21+i)
		s.ServerPorts = append(s.ServerPorts, link.Connect(n, "eth0", own+"/24"))
		tcp, udp := []string{VIP + ":80", own + ":80"}, []string{fmt.Sprintf("%s:%d", VIP, EchoPort)}
		switch s.Options.Forward {
		case "dr":
			n.HoldVIP(vip)
		case "nat":
			n.Route("default", InsideVIP)
			tcp, udp = []string{own + ":8080"}, []string{fmt.Sprintf("%s:%d", own, EchoPort)}
		case "tun":
			n.Route("default", "10.52.0.1")
			n.Decapsulate(vip)
		}
		s.Servers = append(s.Servers, n)
		s.Services = append(s.Services, n.Serve(tcp, udp))
	}
}

// ServerIP returns the address of a real server, counted from 0.
func (s *Site) ServerIP(i int) string {
	network := map[string]string{"dr": "10.51.0", "nat": "10.53.0", "tun": "10.52.0"}[s.Options.Forward]
	return fmt.Sprintf("%s.%d", network, 21+i)
}

// ServerPort returns the TCP port that the real servers listen on.
func (s *Site) ServerPort() int {
	if s.Options.Forward == "nat" {
		return 8080
	}
	return 80
}

// URL is the page behind the VIP.
func (s *Site) URL() string { return "http://" + VIP + "/" }

// Echo is the UDP echo behind the VIP.
func (s *Site) Echo() netip.AddrPort { return netip.AddrPortFrom(s.VIP(), EchoPort) }

// VIP is the address that clients use.
func (s *Site) VIP() netip.Addr {
	if s.Options.IPv6 {
		return netip.MustParseAddr(VIP6)
	}
	return netip.MustParseAddr(VIP)
}

// MasterDown returns the RFC's master-down interval of the second director.
func (s *Site) MasterDown() time.Duration {
	if s.Options.Version == 2 {
		return 3*s.Options.Interval + time.Duration(256-priorities[1])*time.Second/256
	}
	return 3*s.Options.Interval + time.Duration(256-priorities[1])*s.Options.Interval/256
}

var priorities = [2]int{150, 100}

// Priority returns the priority of a director, counted from 0.
func (s *Site) Priority(i int) int { return priorities[i] }

// directorIP is the own address of a director, counted from 0.
func directorIP(i int) string { return fmt.Sprintf("10.51.0.%d", 11+i) }

// Config returns the configuration file of a director, counted from 0.
func (s *Site) Config(i int) string {
	o := s.Options
	var b strings.Builder
	fmt.Fprintf(&b, "[director]\nrouter_id = %q\nstate = %q\n%s[director.log]\nlevel = \"debug\"\n[director.api]\nsocket = %q\n",
		s.LB[i].Node.Name, s.Lab.Dir()+"/"+s.LB[i].Node.Name+".state", o.Director, s.LB[i].socket)
	router := func(name, link string, vrid int, addresses []string) {
		fmt.Fprintf(&b, "\n[[vrrp]]\nname = %q\ninterface = %q\nvrid = %d\npriority = %d\nversion = %d\nadvert_interval = %q\naddresses = [\"%s\"]\n",
			name, link, vrid, priorities[i], o.Version, o.Interval, strings.Join(addresses, `", "`))
		if o.VirtualMAC {
			b.WriteString("virtual_mac = true\n")
		}
		if o.Unicast {
			fmt.Fprintf(&b, "unicast_peers = [%q]\n", directorIP(1-i))
		}
		if o.Password != "" {
			fmt.Fprintf(&b, "auth = { type = \"pass\", password = %q }\n", o.Password)
		}
		b.WriteString(o.Router)
		if o.Garp != "" {
			fmt.Fprintf(&b, "[vrrp.garp]\n%s\n", o.Garp)
		}
	}
	router("web", "eth0", 51, o.Addresses)
	if o.Forward == "nat" {
		router("inside", "eth1", 52, []string{InsideVIP + "/24"})
		b.WriteString("\n[[group]]\nname = \"both\"\nvrrp = [\"web\", \"inside\"]\n")
	}
	if !o.NoServices {
		s.service(&b, "web", "tcp", 80, s.ServerPort(), "")
		// Probes need no connection of their own: with direct routing and
		// tunnels each packet is scheduled by itself.
		extra := "one_packet = true\n"
		if o.Forward == "nat" {
			extra = ""
		}
		s.service(&b, "echo", "udp", EchoPort, EchoPort, extra)
	}
	b.WriteString("\n" + o.Extra)
	return b.String()
}

func (s *Site) service(b *strings.Builder, name, protocol string, port, serverPort int, extra string) {
	o := s.Options
	fmt.Fprintf(b, "\n[[service]]\nname = %q\naddress = \"%s:%d\"\nprotocol = %q\nscheduler = %q\nforward = %q\n%s",
		name, VIP, port, protocol, o.Scheduler, o.Forward, extra+o.Service)
	if o.Persistence > 0 && protocol == "tcp" {
		fmt.Fprintf(b, "persistence = %q\n", o.Persistence)
	}
	fmt.Fprintf(b, "[service.check]\n%s", o.Check)
	if serverPort != s.ServerPort() { // the echo is judged by the page beside it
		fmt.Fprintf(b, "port = %d\n", s.ServerPort())
	}
	for k := range s.Servers {
		weight := 1
		if k < len(o.Weights) {
			weight = o.Weights[k]
		}
		fmt.Fprintf(b, "[[service.server]]\naddress = \"%s:%d\"\nweight = %d\n", s.ServerIP(k), serverPort, weight)
	}
}
