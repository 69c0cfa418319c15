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
	fmt.Fprintf(&b, "vrrp_instance web {\n  state BACKUP\n  interface eth0\n  virtual_router_id 51\n  priority %d\n  advert_int %g\n  virtual_ipaddress {\n", priorities[i], o.Interval.Seconds())
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
