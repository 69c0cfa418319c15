package site

import (
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/understudy-ha/understudy/integration/lab"
)

// Keepalived is Debian's keepalived on a host, as the peer of a director.
type Keepalived struct {
	Node *lab.Node

	site *Site
	proc *lab.Process
}

// StartKeepalived starts keepalived in the place of the director i, with the
// same virtual router, and with the same services unless the site has none.
func (s *Site) StartKeepalived(i int) *Keepalived {
	o := s.Options
	n := s.LB[i].Node
	var b strings.Builder
	fmt.Fprintf(&b, "global_defs {\n  router_id %s\n  vrrp_version %d\n}\n", n.Name, o.Version)
	fmt.Fprintf(&b, "vrrp_instance web {\n  state BACKUP\n  interface eth0\n  virtual_router_id 51\n  priority %d\n  advert_int %g\n", priorities[i], o.Interval.Seconds())
	if o.IPv6 {
		b.WriteString("  native_ipv6\n")
	}
	if o.VirtualMAC {
		b.WriteString("  use_vmac vrrp51\n")
		if o.Unicast { // else the peer would have to know that the MAC address is not for itself
			b.WriteString("  vmac_xmit_base\n")
		}
	}
	if o.Unicast {
		fmt.Fprintf(&b, "  unicast_src_ip %s\n  unicast_peer {\n    %s\n  }\n", directorIP(i), directorIP(1-i))
	}
	if o.Password != "" {
		fmt.Fprintf(&b, "  authentication {\n    auth_type PASS\n    auth_pass %s\n  }\n", o.Password)
	}
	b.WriteString(o.KeepalivedRouter + "  virtual_ipaddress {\n")
	for _, a := range o.Addresses {
		fmt.Fprintf(&b, "    %s\n", a)
	}
	b.WriteString("  }\n}\n")
	if !o.NoServices {
		s.keepalivedService(&b, "TCP", 80, s.ServerPort())
		s.keepalivedService(&b, "UDP", EchoPort, EchoPort)
	}
	b.WriteString(o.KeepalivedExtra)
	file := s.Lab.File(n.Name+".conf", b.String())
	k := &Keepalived{Node: n, site: s}
	pid := s.Lab.Dir() + "/" + n.Name
	k.proc = n.StartFirst(n.Name+".keepalived.log", "keepalived", "--dont-fork", "--no-syslog", "--log-console", "--log-detail",
		"--use-file", file, "--pid", pid+".pid", "--vrrp_pid", pid+".vrrp", "--checkers_pid", pid+".check")
	return k
}

func (s *Site) keepalivedService(b *strings.Builder, protocol string, port, serverPort int) {
	o := s.Options
	fmt.Fprintf(b, "virtual_server %s %d {\n  delay_loop 1\n  lvs_sched %s\n  lvs_method %s\n  protocol %s\n", VIP, port, o.Scheduler, strings.ToUpper(o.Forward), protocol)
	if protocol == "UDP" && o.Forward != "nat" {
		b.WriteString("  ops\n")
	}
	for k := range s.Servers {
		fmt.Fprintf(b, "  real_server %s %d {\n    weight 1\n    TCP_CHECK {\n      connect_timeout 1\n      connect_port %d\n    }\n  }\n", s.ServerIP(k), serverPort, s.ServerPort())
	}
	b.WriteString("}\n")
}

// Stop stops keepalived cleanly and waits for its end.
func (k *Keepalived) Stop() error {
	k.proc.Signal(syscall.SIGTERM)
	select {
	case <-k.proc.Done():
		return nil
	case <-time.After(30 * time.Second):
		k.proc.Kill()
		return fmt.Errorf("keepalived on %s does not stop", k.Node.Name)
	}
}

// Pid returns keepalived's process number: its parent's.
func (k *Keepalived) Pid() int { return k.proc.Pid() }

// Log returns what keepalived has printed.
func (k *Keepalived) Log() string { return k.site.Lab.Log(k.Node.Name + ".keepalived.log") }

// Complaints returns what keepalived has printed that is neither news nor known to
// be harmless.
func (k *Keepalived) Complaints() []string { return complaints(k.Log(), keepalivedNews) }

// keepalivedNews is what keepalived says of its own doings, after the date.
var keepalivedNews = remarks(
	`: (Starting|Running on|Command line:|Opening file|Configuration file|Registering|Assigned address|VRRP sockpool:|Startup complete|Stopping|Stopped|CPU usage)`,
	"its start, its configuration and its end",
	`: {10,}'.*'$`, "more of the command line",
	`NOTICE: setting config option max_auto_priority`, "advice on scheduling, of every start",
	`\(web\) (Entering (BACKUP|MASTER|FAULT) STATE|Receive advertisement timeout|sent 0 priority|removing VIPs|setting VIPs)`,
	"the election, which the test judges itself",
	`\(web\) (Master received advert from \S+ with higher priority 150, ours 100|Backup received priority 0 advertisement)`,
	"the better router, back again, and its farewell",
	`((Sending/queueing|Sending)|web: sending) (gratuitous ARP|[Uu]nsolicited Neighbour Advert)`, "its announcements",
	`use_vmac or no_accept/strict specified, but no firewall configured - using nftables|Success (creating|removing) VMAC interface`,
	"the virtual MAC address",
	`\(web\) Master received priority 0 message`, "a farewell that waited at the cut cable for the peer's MAC address, unicast",
	`Netlink reports \S+ (up|down)`, "the cut and the return of the link",
	`\(web\) received lower priority \(100\) advert from \S+ - discarding`,
	"the better router, back again, hears the worse one until it takes over",
)
