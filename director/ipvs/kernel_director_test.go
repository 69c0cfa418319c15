package ipvs_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/configs"
	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/directortest"
	"github.com/understudy-ha/understudy/director/ipvs"
)

func TestKernelNoForeignTouched(t *testing.T) {
	table := needKernel(t)
	ipvsadm(t, "-A", "-t", "192.0.2.200:80", "-s", "rr")
	ipvsadm(t, "-a", "-t", "192.0.2.200:80", "-r", "192.0.2.201:80", "-m")
	before := sorted(ipvsadm(t, "-Sn"))
	runDirector(t, table, wide(), t.TempDir())
	if d := cmp.Diff(before, sorted(ipvsadm(t, "-Sn"))); d != "" {
		t.Errorf("after a clean stop the foreign service is all there is (-want +got):\n%s", d)
	}
}

// runDirector runs a director until the table is as c wants it, and stops it.
func runDirector(t *testing.T, table *ipvs.Table, c director.Config, dir string) {
	t.Helper()
	d := newDirector(table, dir)
	d.Set(c)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	want := directortest.Full(c)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		got, err := table.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		there := 0
		for k, s := range want {
			if got[k] == s {
				there++
			}
		}
		if there == len(want) && d.Loaded() {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d entries after 30 s", there, len(want))
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func newDirector(table *ipvs.Table, dir string) *director.Director {
	return director.New(director.Options{
		IPVS:          table,
		Addresses:     directortest.NewKernel(true).Process().Addresses(),
		ServiceLedger: ipvs.NewLedger[director.ServiceKey](filepath.Join(dir, "services")),
		Log:           slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
}

// TestKernelConfigured shows that what the kernel holds is spelled as the
// configuration is: nothing is found to differ.
func TestKernelConfigured(t *testing.T) {
	table := needKernel(t)
	c, err := configs.Load("testdata/everykind.toml")
	if err != nil {
		t.Fatal(err)
	}
	c.Director.Exclusive = true
	d := newDirector(table, t.TempDir())
	d.Set(c.Director)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	time.Sleep(5 * time.Second) // two listings after the first
	list, err := table.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := directortest.Full(c.Director); !maps.Equal(want, list) {
		t.Errorf("the table differs (-want +got):\n%s", cmp.Diff(directortest.FormatEntries(want), directortest.FormatEntries(list)))
	}
	if lane := d.Status(t.Context()).IPVSLane; lane.Changes != uint64(len(list)) || lane.Repairs != 0 || lane.Err != "" {
		t.Errorf("%d changes for %d entries, %d repairs, error %q", lane.Changes, len(list), lane.Repairs, lane.Err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// narrow is another configuration: some services of wide are gone, some differ.
func narrow() director.Config {
	var c director.Config
	for i, s := range wide().Services {
		if i%3 == 0 {
			continue
		}
		if i%3 == 1 {
			s.Servers = slices.Clone(s.Servers[:len(s.Servers)/2])
			s.Spec.Scheduler = "wrr"
			s.Spec.Flags = 0
		}
		c.Services = append(c.Services, s)
	}
	return c
}

// TestKernelKilled kills a director at moments of a start, a reload and a clean
// stop, and looks at what the next one, left alone, makes of it.
func TestKernelKilled(t *testing.T) {
	table := needKernel(t)
	ipvsadm(t, "-A", "-t", "192.0.2.200:80", "-s", "rr")
	foreign := sorted(ipvsadm(t, "-Sn"))
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 12 {
		child := startChild(t, dir)
		time.Sleep(time.Duration(random.Int64N(int64(700 * time.Millisecond))))
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait() // it was killed
		if i%4 != 3 {
			continue
		}
		runDirector(t, table, narrow(), dir)
		if d := cmp.Diff(foreign, sorted(ipvsadm(t, "-Sn"))); d != "" {
			t.Fatalf("round %d: something is left (-want +got):\n%s", i, d)
		}
	}
}

// startChild starts a process that runs a director through a start, a reload
// and a stop, and waits until it begins.
func startChild(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childVariable+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return child
}

func directChild(dir string) error {
	table := ipvs.New()
	defer table.Close()
	d := newDirector(table, dir)
	d.Set(wide())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	fmt.Println("running")
	time.Sleep(300 * time.Millisecond)
	d.Set(narrow())
	time.Sleep(200 * time.Millisecond)
	cancel()
	if err := <-done; err != nil {
		return err
	}
	time.Sleep(time.Hour) // to be killed
	return nil
}

// TestKernelReloaded unloads and loads ip_vs under a table, which is possible
// only where it is a module and nobody else uses it.
func TestKernelReloaded(t *testing.T) {
	needKernel(t)
	if os.Getenv(kernelEnv) != "module" {
		t.Skip("would unload ip_vs: set " + kernelEnv + "=module if it may")
	}
	if modules, err := os.ReadFile("/proc/modules"); err != nil || !strings.Contains("\n"+string(modules), "\nip_vs ") {
		t.Skipf("needs IPVS as a module: it is not in /proc/modules (%v)", err)
	}
	load(t, false)
	table := ipvs.New() // has the module loaded
	defer table.Close()
	if err := table.Preflight(); err != nil {
		t.Fatalf("with the module unloaded: %v", err)
	}
	// A kernel loads it whenever somebody asks for its family; others say that
	// there is none.
	load(t, false)
	if _, err := table.Timeouts(t.Context()); err != nil && !errors.Is(err, ipvs.ErrMissing) {
		t.Fatalf("Timeouts with the module unloaded: %v", err)
	}
	load(t, true)
	want := directortest.Full(narrow())
	for range 2 {
		if err := table.Apply(t.Context(), creations(want)); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(sorted(directortest.FormatEntries(want)), sorted(ipvsadm(t, "-Sn"))); d != "" {
			t.Fatalf("ipvsadm sees another table (-want +got):\n%s", d)
		}
		ipvsadm(t, "-C")
		old, err := netlink.GenlFamilyGet("IPVS")
		if err != nil {
			t.Fatal(err)
		}
		load(t, false)
		load(t, true)
		if f, err := netlink.GenlFamilyGet("IPVS"); err != nil || f.ID == old.ID {
			t.Fatalf("the module has the number %d as before (%v): this proves nothing", old.ID, err)
		}
		if list, err := table.List(t.Context()); err != nil || len(list) != 0 {
			t.Fatalf("List after loading the module again: %v, %v", list, err)
		}
		if to, err := table.Timeouts(t.Context()); err != nil || to.TCP == 0 {
			t.Fatalf("Timeouts after loading the module again: %v, %v", to, err)
		}
	}
}

// load loads ip_vs, or unloads it and what needs it.
func load(t *testing.T, in bool) {
	t.Helper()
	script := "rmmod $(lsmod | awk '/^ip_vs_/{print $1}') 2>/dev/null; rmmod ip_vs"
	if in {
		script = "modprobe ip_vs"
	}
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
}

// TestMissing is for kernels without IPVS.
func TestMissing(t *testing.T) {
	table := ipvs.New()
	defer table.Close()
	if err := table.Preflight(); err == nil {
		t.Skip("this kernel has IPVS")
	} else if !errors.Is(err, ipvs.ErrMissing) && !errors.Is(err, unix.EPERM) {
		t.Fatalf("Preflight = %v, want ErrMissing", err)
	}
	if list, err := table.List(t.Context()); err == nil {
		t.Errorf("List = %v without an error", list)
	}
	if err := table.Apply(t.Context(), creations(directortest.Full(wide()))); err == nil {
		t.Error("Apply succeeds without IPVS")
	}
}
