package integration

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/site"
)

// The addresses that the ways need beside those of a site. A real server outside
// is reached directly and through tunnels, one inside by masquerading.
const (
	clientIP6   = "2001:db8:51::10"
	directorIP6 = "2001:db8:51::11"
	vip6        = "2001:db8:51::100"
	outsideIP   = "10.51.0.31"
	checkedIP   = "10.51.0.32" // the same one, where GRE has to have a checksum
	outsideIP6  = "2001:db8:51::31"
	insideIP    = "10.53.0.31"
	insideIP6   = "2001:db8:53::31"
	markedVIP   = "10.54.0.100" // what comes to it has a firewall mark
	mark        = 7
)

// way is a service, and how requests get to its server.
type way struct {
	name    string
	vip     string // host of the URL
	service string // TOML: address, scheduler and the like
	server  string // TOML: its address and the like, without the port
	inside  bool   // the server is the one inside
	client  string // as the server sees it
}

// ways are services of every kind. The port of each is 8000 and its number.
var ways = []way{
	{name: "direct", vip: site.VIP, service: `forward = "dr"`, server: outsideIP, client: site.ClientIP},
	{name: "direct, IPv6", vip: vip6, service: `forward = "dr"`, server: outsideIP6, client: clientIP6},
	{name: "masqueraded", vip: site.VIP, service: `forward = "nat"`, server: insideIP, inside: true, client: site.ClientIP},
	{name: "masqueraded, IPv6", vip: vip6, service: `forward = "nat"`, server: insideIP6, inside: true, client: clientIP6},
	{name: "masqueraded, by mark", vip: markedVIP, service: fmt.Sprintf("fwmark = %d\nforward = \"nat\"", mark), server: insideIP, inside: true, client: "10.54.0.10"},
	{name: "IPIP", vip: site.VIP, service: `forward = "tun"`, server: outsideIP, client: site.ClientIP},
	{name: "IPv6 in IPv6", vip: vip6, service: `forward = "tun"`, server: outsideIP6, client: clientIP6},
	{name: "IPv4 in IPv6", vip: site.VIP, service: `forward = "tun"`, server: outsideIP6, client: site.ClientIP},
	{name: "IPv6 in IPv4", vip: vip6, service: `forward = "tun"`, server: outsideIP, client: clientIP6},
	{name: "GUE", vip: site.VIP, service: tunnelled(`type = "gue"`), server: outsideIP, client: site.ClientIP},
	{name: "GUE on another port", vip: site.VIP, service: tunnelled(`type = "gue", port = 7000`), server: outsideIP, client: site.ClientIP},
	{name: "GUE with a checksum", vip: site.VIP, service: tunnelled(`type = "gue", checksum = "checksum"`), server: outsideIP, client: site.ClientIP},
	{name: "GRE", vip: site.VIP, service: tunnelled(`type = "gre"`), server: outsideIP, client: site.ClientIP},
	{name: "GRE with a checksum", vip: site.VIP, service: tunnelled(`type = "gre", checksum = "checksum"`), server: checkedIP, client: site.ClientIP},
	{name: "local", vip: site.VIP, service: `forward = "local"`, server: "10.51.0.11", client: site.ClientIP},
	{name: "local, IPv6", vip: vip6, service: `forward = "local"`, server: directorIP6, client: clientIP6},
	{name: "sh with the port", vip: vip6, service: "forward = \"dr\"\nscheduler = \"sh\"\nscheduler_flags = [\"sh-port\", \"sh-fallback\"]", server: outsideIP6, client: clientIP6},
	{name: "mh, persistent", vip: vip6, service: "forward = \"nat\"\nscheduler = \"mh\"\npersistence = \"1m\"\npersistence_mask = 64", server: insideIP6, inside: true, client: clientIP6},
}

// tunnelled is a service whose server has a tunnel.
func tunnelled(tunnel string) string { return "forward = \"tun\"\n#tunnel = { " + tunnel + " }" }

func (w way) port(i int) int { return 8000 + i }

// toml returns the service, number i.
func (w way) toml(i int) string {
	service, tunnel, _ := strings.Cut(w.service, "#")
	address := fmt.Sprintf("address = %q\n", join(w.vip, w.port(i)))
	if strings.Contains(service, "fwmark") {
		address = ""
	}
	return fmt.Sprintf("[[service]]\nname = %q\n%s%s\n[service.check]\ntype = \"tcp\"\ninterval = \"500ms\"\ntimeout = \"500ms\"\n"+
		"[[service.server]]\naddress = %q\n%s\n", w.name, address, service, join(w.server, w.port(i)), tunnel)
}

// join puts an address and a port together.
func join(addr string, port int) string {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), uint16(port)).String()
}

