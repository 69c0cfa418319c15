package integration

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/site"
	"github.com/understudy-ha/understudy/integration/vm"
)

// TestDriftIsRepaired changes the table by hand in every way, beside a service
// of somebody else's, which must stay.
func TestDriftIsRepaired(t *testing.T) {
	s := site.New(t, site.Options{Interval: 100 * time.Millisecond})
	d := s.LB[0]
	d.Node.MustRun("ipvsadm", "-A", "-t", "10.51.0.99:99", "-s", "wlc")
	d.Node.MustRun("ipvsadm", "-a", "-t", "10.51.0.99:99", "-r", "10.51.0.21:99", "-g")
	s.StartPair()
	want := sorted(d.Saved())
	for _, c := range [][]string{
		{"-d", "-t", "10.51.0.100:80", "-r", "10.51.0.21:80"},
		{"-e", "-t", "10.51.0.100:80", "-r", "10.51.0.22:80", "-g", "-w", "7"},
		{"-a", "-t", "10.51.0.100:80", "-r", "10.51.0.77:80", "-m"},
		{"-E", "-t", "10.51.0.100:80", "-s", "lc"},
		{"-D", "-u", "10.51.0.100:7"},
	} {
		said := len(d.Log())
		d.Node.MustRun("ipvsadm", c...)
		if got := sorted(d.Saved()); got == want {
			t.Fatalf("ipvsadm %v changed nothing", c)
		}
		begun := time.Now()
		site.Eventually(t, 5*time.Second, "repair after ipvsadm "+strings.Join(c, " "), func() bool { return sorted(d.Saved()) == want })
		t.Logf("%s: repaired after %v", c[0], time.Since(begun).Round(time.Millisecond))
		if log := d.Log()[said:]; !strings.Contains(log, "level=WARN") {
			t.Errorf("ipvsadm %v: nothing in the log but:\n%s", c, log)
		}
	}
	if st, err := d.Status(); err != nil || st.Lanes[1].Repairs < 5 {
		t.Errorf("status: %+v, %v; want at least 5 repairs", st.Lanes, err)
	}
}

// TestExclusive shows that the whole table is ours where the operator says so.
func TestExclusive(t *testing.T) {
	s := site.New(t, site.Options{Interval: 100 * time.Millisecond})
	d := s.LB[0]
	d.Write(strings.Replace(s.Config(0), "[director]\n", "[director]\nipvs = \"exclusive\"\n", 1))
	d.Node.MustRun("ipvsadm", "-A", "-t", "10.51.0.99:99", "-s", "wlc")
	d.Start()
	site.Eventually(t, 10*time.Second, "our services alone", func() bool {
		saved := d.Saved()
		return !strings.Contains(saved, "10.51.0.99") && strings.Count(saved, "-a ") == 6
	})
}

// TestReload changes a configuration under load: what did not change is not
// touched, and a file with errors is refused whole.
func TestReload(t *testing.T) {
	s := site.New(t, site.Options{Interval: 100 * time.Millisecond})
	s.StartPair()
	d := s.LB[0]
	load := s.Client.Load(s.URL(), 5*time.Millisecond, time.Second)
	p := s.Client.Probe(s.Echo(), 20*time.Millisecond)
	begun := time.Now()
	site.Eventually(t, 2*time.Second, "an answer", func() bool { return p.Answered(begun) })
	before, err := d.Status()
	if err != nil {
		t.Fatal(err)
	}

	config := s.Config(0)
	d.Write(strings.Replace(config, "10.51.0.22:80\"\nweight = 1", "10.51.0.22:80\"\nweight = 5", 1))
	if err := d.Reload(); err != nil {
		t.Fatalf("reload: %v", err)
	}
	site.Eventually(t, 5*time.Second, "the new weight", func() bool { return strings.Contains(d.Saved(), "-r 10.51.0.22:80 -g -w 5") })

	saved := sorted(d.Saved())
	d.Write(strings.Replace(config, "scheduler = \"rr\"", "scheduler = \"rrr\"", 1))
	err = d.Reload()
	if err == nil || !strings.Contains(err.Error(), "lb1.toml:") || !strings.Contains(err.Error(), "rrr") {
		t.Errorf("reload of a broken file: %v, want an error with its file and line", err)
	}
	d.Signal(syscall.SIGHUP)
	site.Eventually(t, 5*time.Second, "the second refusal in the log", func() bool { return strings.Count(d.Log(), "reload refused") == 2 })
	if got := sorted(d.Saved()); got != saved {
		t.Errorf("a refused reload changed the table:\n%s", cmp.Diff(saved, got))
	}

	// Back, and without the second service: what is no longer named goes.
	kept, _, _ := strings.Cut(config, "\n[[service]]\nname = \"echo\"")
	d.Write(kept)
	d.Signal(syscall.SIGHUP)
	site.Eventually(t, 5*time.Second, "the dropped service to be gone", func() bool { return !strings.Contains(d.Saved(), "-u 10.51.0.100:7") })
	p.Stop()

	after, err := d.Status()
	if err != nil {
		t.Fatal(err)
	}
	if a, b := after.Routers[0], before.Routers[0]; a.State != "master" || !a.Since.Equal(b.Since) || a.Takeovers != b.Takeovers {
		t.Errorf("the virtual router was touched: %+v, before %+v", a, b)
	}
	for _, server := range after.Services[0].Servers {
		if server.Health != "up" || !server.InTable {
			t.Errorf("the result of a check was lost: %+v", server)
		}
	}
	if r := load.Between(begun, time.Now()); r.Failed > 0 || r.Sent < 5 {
		t.Errorf("during the reloads: %v (%v)", r, r.FirstError)
	}
}

