package lab

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// TB is the part of testing.TB that a Lab needs. Fatalf does not return.
type TB interface {
	Helper()
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(f func())
}

// Lab is a network of nodes and switches.
type Lab struct {
	tb  TB
	dir string

	mu    sync.Mutex
	links int // numbers the switches' ends
}

// New returns an empty Lab that goes away with tb.
func New(tb TB) *Lab {
	tb.Helper()
	dir, err := os.MkdirTemp("", "lab-")
	if err != nil {
		tb.Fatalf("make directory for the lab: %v", err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return &Lab{tb: tb, dir: dir}
}

// Dir returns a directory for files of the lab.
func (l *Lab) Dir() string { return l.dir }

// Node is a host: a network namespace with its loopback up.
type Node struct {
	Name string

	lab *Lab
	ns  netns.NsHandle
	nl  *netlink.Handle

	mu    sync.Mutex
	procs []*Process
}

// Node adds a host.
func (l *Lab) Node(name string) *Node {
	l.tb.Helper()
	n := &Node{Name: name, lab: l}
	err := onThread(func() error {
		ns, err := netns.New() // the calling thread is thrown away afterwards
		n.ns = ns
		return err
	})
	if err != nil {
		l.tb.Fatalf("make namespace %s: %v", name, err)
	}
	l.tb.Cleanup(n.close)
	if n.nl, err = netlink.NewHandleAt(n.ns, unix.NETLINK_ROUTE); err != nil {
		l.tb.Fatalf("open netlink in %s: %v", name, err)
	}
	lo, err := n.nl.LinkByName("lo")
	if err == nil {
		err = n.nl.LinkSetUp(lo)
	}
	if err != nil {
		l.tb.Fatalf("bring up lo in %s: %v", name, err)
	}
	return n
}

func (n *Node) close() {
	n.mu.Lock()
	procs := n.procs
	n.mu.Unlock()
	for _, p := range procs {
		p.Kill()
	}
	if n.nl != nil {
		n.nl.Close()
	}
	_ = n.ns.Close()
}

// Do runs f on a thread that is in the node's network namespace. Sockets that f
// opens stay there. f must not start goroutines that open sockets.
func (n *Node) Do(f func() error) error {
	return onThread(func() error {
		if err := netns.Set(n.ns); err != nil {
			return fmt.Errorf("enter namespace %s: %w", n.Name, err)
		}
		return f()
	})
}

// onThread runs f on an operating system thread of its own that ends with it,
// so that whatever f does to the thread's namespaces is gone afterwards.
func onThread(f func() error) error {
	errc := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread
		errc <- f()
	}()
	return <-errc
}

// Must is Do for steps of building, which may not go wrong.
func (n *Node) Must(what string, f func() error) {
	n.lab.tb.Helper()
	if err := n.Do(f); err != nil {
		n.lab.tb.Fatalf("%s on %s: %v", what, n.Name, err)
	}
}

// Sysctl sets a sysctl by its dotted name, where dots in interface names are
// written as slashes.
func (n *Node) Sysctl(name, value string) {
	n.lab.tb.Helper()
	path := filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
	n.Must("set "+name, func() error { return os.WriteFile(path, []byte(value), 0o644) })
}

// Route adds a route: to is a prefix or "default".
func (n *Node) Route(to, via string) {
	n.lab.tb.Helper()
	r := &netlink.Route{Gw: net.ParseIP(via)}
	if to != "default" {
		_, dst, err := net.ParseCIDR(to)
		if err != nil {
			n.lab.tb.Fatalf("parse %s: %v", to, err)
		}
		r.Dst = dst
	}
	if err := n.nl.RouteReplace(r); err != nil {
		n.lab.tb.Fatalf("add route to %s via %s on %s: %v", to, via, n.Name, err)
	}
}

// Address adds an address to one of the node's interfaces.
func (n *Node) Address(ifname, prefix string) { n.address(ifname, prefix, false) }

// Shared adds an IPv6 address that others have too: the node sends nothing from
// it that it may send from another.
func (n *Node) Shared(ifname, prefix string) { n.address(ifname, prefix, true) }

func (n *Node) address(ifname, prefix string, deprecated bool) {
	n.lab.tb.Helper()
	link, err := n.nl.LinkByName(ifname)
	if err != nil {
		n.lab.tb.Fatalf("find %s on %s: %v", ifname, n.Name, err)
	}
	addr, err := netlink.ParseAddr(prefix)
	if err == nil {
		if addr.IP.To4() == nil {
			addr.Flags = unix.IFA_F_NODAD // usable at once
		}
		if deprecated {
			addr.ValidLft, addr.PreferedLft = math.MaxUint32, 0
		}
		err = n.nl.AddrAdd(link, addr)
	}
	if err != nil {
		n.lab.tb.Fatalf("add %s to %s on %s: %v", prefix, ifname, n.Name, err)
	}
}

// Addresses lists what the kernel holds on an interface, as prefixes.
func (n *Node) Addresses(ifname string) []string {
	n.lab.tb.Helper()
	link, err := n.nl.LinkByName(ifname)
	if err != nil {
		n.lab.tb.Fatalf("find %s on %s: %v", ifname, n.Name, err)
	}
	list, err := n.nl.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		n.lab.tb.Fatalf("list addresses on %s: %v", n.Name, err)
	}
	var out []string
	for _, a := range list {
		out = append(out, a.IPNet.String())
	}
	return out
}

