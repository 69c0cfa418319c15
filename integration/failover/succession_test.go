package failover

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/site"
)

// heir is a master with a program of its own, which a test may replace.
type heir struct {
	*site.Director
	program string
	proc    *lab.Process
}

// newHeir starts a pair of which the first runs a copy of the program.
func newHeir(t *testing.T, o site.Options, args ...string) (*site.Site, *heir) {
	t.Helper()
	o.NoServices = true
	if o.Interval == 0 {
		o.Interval = 500 * time.Millisecond
	}
	s := site.New(t, o)
	h := &heir{Director: s.LB[0], program: filepath.Join(s.Lab.Dir(), "heir")}
	h.install(t, site.Binary())
	h.start(args...)
	t.Cleanup(func() { _, _ = h.Node.Run("pkill", "-9", "-f", h.File) })
	s.LB[1].Start()
	if err := s.WaitReady(); err != nil {
		t.Fatal(err)
	}
	return s, h
}

func (h *heir) start(args ...string) {
	h.proc = h.Node.StartFirst(h.Node.Name+".log", h.program, append([]string{"run", "--config", h.File}, args...)...)
}

// install puts a copy of a program in the place of the one that runs.
func (h *heir) install(t *testing.T, from string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	h.put(t, b)
}

func (h *heir) put(t *testing.T, program []byte) {
	t.Helper()
	if err := os.WriteFile(h.program+".new", program, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(h.program+".new", h.program); err != nil {
		t.Fatal(err)
	}
}

func (h *heir) upgrade() (string, error) {
	return h.Node.Run(site.Binary(), "upgrade", "--socket", h.Socket())
}

// add adds to the configuration: virtual routers before the others, or else to the
// last one.
func (h *heir) add(t *testing.T, toml string) (undo func()) {
	t.Helper()
	config, err := os.ReadFile(h.File)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(toml, "\n[[vrrp]]\n") {
		h.Write(strings.Replace(string(config), "\n[[vrrp]]\n", toml+"\n[[vrrp]]\n", 1))
	} else {
		h.Write(string(config) + toml)
	}
	return func() { h.Write(string(config)) }
}

// must asks for the status.
func must(t *testing.T, d *site.Director) site.Status {
	t.Helper()
	s, err := d.Status()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// unmoved reports an election that did not rest.
func unmoved(t *testing.T, what string, before, after site.Status) {
	t.Helper()
	if b, a := before.Routers[0], after.Routers[0]; a.State != b.State || a.Takeovers != b.Takeovers || b.Since.Sub(a.Since).Abs() > time.Millisecond {
		t.Errorf("%s: it was %s since %v, takeovers %d, and is %s since %v, takeovers %d", what, b.State, b.Since, b.Takeovers, a.State, a.Since, a.Takeovers)
	}
}

// TestUpgradeRefused tries new programs that do not follow. The old process goes on
// as if nobody had asked, can be asked again, and keeps what a crash needs.
func TestUpgradeRefused(t *testing.T) {
	t.Parallel()
	s, h := newHeir(t, site.Options{})
	before := must(t, h.Director)
	peer := must(t, s.LB[1])
	for _, c := range []struct{ name, program, config, want string }{
		{"what the kernel does not have", "", "\n[[vrrp.notify]]\non = [\"master\"]\ncommand = [\"/nonexistent\"]\n", "nonexistent"},
		{"no program", "#!/nonexistent\n", "", "no such file"},
		{"no sockets", "#!/bin/sh\nexec setpriv --bounding-set -net_raw " + site.Binary() + " \"$@\"\n", "\n[[vrrp]]\nname = \"other\"\ninterface = \"eth0\"\nvrid = 7\naddresses = [\"10.51.0.107/24\"]\n", "open the sockets"},
		{"ends at once", "#!/bin/sh\n", "", "has ended"},
		{"ends with the states", "#!/bin/sh\necho '{\"ready\":true}' >&3\nread line <&3\n", "", "goes on"},
		{"hangs with the states", "#!/bin/sh\necho '{\"ready\":true}' >&3\nread line <&3\nexec sleep 60\n", "", "goes on"},
	} {
		h.install(t, site.Binary())
		if c.program != "" {
			h.put(t, []byte(c.program))
		}
		undo := h.add(t, c.config)
		out, err := h.upgrade()
		if err == nil || !strings.Contains(out+err.Error(), c.want) {
			t.Errorf("%s: %v: %s; want %q", c.name, err, out, c.want)
		}
		undo()
		after, err := h.Status()
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if after.PID != before.PID {
			t.Errorf("%s: process %d is %d", c.name, before.PID, after.PID)
		}
		unmoved(t, c.name, before, after)
		time.Sleep(s.MasterDown())
		unmoved(t, c.name+": the peer", peer, must(t, s.LB[1]))
	}
	// A crash after it is as good as one before.
	h.install(t, site.Binary())
	h.proc.Kill()
	h.start()
	site.Eventually(t, 5*time.Second, "the director to be master again", func() bool { return h.State() == "master" })
	unmoved(t, "after a crash: the peer", peer, must(t, s.LB[1]))
	if err := exec.Command("kill", fmt.Sprint(h.proc.Pid())).Run(); err != nil {
		t.Fatal(err)
	}
	<-h.proc.Done()
	if _, err := os.Stat(h.Socket()); err == nil {
		t.Error("the socket is there after a clean stop")
	}
}

// TestPredecessorDies has a process follow one that dies before it has left its
// states: it must not stay, holding what the next one needs.
func TestPredecessorDies(t *testing.T) {
	t.Parallel()
	_, h := newHeir(t, site.Options{})
	before := must(t, h.Director)
	h.put(t, []byte("#!/bin/sh\nkill -STOP $PPID\nexec "+site.Binary()+" \"$@\"\n"))
	go func() { _, _ = h.upgrade() }()
	site.Eventually(t, 5*time.Second, "the new process to be ready", func() bool {
		return strings.Contains(children(before.PID), site.Binary())
	})
	time.Sleep(300 * time.Millisecond)
	h.install(t, site.Binary())
	if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil { // alone
		t.Fatal(err)
	}
	<-h.proc.Done()
	site.Eventually(t, 3*time.Second, "the new process to end", func() bool {
		out, _ := exec.Command("pgrep", "-f", site.Binary()+" run --config "+h.File).Output()
		return len(out) == 0
	})
	h.start()
	site.Eventually(t, 5*time.Second, "the director to be master again", func() bool { return h.State() == "master" })
}

// children returns the command lines of the children of a process.
func children(pid int) string {
	out, _ := exec.Command("ps", "-o", "stat=,args=", "--ppid", fmt.Sprint(pid)).Output()
	return string(out)
}

// TestUpgradeAfterHandover replaces a daemon that has handed over: it does not take
// back what its operator has given away.
func TestUpgradeAfterHandover(t *testing.T) {
	t.Parallel()
	s, h := newHeir(t, site.Options{})
	if err := h.Handover(""); err != nil {
		t.Fatal(err)
	}
	before := must(t, h.Director)
	if before.Routers[0].State != "backup" {
		t.Fatalf("it is %s after a handover", before.Routers[0].State)
	}
	if out, err := h.upgrade(); err != nil {
		t.Fatalf("upgrade: %v: %s", err, out)
	}
	time.Sleep(2 * s.MasterDown())
	var after site.Status
	site.Eventually(t, 5*time.Second, "an answer", func() bool {
		var err error
		after, err = h.Status()
		return err == nil && after.PID != before.PID
	})
	unmoved(t, "after the upgrade", before, after)
	if out, err := h.Node.Run(site.Binary(), "handover", "--release", "--socket", h.Socket()); err != nil {
		t.Fatalf("release: %v: %s", err, out)
	}
	site.Eventually(t, 5*time.Second, "the director to preempt", func() bool { return h.State() == "master" })
}

// TestUpgradeSupervised replaces a supervised daemon: the supervisor follows, starts
// it again when it is killed, passes signals on, and leaves no zombie.
func TestUpgradeSupervised(t *testing.T) {
	t.Parallel()
	s, h := newHeir(t, site.Options{Router: "[[vrrp.notify]]\non = [\"master\"]\ncommand = [\"/bin/sh\", \"-c\", \"(sleep 0.2; exec sleep 0.1) & exit 0\"]\n"}, "--supervise")
	peer := must(t, s.LB[1])
	next := func(what string, old int) site.Status {
		t.Helper()
		var now site.Status
		site.Eventually(t, 5*time.Second, what, func() bool {
			var err error
			now, err = h.Status()
			return err == nil && now.PID != old && len(now.Routers) == 1 && now.Routers[0].State == "master"
		})
		return now
	}
	now := must(t, h.Director)
	first := descriptors(t, now.PID)
	for range 3 {
		if out, err := h.upgrade(); err != nil {
			t.Fatalf("upgrade: %v: %s", err, out)
		}
		now = next("a successor", now.PID)
	}
	site.Eventually(t, 3*time.Second, "descriptors as before", func() bool { return descriptors(t, now.PID) <= first+2 })
	time.Sleep(500 * time.Millisecond)
	if err := syscall.Kill(now.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	now = next("another process after the kill", now.PID)
	unmoved(t, "the peer", peer, must(t, s.LB[1]))
	// One that ends as soon as it has taken over, before it is a child of the supervisor.
	h.put(t, []byte("#!/bin/sh\necho '{\"ready\":true}' >&3\nread line <&3\necho '{\"ready\":true}' >&3\n"))
	if out, err := h.upgrade(); err != nil {
		t.Fatalf("upgrade: %v: %s", err, out)
	}
	h.install(t, site.Binary())
	now = next("another process after a successor that ended", now.PID)
	site.Eventually(t, 5*time.Second, "no zombie", func() bool {
		return !strings.HasPrefix(children(h.proc.Pid()), "Z") && !strings.Contains(children(h.proc.Pid()), "\nZ")
	})
	h.proc.Signal(syscall.SIGTERM)
	select {
	case <-h.proc.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the supervisor does not end")
	}
	if err := syscall.Kill(now.PID, 0); err == nil {
		t.Error("the daemon lives after its supervisor has ended")
	}
	if h.proc.Err() != nil {
		t.Errorf("the supervisor ended with %v", h.proc.Err())
	}
}

func descriptors(t *testing.T, pid int) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestStopDuringUpgrade stops a daemon that waits for its successor: nothing goes on.
func TestStopDuringUpgrade(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"--supervise"}} {
		s, h := newHeir(t, site.Options{}, args...)
		before := must(t, h.Director)
		// It becomes ready while the old one says farewell.
		h.put(t, []byte("#!/bin/sh\nsleep 0.3\nkill -TERM $PPID\nexec "+site.Binary()+" \"$@\"\n"))
		if len(args) > 0 {
			h.put(t, fmt.Appendf(nil, "#!/bin/sh\nsleep 0.3\nkill -TERM %d\nexec %s \"$@\"\n", h.proc.Pid(), site.Binary()))
		}
		out, err := h.upgrade()
		t.Log(strings.TrimSpace(out), err)
		select {
		case <-h.proc.Done():
		case <-time.After(10 * time.Second):
			t.Fatal("it does not end")
		}
		site.Eventually(t, 3*time.Second, "no process to be left", func() bool {
			out, _ := exec.Command("pgrep", "-f", "run --config "+h.File).Output()
			return len(out) == 0
		})
		if syscall.Kill(before.PID, 0) == nil {
			t.Error("the old process lives")
		}
		if h.Node.Has(s.VIP()) {
			t.Error("the address is left behind")
		}
	}
}

// TestReloadDropsVirtualMAC takes a virtual router with a MAC address of its own out
// of the master's configuration: it serves until the peer does.
func TestReloadDropsVirtualMAC(t *testing.T) {
	t.Parallel()
	s := site.New(t, site.Options{NoServices: true, VirtualMAC: true, Interval: time.Second})
	s.StartPair()
	p := s.Client.Probe(s.Echo(), time.Millisecond)
	s.Answers(p, 2*time.Second)
	begin := time.Now()
	config, err := os.ReadFile(s.LB[0].File)
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(config), "\n[[vrrp]]\n")
	s.LB[0].Write(head + "\n[[vrrp]]\nname = \"other\"\ninterface = \"eth0\"\nvrid = 7\naddresses = [\"10.51.0.107/24\"]\n")
	if err := s.LB[0].Reload(); err != nil {
		t.Fatal(err)
	}
	site.Eventually(t, 5*time.Second, "the peer to take over", func() bool { return s.LB[1].State() == "master" })
	site.Eventually(t, 5*time.Second, "the interface to go", func() bool {
		_, err := s.LB[0].Node.Run("ip", "link", "show", "vrrp4.51")
		return err != nil
	})
	time.Sleep(300 * time.Millisecond)
	if r := p.Between(begin, time.Now().Add(-200*time.Millisecond)); missed(r) || r.By["lb2"] == 0 {
		t.Errorf("over the reload: %v, answers by %v", r, r.By)
	}
	if strings.Contains(s.LB[0].Log(), "level=ERROR") {
		t.Error("the reload has made errors")
	}
}

// TestUpgradeTellsNothing counts what is notified over an upgrade: the state at the
// start, and the stop, as if there were one process.
func TestUpgradeTellsNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, h := newHeir(t, site.Options{Router: fmt.Sprintf("[[vrrp.notify]]\non = [\"master\", \"backup\", \"fault\", \"stop\"]\nuser = \"root\"\ncommand = [\"/bin/sh\", \"-c\", \"echo $0 >> %s/$1\", \"{state}\", \"{priority}\"]\n", dir)})
	for range 2 {
		if out, err := h.upgrade(); err != nil {
			t.Fatalf("upgrade: %v: %s", err, out)
		}
		time.Sleep(s.MasterDown())
	}
	if err := syscall.Kill(must(t, h.Director).PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var got string
	if err := site.Wait(5*time.Second, "the stop", func() bool {
		b, _ := os.ReadFile(fmt.Sprintf("%s/%d", dir, s.Priority(0)))
		got = strings.Join(strings.Fields(string(b)), " ")
		return strings.HasSuffix(got, "stop")
	}); err != nil || got != "backup master stop" {
		t.Errorf("told of %q, want backup master stop: %v", got, err)
	}
}