// TestWithoutIPVS takes ip_vs away from the kernel: a configuration with
// services is refused with a clear error, one without needs none.
func TestWithoutIPVS(t *testing.T) {
	if !vm.Inside() {
		t.Skip("would unload ip_vs from the kernel of this machine")
	}
	s := site.New(t, site.Options{Interval: 100 * time.Millisecond})
	loader, err := os.ReadFile("/proc/sys/kernel/modprobe")
	if err != nil {
		t.Fatal(err)
	}
	restore := func() {
		if err := os.WriteFile("/proc/sys/kernel/modprobe", loader, 0o644); err != nil {
			t.Error(err)
		}
		if out, err := exec.Command("modprobe", "ip_vs").CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
	if err := os.WriteFile("/proc/sys/kernel/modprobe", []byte("/bin/false"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(restore)
	unload(t, func() {})
	t.Setenv("MODPROBE_OPTIONS", "-d /nonexistent")

	d := s.LB[0]
	d.Start()
	select {
	case <-d.Process().Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the daemon runs without ip_vs")
	}
	if d.Process().Err() == nil || !strings.Contains(d.Log(), "modprobe ip_vs") || strings.Contains(d.Log(), "panic") {
		t.Errorf("ended with %v and said:\n%s", d.Process().Err(), d.Log())
	}
	config := s.Config(0)
	d.Write(config[:strings.Index(config, "\n[[service]]")])
	d.Start()
	site.Eventually(t, 5*time.Second, "a master without services", func() bool { return d.State() == "master" })
	d.Write(config)
	if err := d.Reload(); err == nil || !strings.Contains(err.Error(), "modprobe ip_vs") {
		t.Errorf("reload with services: %v, want a refusal", err)
	}
	if state := d.State(); state != "master" {
		t.Errorf("state %q after the refusal, want master", state)
	}
}

// unload removes ip_vs and everything that uses it. first is done before each
// attempt.
func unload(t *testing.T, first func()) {
	t.Helper()
	site.Eventually(t, 60*time.Second, "ip_vs to be unloaded", func() bool {
		first()
		b, err := os.ReadFile("/proc/modules")
		if err != nil {
			t.Fatal(err)
		}
		args := []string{}
		for line := range strings.Lines(string(b)) { // those that others use come last
			if name, _, _ := strings.Cut(line, " "); strings.HasPrefix(name, "ip_vs") {
				args = append(args, name)
			}
		}
		if len(args) == 0 {
			return true
		}
		_ = exec.Command("rmmod", args...).Run()
		_, err = os.Stat("/sys/module/ip_vs")
		return os.IsNotExist(err)
	})
}

// sorted puts the rules of ipvsadm -S into an order of their own: the kernel's
// changes with every change.
func sorted(rules string) string { return lab.SortLines(rules) }
