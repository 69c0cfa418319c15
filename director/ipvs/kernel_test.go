package ipvs_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
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

// kernelEnv says that the IPVS table of this network namespace may be emptied:
// "table"; and that ip_vs itself may be unloaded: "module". Nobody sets it on a
// machine that balances.
const kernelEnv = "UNDERSTUDY_TEST_IPVS"

// needKernel skips the test where there is no IPVS that it may use, and otherwise
// returns an empty table.
func needKernel(t *testing.T) *ipvs.Table {
	t.Helper()
	if os.Getenv(kernelEnv) == "" {
		t.Skip("would empty the IPVS table of this machine: set " + kernelEnv + "=table if it may")
	}
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
			Keys: []director.ServiceKey{directortest.Service(director.TCP, fmt.Sprintf("192.0.2.1:%d", port))},
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
			Keys: []director.ServiceKey{directortest.Service(director.UDP, fmt.Sprintf("192.0.2.2:%d", 80+i))},
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
			Keys: []director.ServiceKey{directortest.Service(director.UDP, fmt.Sprintf("192.0.2.3:%d", 80+i))},
			Spec: s,
		})
	}
	tunnel := func(address string, to director.Tunnel) director.Server {
		s := server(address, 5, director.TUN)
		s.Spec.Tunnel = to
		return s
	}
	return director.Config{Services: append(c.Services,
		director.Service{Name: "sctp", Keys: []director.ServiceKey{directortest.Service(director.SCTP, "192.0.2.4:80")},
			Spec:    director.ServiceSpec{Scheduler: "sh", Flags: port},
			Servers: []director.Server{server("192.0.2.101:80", 3, director.DR), server("127.0.0.1:80", 1, director.Local)}},
		director.Service{Name: "sip", Keys: []director.ServiceKey{directortest.Service(director.UDP, "192.0.2.4:5060")},
			Spec:    director.ServiceSpec{Scheduler: "rr", Engine: "sip", Persistence: time.Minute, Mask: 24, Flags: director.FlagOnePacket},
			Servers: []director.Server{server("192.0.2.101:5060", 3, director.NAT)}},
		director.Service{Name: "tunnels", Keys: []director.ServiceKey{directortest.Service(director.TCP, "192.0.2.4:443")},
			Spec: director.ServiceSpec{Scheduler: "rr", Flags: director.FlagSched3 | director.FlagSched1},
			Servers: []director.Server{
				tunnel("192.0.2.101:443", director.Tunnel{}),
				tunnel("192.0.2.102:443", director.Tunnel{Type: director.GUE, Port: 6080}),
				tunnel("192.0.2.103:443", director.Tunnel{Type: director.GUE, Port: 6081, Checksum: director.Checksum}),
				tunnel("192.0.2.104:443", director.Tunnel{Type: director.GUE, Port: 6082, Checksum: director.RemoteChecksum}),
				tunnel("192.0.2.105:443", director.Tunnel{Type: director.GRE}),
				tunnel("192.0.2.106:443", director.Tunnel{Type: director.GRE, Checksum: director.Checksum}),
				tunnel("[2001:db8::106]:443", director.Tunnel{Type: director.GRE, Checksum: director.Checksum}),
			}},
		director.Service{Name: "four behind six", Keys: []director.ServiceKey{directortest.Service(director.SCTP, "[2001:db8::1]:443")},
			Spec:    director.ServiceSpec{Scheduler: "mh", Flags: fallback},
			Servers: []director.Server{tunnel("192.0.2.101:443", director.Tunnel{})}},
		director.Service{Name: "six", Keys: []director.ServiceKey{directortest.Service(director.TCP, "[2001:db8::1]:80")},
			Spec:    director.ServiceSpec{Scheduler: "wrr", Persistence: time.Minute, Mask: 64},
			Servers: []director.Server{server("[2001:db8::101]:80", 3, director.DR)}},
		director.Service{Name: "mark", Keys: []director.ServiceKey{{FWMark: 7}}, Spec: director.ServiceSpec{Scheduler: "lc"},
			Servers: []director.Server{server("192.0.2.101:0", 3, director.DR)}},
		director.Service{Name: "mark six", Keys: []director.ServiceKey{{FWMark: 7, IPv6: true}}, Spec: director.ServiceSpec{Scheduler: "sed"},
			Servers: []director.Server{server("[2001:db8::101]:0", 3, director.NAT)}},
	)}
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
	list := directortest.Full(wide())
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
	ipvsadm(t, "-A", "--sctp-service", "192.0.2.1:80", "-s", "sh", "-b", "sh-port", "--pe", "sip")
	ipvsadm(t, "-a", "-t", "192.0.2.1:80", "-r", "[2001:db8::1]:80", "-i", "--tun-type", "gue", "--tun-port", "6080", "--tun-csum")
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
		{Service: sctp(web)}:     {Service: director.ServiceSpec{Scheduler: "sh", Flags: director.FlagSched2, Mask: 32, Engine: "sip"}},
		server("[2001:db8::1]:80"): {Server: director.ServerSpec{Weight: 1, Forward: director.TUN,
			Tunnel: director.Tunnel{Type: director.GUE, Port: 6080, Checksum: director.Checksum}}},
	}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	counters, err := table.Counters(t.Context())
	if err != nil || len(counters) != 3 || counters[server("127.0.0.1:80")] != (director.Counters{}) {
		t.Errorf("Counters = %v, %v, want zeros for three servers", counters, err)
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