// Holds reports whether the kernel holds an address on an interface.
func (n *Node) Holds(ifname string, addr netip.Addr) bool {
	n.lab.tb.Helper()
	for _, p := range n.Addresses(ifname) {
		if netip.MustParsePrefix(p).Addr() == addr {
			return true
		}
	}
	return false
}

// Run runs a command to its end in the node and returns what it printed.
func (n *Node) Run(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	var out []byte
	err := n.Do(func() error {
		var err error
		out, err = cmd.CombinedOutput()
		return err
	})
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), err
}

// MustRun is Run for commands that may not go wrong.
func (n *Node) MustRun(name string, args ...string) string {
	n.lab.tb.Helper()
	out, err := n.Run(name, args...)
	if err != nil {
		n.lab.tb.Fatalf("on %s: %v", n.Name, err)
	}
	return out
}

// Process is a program that runs in a node.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// StartFirst is Start for a program that gets the processor before others. In
// the world each host has processors of its own; here a client that probes
// without pause would take them from the hosts that it probes.
func (n *Node) StartFirst(log, name string, args ...string) *Process {
	n.lab.tb.Helper()
	return n.Start(log, "chrt", append([]string{"--rr", "1", name}, args...)...)
}

// Start starts a program in the node; its output goes to the file log in the
// lab's directory.
func (n *Node) Start(log, name string, args ...string) *Process {
	n.lab.tb.Helper()
	f, err := os.OpenFile(filepath.Join(n.lab.dir, log), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.lab.tb.Fatalf("open log: %v", err)
	}
	defer f.Close()
	p := &Process{cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = f, f
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := n.Do(p.cmd.Start); err != nil {
		n.lab.tb.Fatalf("start %s on %s: %v", name, n.Name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	n.mu.Lock()
	n.procs = append(n.procs, p)
	n.mu.Unlock()
	return p
}

// Signal sends a signal to the program.
func (p *Process) Signal(sig syscall.Signal) { _ = p.cmd.Process.Signal(sig) }

// Kill kills the program's process group with SIGKILL and waits for its end.
func (p *Process) Kill() {
	select {
	case <-p.done: // its number may be another's by now
		return
	default:
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err returns how the program ended, once Done is closed.
func (p *Process) Err() error { return p.err }

// Pid returns the program's process number.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Log returns what the programs that were started with this log have printed.
func (l *Lab) Log(name string) string {
	b, err := os.ReadFile(filepath.Join(l.dir, name))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// File writes a file into the lab's directory and returns its path.
func (l *Lab) File(name, content string) string {
	l.tb.Helper()
	path := filepath.Join(l.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		l.tb.Fatalf("write %s: %v", path, err)
	}
	return path
}

// SortLines sorts the lines of a text.
func SortLines(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
