package ipvs_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
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

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/directortest"
	"github.com/understudy-ha/understudy/director/ipvs"
	"github.com/understudy-ha/understudy/health"
)

// The tests in this file want a kernel with IPVS, whose table they empty, and
// run as root: integration runs this package's test binary in a kernel of its
// own. childVariable makes the binary do the part of a child process instead.
const childVariable = "UNDERSTUDY_IPVS_TEST_CHILD"

func TestMain(m *testing.M) {
	// ipvsadm, modprobe and rmmod; an init or a user may have a shorter PATH.
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/usr/bin:/sbin:/bin")
	if dir := os.Getenv(childVariable); dir != "" {
		if err := directChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// needKernel skips the test where there is no IPVS, and otherwise returns an
// empty table.
func needKernel(t *testing.T) *ipvs.Table {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to change the IPVS table")
	}
	if _, err := netlink.GenlFamilyGet("IPVS"); err != nil {
		t.Skipf("needs a kernel with IPVS: look for its generic netlink family: %v", err)
	}
	table := ipvs.New()
	t.Cleanup(table.Close)
	empty := func() {
		list, err := table.List(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		var changes []director.Change[director.Key, director.Spec]
		for k := range list {
			if k.IsService() {
				changes = append(changes, director.Change[director.Key, director.Spec]{Op: director.Delete, Key: k})
			}
		}
		if err := table.Apply(context.Background(), changes); err != nil {
			t.Fatal(err)
		}
	}
	empty()
	t.Cleanup(empty)
	return table
}

// ipvsadm runs the witness.
func ipvsadm(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("ipvsadm", args...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatal("needs ipvsadm as a witness: apt-get install ipvsadm")
	}
	if err != nil {
		t.Fatalf("ipvsadm %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// sorted returns the lines of s in order, without spaces around them.
func sorted(s string) []string {
	var lines []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return lines
}

func TestKernelConformance(t *testing.T) {
	directortest.TestIPVS(t, func(t *testing.T) director.Table[director.Key, director.Spec] { return needKernel(t) })
}

// wide is a configuration with one service of every kind and all schedulers.
func wide() director.Config {
	var c director.Config
	server := func(address string, weight int, f director.Forward) director.Server {
		return director.Server{
			Address: netip.MustParseAddrPort(address),
			Spec:    director.ServerSpec{Weight: weight, Forward: f},
			Check:   health.Check{Type: health.TypeNone},
		}
	}
	for i, name := range directortest.Schedulers {
		port := 80 + i // of the servers too, unless the method can translate it
		c.Services = append(c.Services, director.Service{
			Name: name,
			Key:  directortest.Service(director.TCP, fmt.Sprintf("192.0.2.1:%d", port)),
			Spec: director.ServiceSpec{Scheduler: name},
			Servers: []director.Server{
				server("192.0.2.101:8080", 1+i, director.NAT),
				server(fmt.Sprintf("192.0.2.102:%d", port), 0, director.DR),
				server(fmt.Sprintf("192.0.2.103:%d", port), 65535, director.TUN),
			},
		})
	}
	for i, bits := range []uint8{1, 8, 22, 24, 31, 32} {
		c.Services = append(c.Services, director.Service{
			Name: fmt.Sprintf("persistent %d", bits),
			Key:  directortest.Service(director.UDP, fmt.Sprintf("192.0.2.2:%d", 80+i)),
			Spec: director.ServiceSpec{Scheduler: "rr", Persistence: time.Duration(20+i) * time.Second, Mask: bits},
		})
	}
	const port, fallback = director.FlagSched2, director.FlagSched1
	for i, s := range []director.ServiceSpec{
		{Scheduler: "sh", Flags: port}, {Scheduler: "sh", Flags: fallback}, {Scheduler: "mh", Flags: port | fallback},
		{Scheduler: "rr", Flags: director.FlagOnePacket},
	} {
		c.Services = append(c.Services, director.Service{
			Name: fmt.Sprintf("flags %d", i),
			Key:  directortest.Service(director.UDP, fmt.Sprintf("192.0.2.3:%d", 80+i)),
			Spec: s,
		})
	}
	return director.Config{Services: append(c.Services,
		director.Service{Name: "six", Key: directortest.Service(director.TCP, "[2001:db8::1]:80"),
			Spec:    director.ServiceSpec{Scheduler: "wrr", Persistence: time.Minute, Mask: 64},
			Servers: []director.Server{server("[2001:db8::101]:80", 3, director.DR)}},
		director.Service{Name: "mark", Key: director.ServiceKey{FWMark: 7}, Spec: director.ServiceSpec{Scheduler: "lc"},
			Servers: []director.Server{server("192.0.2.101:0", 3, director.DR)}},
		director.Service{Name: "mark six", Key: director.ServiceKey{FWMark: 7, IPv6: true}, Spec: director.ServiceSpec{Scheduler: "sed"},
			Servers: []director.Server{server("[2001:db8::101]:0", 3, director.NAT)}},
	)}
}

// wanted returns the entries of c, all of whose servers are fit.
func wanted(c director.Config) map[director.Key]director.Spec {
	list := map[director.Key]director.Spec{}
	for k, w := range director.Plan(c, nil, nil).Entries {
		list[k] = w.Spec
	}
	return list
}

func creations(list map[director.Key]director.Spec) []director.Change[director.Key, director.Spec] {
	var changes []director.Change[director.Key, director.Spec]
	for k, s := range list {
		changes = append(changes, director.Change[director.Key, director.Spec]{Op: director.Create, Key: k, New: s})
	}
	slices.SortFunc(changes, func(a, b director.Change[director.Key, director.Spec]) int { return a.Key.Compare(b.Key) })
	return changes
}

func TestKernelWitness(t *testing.T) {
	table := needKernel(t)
	list := wanted(wide())
	if err := table.Apply(t.Context(), creations(list)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sorted(directortest.FormatEntries(list)), sorted(ipvsadm(t, "-Sn"))); d != "" {
		t.Errorf("ipvsadm sees another table (-want +got):\n%s", d)
	}

	// What ipvsadm restores from its own words reads back the same.
	saved := ipvsadm(t, "-Sn")
	ipvsadm(t, "-C")
	restore := exec.Command("ipvsadm", "-R")
	restore.Stdin = strings.NewReader(saved)
	if out, err := restore.CombinedOutput(); err != nil {
		t.Fatalf("ipvsadm -R: %v\n%s", err, out)
	}
	got, err := table.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sorted(directortest.FormatEntries(list)), sorted(directortest.FormatEntries(got))); d != "" {
		t.Errorf("what ipvsadm wrote is read differently (-want +got):\n%s", d)
	}
}

func TestKernelReadsByHand(t *testing.T) {
	table := needKernel(t)
	ipvsadm(t, "-A", "-t", "192.0.2.1:80", "-s", "rr", "-p", "30", "-M", "255.255.252.0")
	ipvsadm(t, "-a", "-t", "192.0.2.1:80", "-r", "192.0.2.101:80", "-g", "-w", "5", "-x", "100", "-y", "50")
	ipvsadm(t, "-a", "-t", "192.0.2.1:80", "-r", "127.0.0.1:80", "-g")
	ipvsadm(t, "-A", "--sctp-service", "192.0.2.1:80", "-s", "sh", "-b", "sh-port")
	got, err := table.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	web := directortest.Service(director.TCP, "192.0.2.1:80")
	server := func(a string) director.Key {
		return director.Key{Service: web, Server: netip.MustParseAddrPort(a)}
	}
	want := map[director.Key]director.Spec{
		{Service: web}:           {Service: director.ServiceSpec{Scheduler: "rr", Persistence: 30 * time.Second, Mask: 22}},
		server("192.0.2.101:80"): {Server: director.ServerSpec{Weight: 5, Forward: director.DR, Upper: 100, Lower: 50}},
		server("127.0.0.1:80"):   {Server: director.ServerSpec{Weight: 1, Forward: director.DR}},
		{Service: sctp(web)}:     {Service: director.ServiceSpec{Scheduler: "sh", Flags: director.FlagSched2, Mask: 32}},
	}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	counters, err := table.Counters(t.Context())
	if err != nil || len(counters) != 2 || counters[server("127.0.0.1:80")] != (director.Counters{}) {
		t.Errorf("Counters = %v, %v, want zeros for two servers", counters, err)
	}
}

func sctp(k director.ServiceKey) director.ServiceKey {
	k.Protocol = 132
	return k
}

func TestKernelUnknownScheduler(t *testing.T) {
	table := needKernel(t)
	key := director.Key{Service: directortest.Service(director.TCP, "192.0.2.1:80")}
	err := table.Apply(t.Context(), []director.Change[director.Key, director.Spec]{
		{Op: director.Create, Key: key, New: director.Spec{Service: director.ServiceSpec{Scheduler: "nosuch"}}},
	})
	if !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), "modprobe ip_vs_nosuch") {
		t.Errorf("error = %v, want one that names the module", err)
	}
}

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
	d := newDirector(table, dir, false)
	d.Set(c)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	want := wanted(c)
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
		if there == len(want) {
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

func newDirector(table *ipvs.Table, dir string, keep bool) *director.Director {
	return director.New(director.Options{
		IPVS:          table,
		Addresses:     directortest.NewKernel(true).Process().Addresses(),
		ServiceLedger: ipvs.NewLedger[director.ServiceKey](filepath.Join(dir, "services")),
		Log:           slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		KeepOnExit:    keep,
	})
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
	d := newDirector(table, dir, false)
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
	if modules, err := os.ReadFile("/proc/modules"); err != nil || !strings.Contains("\n"+string(modules), "\nip_vs ") {
		t.Skipf("needs IPVS as a module: it is not in /proc/modules (%v)", err)
	}
	load(t, false)
	table := ipvs.New() // finds nothing, and loads the module
	defer table.Close()
	if err := table.Preflight(); err != nil {
		t.Fatalf("with the module unloaded: %v", err)
	}
	want := wanted(narrow())
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
	if err := table.Apply(t.Context(), creations(wanted(wide()))); err == nil {
		t.Error("Apply succeeds without IPVS")
	}
}