// TestEveryWay asks a page through a service of every kind, and SCTP.
func TestEveryWay(t *testing.T) {
	var extra strings.Builder
	for i, w := range ways {
		extra.WriteString(w.toml(i))
	}
	const sctpPort = 9000
	fmt.Fprintf(&extra, "[[service]]\nname = \"sctp\"\naddress = %q\nprotocol = \"sctp\"\nforward = \"nat\"\n[[service.server]]\naddress = %q\n",
		join(site.VIP, sctpPort), join(insideIP, sctpPort))

	needModules(t, "fou", "sctp", "sch_ingress", "cls_matchall", "act_skbedit")
	// These have interfaces in every namespace, in the way of other tests.
	tunnels := []string{"sit", "ip6_tunnel", "ip_gre"}
	needModules(t, tunnels...)
	t.Cleanup(func() {
		for _, name := range tunnels {
			_ = exec.Command("modprobe", "-r", name).Run() // another may use it
		}
	})
	s := site.New(t, site.Options{Interval: 100 * time.Millisecond, NoServices: true, Extra: extra.String()})
	d := s.LB[0]
	s.Client.Address("eth0", clientIP6+"/64")
	d.Node.Address("eth0", directorIP6+"/64")
	d.Node.Shared("eth0", vip6+"/64")
	outside := s.Lab.Node("outside")
	s.LAN.Connect(outside, "eth0", outsideIP+"/24", checkedIP+"/24", outsideIP6+"/64")
	outside.HoldVIP(netip.MustParseAddr(site.VIP))
	outside.Shared("lo", vip6+"/128")
	for _, ifname := range []string{"tunl0", "sit0", "gre0"} {
		outside.Unwrap(ifname)
	}
	outside.UnwrapFrom(netip.MustParseAddr(directorIP6), netip.MustParseAddr(outsideIP6))
	outside.UnwrapChecked(netip.MustParseAddr(checkedIP))
	outside.UnwrapGUE(6080)
	outside.UnwrapGUE(7000)

	link := s.Lab.Switch("inside")
	link.Connect(d.Node, "eth1", "10.53.0.11/24", "2001:db8:53::11/64")
	d.Node.Sysctl("net.ipv4.ip_forward", "1")
	d.Node.Sysctl("net.ipv6.conf.all.forwarding", "1")
	inside := s.Lab.Node("inside")
	link.Connect(inside, "eth0", insideIP+"/24", insideIP6+"/64")
	inside.Route("default", "10.53.0.11")
	inside.Route("::/0", "2001:db8:53::11")

	marks := s.Lab.Switch("marks")
	marks.Connect(s.Client, "eth1", "10.54.0.10/24")
	marks.Connect(d.Node, "eth2", markedVIP+"/24")
	d.Node.Mark("eth2", mark)

	for _, n := range []*lab.Node{outside, inside, d.Node} {
		var listen []string
		for i, w := range ways {
			if (n == inside) == w.inside && (n == d.Node) == strings.HasPrefix(w.name, "local") {
				listen = append(listen, fmt.Sprintf("[::]:%d", w.port(i)))
			}
		}
		n.Serve(listen, nil)
	}
	echoSCTP(t, inside, netip.MustParseAddrPort(join(insideIP, sctpPort)))

	d.Start()
	site.Eventually(t, 30*time.Second, "a full table and a master", func() bool {
		return d.State() == "master" && d.Destinations() == len(ways)+1
	})
	for i, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			a, err := s.Client.Get("http://"+join(w.vip, w.port(i))+"/", 5*time.Second)
			if err != nil {
				t.Fatalf("%v\n%s", err, d.Table())
			}
			server := "outside"
			if w.inside {
				server = "inside"
			} else if strings.HasPrefix(w.name, "local") {
				server = d.Node.Name
			}
			if client := netip.MustParseAddr(a.Client).Unmap().String(); a.Server != server || client != w.client {
				t.Errorf("%s answered to %s, want %s to %s", a.Server, client, server, w.client)
			}
		})
	}
	t.Run("SCTP", func(t *testing.T) {
		got, err := askSCTP(s.Client, netip.MustParseAddrPort(join(site.VIP, sctpPort)), "hello")
		if err != nil || got != "hello" {
			t.Errorf("%q, %v\n%s", got, err, d.Table())
		}
	})
	if st, err := d.Status(); err != nil || st.Lanes[1].Repairs != 0 || st.Lanes[1].Error != "" {
		t.Errorf("status: %+v, %v", st.Lanes, err)
	}
	// Every request went by IPVS, those to what is local too. The kernel adds its
	// counters up every two seconds.
	want, table := fmt.Sprintf("%d services with 1 connection", len(ways)+1), ""
	if err := site.Wait(10*time.Second, want, func() bool {
		table = d.Node.MustRun("ipvsadm", "-Ln", "--stats")
		counted := 0
		for line := range strings.Lines(table) {
			if f := strings.Fields(line); len(f) > 2 && f[0] != "->" && f[2] == "1" {
				counted++
			}
		}
		return counted == len(ways)+1
	}); err != nil {
		t.Errorf("%v\n%s", err, table)
	}
}

// needModules loads modules of the kernel.
func needModules(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if out, err := exec.Command("modprobe", name).CombinedOutput(); err != nil {
			t.Fatalf("load %s: %v: %s", name, err, out)
		}
	}
}

// echoSCTP starts a server that answers one association with what it says.
func echoSCTP(t *testing.T, n *lab.Node, addr netip.AddrPort) {
	t.Helper()
	n.Must("listen for SCTP", func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
		if err != nil {
			return err
		}
		if err := errors.Join(limited(fd), unix.Bind(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}), unix.Listen(fd, 1)); err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		ended := make(chan struct{})
		t.Cleanup(func() { <-ended })
		go func() {
			defer close(ended)
			defer unix.Close(fd)
			peer, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
			if err != nil {
				return // nobody came
			}
			defer unix.Close(peer)
			b := make([]byte, 100)
			if k, err := unix.Read(peer, b); err == nil {
				_, _ = unix.Write(peer, b[:k]) // the client notices
			}
		}()
		return nil
	})
}

// askSCTP says something over an association of its own, and returns the answer.
func askSCTP(n *lab.Node, to netip.AddrPort, what string) (answer string, err error) {
	err = n.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		err = errors.Join(limited(fd), unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}))
		if err != nil {
			return err
		}
		if _, err := unix.Write(fd, []byte(what)); err != nil {
			return err
		}
		b := make([]byte, 100)
		k, err := unix.Read(fd, b)
		answer = string(b[:max(k, 0)])
		return err
	})
	return answer, err
}

// limited makes whatever waits on a socket give up after some seconds.
func limited(fd int) error {
	tv := unix.NsecToTimeval(int64(20 * time.Second))
	return errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv), unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv))
}
