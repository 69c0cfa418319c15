package ipvsadm

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// explain says what the kernel's refusal of a command means and what to do.
func explain(c Command, err error) error {
	if access(err) {
		return unreachable(err)
	}
	var text string
	switch c.Verb {
	case AddService, EditService, DeleteService, Zero:
		text = explainService(c, err)
	case AddServer, EditServer, DeleteServer:
		text = explainServer(c, err)
	case StartDaemon, StopDaemon:
		text = explainDaemon(c, err)
	case Clear:
		text = "clear the table"
	case SetTimeouts:
		text = "set timeouts"
	}
	return &Error{statusRefused, fmt.Errorf("%s: %w", text, err)}
}

func explainService(c Command, err error) string {
	name := "service " + serviceText(c.Service.ServiceID)
	switch {
	case c.Verb == Zero && !c.Named:
		return "zero counters"
	case errors.Is(err, unix.EEXIST):
		return name + " exists already; -E changes it"
	case errors.Is(err, unix.ESRCH):
		return name + " does not exist; -L shows those that do"
	case errors.Is(err, unix.ENOENT) && c.Service.Engine != "":
		return fmt.Sprintf("%s: the kernel has no scheduler %[2]q or no persistence engine %[3]q, and cannot load it; try modprobe ip_vs_%[2]s and modprobe ip_vs_pe_%[3]s",
			name, c.Service.Scheduler, c.Service.Engine)
	case errors.Is(err, unix.ENOENT):
		return fmt.Sprintf("%s: the kernel has no scheduler %[2]q, and cannot load it; try modprobe ip_vs_%[2]s", name, c.Service.Scheduler)
	case errors.Is(err, unix.EAFNOSUPPORT):
		return name + ": the kernel balances no IPv6"
	case errors.Is(err, unix.EINVAL):
		return name + ": the kernel does not take these options together"
	}
	return name
}

func explainServer(c Command, err error) string {
	service := serviceText(c.Service.ServiceID)
	name := fmt.Sprintf("real server %s of %s", endpoint(c.Dest.Address, c.Dest.Port), service)
	switch {
	case errors.Is(err, unix.EEXIST):
		return name + " exists already; -e changes it"
	case errors.Is(err, unix.ENOENT):
		return name + " does not exist; -L shows those that do"
	case errors.Is(err, unix.ESRCH):
		return "service " + service + " does not exist; add it first (-A)"
	case errors.Is(err, unix.ERANGE):
		return name + ": the lower threshold (-y) is above the upper one (-x)"
	case errors.Is(err, unix.EAFNOSUPPORT):
		return name + ": the kernel balances no IPv6"
	case errors.Is(err, unix.EINVAL):
		if genl.FamilyOf(c.Dest.Address) != c.Service.Family {
			return name + ": the kernel takes no server of another address family while a sync daemon runs; stop that first (--stop-daemon)"
		}
		return name + ": the kernel takes no such server; it has to be a unicast address that a route leads to (for a link-local one, none does)"
	}
	return name
}

func explainDaemon(c Command, err error) string {
	role := "backup"
	if c.Daemon.State == genl.DaemonMaster {
		role = "master"
	}
	verb := "start"
	if c.Verb == StopDaemon {
		verb = "stop"
	}
	what := fmt.Sprintf("%s sync daemon as %s", verb, role)
	switch {
	case errors.Is(err, unix.EEXIST):
		return what + ": it runs already; stop it first (--stop-daemon " + role + ")"
	case errors.Is(err, unix.ESRCH):
		return what + ": it does not run"
	case errors.Is(err, unix.ENODEV):
		return fmt.Sprintf("%s: there is no interface %q; name one with --mcast-interface", what, c.Daemon.Interface)
	case errors.Is(err, unix.EINVAL):
		return what + ": connections to a real server of another address family than its service cannot be synchronised; delete such servers first"
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Sprintf("%s: interface %s is down, or has no address of the family of the group", what, c.Daemon.Interface)
	}
	return what
}

// access reports whether err is that IPVS cannot be reached at all.
func access(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, genl.ErrMissing)
}

// unreachable explains why IPVS cannot be reached.
func unreachable(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		err = fmt.Errorf("only root may look at and change the table of IPVS (%w); use sudo", err)
	}
	return &Error{statusUsage, err}
}
