package site

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/understudy-ha/understudy/integration/lab"
)

// Where Debian's frr has its daemons.
const (
	zebraPath = "/usr/lib/frr/zebra"
	vrrpdPath = "/usr/lib/frr/vrrpd"
)

// FRR is Debian's FRR on a host, as the peer of a director: vrrpd, and zebra
// between it and the kernel. It always has a virtual MAC address: its addresses
// stay on a macvlan of ours for ever, and a backup takes the carrier from that
// (protodown).
type FRR struct {
	Node *lab.Node

	site         *Site
	zebra, vrrpd *lab.Process
}

// StartFRR starts FRR in the place of the director i, with the same virtual router.
func (s *Site) StartFRR(i int) *FRR {
	s.tb.Helper()
	o := s.Options
	n := s.LB[i].Node
	// A local address is answered for on every interface unless told otherwise,
	// and a macvlan without carrier still has its local addresses.
	n.Sysctl("net.ipv4.conf.all.arp_ignore", "1")
	var hosts []string
	for _, a := range o.Addresses {
		p := netip.MustParsePrefix(a)
		hosts = append(hosts, netip.PrefixFrom(p.Addr(), p.Addr().BitLen()).String()) // without a second route to the LAN
	}
	if o.IPv6 {
		// vrrpd sends from the first link-local address that the kernel lists, which
		// is the latest: it must be this host's own.
		hosts = append(hosts[:1], append([]string{fmt.Sprintf("fe80::51:%d/64", 11+i)}, hosts[1:]...)...)
	}
	n.Macvlan("vrrp51", "eth0", s.virtualMAC(), hosts...)
	n.MustRun("ip", "link", "set", "vrrp51", "protodown", "on") // as vrrpd will have it until it is master

	dir := s.Lab.Dir() + "/" + n.Name + ".frr"
	if err := os.Mkdir(dir, 0o700); err != nil {
		s.tb.Fatalf("make directory for FRR: %v", err)
	}
	word := "ip"
	if o.IPv6 {
		word = "ipv6"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "log stdout\ninterface eth0\n vrrp 51 version %d\n vrrp 51 priority %d\n vrrp 51 advertisement-interval %d\n",
		o.Version, priorities[i], o.Interval.Milliseconds())
	for _, a := range o.Addresses {
		fmt.Fprintf(&b, " vrrp 51 %s %s\n", word, netip.MustParsePrefix(a).Addr())
	}
	f := &FRR{Node: n, site: s}
	start := func(path, config string) *lab.Process {
		name := path[strings.LastIndexByte(path, '/')+1:]
		// -P 0: no TCP port; root, in the group of vty sockets, since the files are root's.
		return n.StartFirst(n.Name+"."+name+".log", path, "-u", "root", "-g", "frrvty", "-P", "0", "-f", config,
			"-i", dir+"/"+name+".pid", "-z", dir+"/zserv", "--vty_socket", dir, "--log", "stdout")
	}
	f.zebra = start(zebraPath, s.Lab.File(n.Name+".zebra.conf", "log stdout\n"))
	Eventually(s.tb, 5*time.Second, "zebra's socket", func() bool {
		_, err := os.Stat(dir + "/zserv")
		return err == nil
	})
	f.vrrpd = start(vrrpdPath, s.Lab.File(n.Name+".vrrpd.conf", b.String()))
	return f
}

// Stop stops vrrpd cleanly, then zebra.
func (f *FRR) Stop() error {
	f.vrrpd.Signal(syscall.SIGTERM)
	select {
	case <-f.vrrpd.Done():
	case <-time.After(10 * time.Second):
		f.vrrpd.Kill()
		return fmt.Errorf("vrrpd on %s does not stop", f.Node.Name)
	}
	// What vrrpd has asked for last, zebra may still have to do.
	err := Wait(5*time.Second, "zebra to take the addresses away", func() bool { return !f.Node.Has(f.site.VIP()) })
	f.zebra.Kill()
	return err
}

// Pid returns vrrpd's process number.
func (f *FRR) Pid() int { return f.vrrpd.Pid() }

// Log returns what vrrpd and zebra have printed.
func (f *FRR) Log() string {
	return f.site.Lab.Log(f.Node.Name+".vrrpd.log") + f.site.Lab.Log(f.Node.Name+".zebra.log")
}

// Complaints returns what FRR has printed that is neither news nor known to be
// harmless.
func (f *FRR) Complaints() []string { return complaints(f.Log(), frrNews) }

// frrNews is what vrrpd and zebra say of their own doings, after the date.
var frrNews = remarks(
	`(starting: vty@|zclient socket initialized|says hello|Terminating on signal|Setting protodown)`, "their start, their end, and the carrier of the macvlan",
	`Disabling MPLS support`, "this kernel has none",
	`could chown socket`, "they run as root, not as frr",
	`Refusing to start Virtual Router: VRRPv2 does not support v6`, "every virtual router of version 2, with each event of an interface",
	`Received advertisement from \S+ w/ priority 150; switching to Backup`, "the better router, back again",
	`stream_read_try: read failed|Client 'vrrp' encountered an error and is shutting down|release_daemon_table_chunks|client \d+ disconnected`,
	"zebra, when vrrpd has ended",
	`Interface: |Refusing to start Virtual Router: (No|Already)`,
	"vrrpd reads its configuration before zebra has told it of the interfaces, and tries again with each that it hears of",
	`'(Startup|Shutdown)' event|Initialize -> Backup|Backup -> Master|Master -> (Backup|Initialize)|Master_Down_Timer expired`,
	"the election, which the test judges itself",
	`Failed to find address to bind on vrrp51`, "the macvlan has just got its carrier; it announces once the address may be used",
)
