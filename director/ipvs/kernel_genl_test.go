package ipvs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	moby "github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/directortest"
	"github.com/understudy-ha/understudy/director/ipvs"
	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

var equalAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// needConn returns a connection to an empty table.
func needConn(t *testing.T) *genl.Conn {
	t.Helper()
	needKernel(t)
	c, err := genl.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// done carries out messages, all of which must succeed.
func done(t *testing.T, c *genl.Conn, messages ...genl.Message) {
	t.Helper()
	errs, err := c.Do(t.Context(), messages)
	if err != nil || errs != nil {
		t.Fatalf("Do = %v, %v", errs, err)
	}
}

func webID(port uint16) genl.ServiceID {
	return genl.ServiceID{Family: unix.AF_INET, Protocol: unix.IPPROTO_TCP, Address: netip.MustParseAddr("192.0.2.1"), Port: port}
}

// TestKernelGenlWitness compares what genl and the older library read and write.
func TestKernelGenlWitness(t *testing.T) {
	table, c := needKernel(t), needConn(t)
	if _, err := table.Timeouts(t.Context()); err != nil { // which gives the library the number of IPVS
		t.Fatal(err)
	}
	h, err := moby.New("")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := table.Apply(t.Context(), creations(directortest.Full(wide()))); err != nil {
		t.Fatal(err)
	}
	compareReaders(t, c, h)

	ipvsadm(t, "-C")
	s := &moby.Service{Address: net.IP{192, 0, 2, 1}, Protocol: 6, Port: 80, SchedName: "mh", Flags: 0x11, Timeout: 60,
		Netmask: 0xffffffff, AddressFamily: unix.AF_INET, PEName: "sip"}
	s6 := &moby.Service{FWMark: 9, SchedName: "wrr", Netmask: 64, AddressFamily: unix.AF_INET6, Flags: 1, Timeout: 30}
	d := &moby.Destination{Address: net.IP{192, 0, 2, 101}, Port: 80, Weight: 9, ConnectionFlags: 2, UpperThreshold: 7, LowerThreshold: 3}
	if err := errors.Join(h.NewService(s), h.NewService(s6), h.NewDestination(s, d)); err != nil {
		t.Fatal(err)
	}
	compareReaders(t, c, h)
	got, err := c.Service(t.Context(), webID(80))
	want := genl.Service{ServiceID: webID(80), Scheduler: "mh", Engine: "sip", Flags: 0x11, Timeout: 60, Netmask: 0xffffffff}
	if d := cmp.Diff(want, got, equalAddr); d != "" || err != nil {
		t.Errorf("what the library wrote reads as (-want +got), %v:\n%s", err, d)
	}
}

// compareReaders lists the table with both.
func compareReaders(t *testing.T, c *genl.Conn, h *moby.Handle) {
	t.Helper()
	type row struct {
		Service, Server    string
		Scheduler          string
		Flags, Timeout     uint32
		Method, Up, Down   uint32
		Weight, Act, Inact int
	}
	ours, theirs := map[string]row{}, map[string]row{}
	add := func(m map[string]row, r row) { m[r.Service+" "+r.Server] = r }
	err := c.All(t.Context(), func(s *genl.Service, servers []genl.Destination) error {
		name := fmt.Sprint(s.Family, s.Protocol, s.Address, s.Port, s.FWMark)
		if s.FWMark != 0 {
			name = fmt.Sprint(s.Family, s.FWMark)
		}
		add(ours, row{Service: name, Scheduler: s.Scheduler, Flags: s.Flags, Timeout: s.Timeout})
		for _, d := range servers {
			add(ours, row{Service: name, Server: fmt.Sprint(d.Address, d.Port), Method: d.Method, Up: d.Upper, Down: d.Lower,
				Weight: int(d.Weight), Act: int(d.Active), Inact: int(d.Inactive)})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	services, err := h.GetServices()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range services {
		addr, _ := netip.AddrFromSlice(s.Address)
		name := fmt.Sprint(s.AddressFamily, s.Protocol, addr, s.Port, s.FWMark)
		if s.FWMark != 0 {
			name = fmt.Sprint(s.AddressFamily, s.FWMark)
		}
		add(theirs, row{Service: name, Scheduler: s.SchedName, Flags: s.Flags &^ genl.FlagHashed, Timeout: s.Timeout})
		servers, err := h.GetDestinations(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range servers {
			addr, _ := netip.AddrFromSlice(d.Address)
			add(theirs, row{Service: name, Server: fmt.Sprint(addr, d.Port), Method: d.ConnectionFlags, Up: d.UpperThreshold, Down: d.LowerThreshold,
				Weight: d.Weight, Act: d.ActiveConnections, Inact: d.InactiveConnections})
		}
	}
	if d := cmp.Diff(theirs, ours); d != "" || len(ours) == 0 {
		t.Errorf("the library reads another table (-library +genl):\n%s", d)
	}
}

func TestKernelInfo(t *testing.T) {
	c := needConn(t)
	info, err := c.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v := info.Version
	want := fmt.Sprintf("IP Virtual Server version %d.%d.%d (size=%d)", v>>16, v>>8&255, v&255, info.ConnSize)
	if first, _, _ := strings.Cut(ipvsadm(t, "-Ln"), "\n"); first != want {
		t.Errorf("Info = %q, ipvsadm says %q", want, first)
	}
}

func TestKernelTimeouts(t *testing.T) {
	table, c := needKernel(t), needConn(t)
	before, err := table.Timeouts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.SetTimeouts(context.Background(), before); err != nil {
			t.Error(err)
		}
	})
	for _, tt := range []struct {
		set  func() error
		want string
	}{
		{func() error {
			return table.SetTimeouts(t.Context(), ipvs.Timeouts{TCP: time.Hour, TCPFin: time.Minute, UDP: 10 * time.Second})
		}, "Timeout (tcp tcpfin udp): 3600 60 10"},
		{func() error { return table.SetTimeouts(t.Context(), ipvs.Timeouts{TCPFin: 24 * 24 * time.Hour}) }, "Timeout (tcp tcpfin udp): 3600 2073600 10"},
		{func() error {
			_, err := c.Do(t.Context(), []genl.Message{{Op: genl.SetConfig, Timeouts: genl.Timeouts{TCP: 7, TCPFin: 8}}})
			return err
		}, "Timeout (tcp tcpfin udp): 7 8 10"},
	} {
		if err := tt.set(); err != nil {
			t.Fatal(err)
		}
		to, err := table.Timeouts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		direct, err := c.Timeouts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := []string{
			strings.TrimSpace(ipvsadm(t, "-L", "--timeout")),
			fmt.Sprintf("Timeout (tcp tcpfin udp): %d %d %d", direct.TCP, direct.TCPFin, direct.UDP),
			fmt.Sprintf("Timeout (tcp tcpfin udp): %.0f %.0f %.0f", to.TCP.Seconds(), to.TCPFin.Seconds(), to.UDP.Seconds()),
		}
		if d := cmp.Diff([]string{tt.want, tt.want, tt.want}, got); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
}

// TestKernelDaemons starts and stops the synchronisation daemons.
func TestKernelDaemons(t *testing.T) {
	c := needConn(t)
	link(t, "up")
	stop := func() {
		for _, s := range []genl.DaemonState{genl.DaemonMaster, genl.DaemonBackup} {
			_, _ = c.Do(context.Background(), []genl.Message{{Op: genl.DelDaemon, Daemon: genl.Daemon{State: s}}})
		}
	}
	stop()
	t.Cleanup(stop)
	backup := genl.Daemon{State: genl.DaemonBackup, Interface: "lo", ID: 7, MaxLen: 1400, Group: netip.MustParseAddr("ff02::51"), Port: 9000, TTL: 3}
	done(t, c,
		genl.Message{Op: genl.NewDaemon, Daemon: genl.Daemon{State: genl.DaemonMaster, Interface: "lo", ID: 5}},
		genl.Message{Op: genl.NewDaemon, Daemon: backup})
	got, err := c.Daemons(t.Context())
	if err != nil || len(got) != 2 {
		t.Fatalf("Daemons = %+v, %v", got, err)
	}
	master := genl.Daemon{State: genl.DaemonMaster, Interface: "lo", ID: 5, MaxLen: got[0].MaxLen, Group: netip.MustParseAddr("224.0.0.81"), Port: 8848, TTL: 1}
	if d := cmp.Diff([]genl.Daemon{master, backup}, got, equalAddr); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	said := ipvsadm(t, "-L", "--daemon")
	for _, want := range []string{"master sync daemon (mcast=lo, syncid=5", "backup sync daemon (mcast=lo, syncid=7", "ff02::51"} {
		if !strings.Contains(said, want) {
			t.Errorf("ipvsadm sees another daemon, want %q:\n%s", want, said)
		}
	}
	if errs, err := c.Do(t.Context(), []genl.Message{{Op: genl.NewDaemon, Daemon: genl.Daemon{State: genl.DaemonMaster, Interface: "lo"}}}); err != nil || !errors.Is(errs[0], unix.EEXIST) {
		t.Errorf("a second master: %v, %v", errs, err)
	}

	// Families do not mix beside a daemon, and an operator reads why.
	table := ipvs.New()
	defer table.Close()
	web := directortest.Service(director.TCP, "192.0.2.1:80")
	key := director.Key{Service: web, Server: netip.MustParseAddrPort("[2001:db8::1]:80")}
	err = table.Apply(t.Context(), []director.Change[director.Key, director.Spec]{
		{Op: director.Create, Key: director.Key{Service: web}, New: director.Spec{Service: director.ServiceSpec{Scheduler: "rr"}}},
		{Op: director.Create, Key: key, New: director.Spec{Server: director.ServerSpec{Weight: 1, Forward: director.TUN}}},
	})
	if !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), "synchronisation daemon") {
		t.Errorf("mixed families beside a daemon: %v", err)
	}

	done(t, c, genl.Message{Op: genl.DelDaemon, Daemon: genl.Daemon{State: genl.DaemonMaster}})
	if got, err := c.Daemons(t.Context()); err != nil || len(got) != 1 || got[0] != backup {
		t.Errorf("after stopping the master: %+v, %v", got, err)
	}
	done(t, c, genl.Message{Op: genl.DelDaemon, Daemon: genl.Daemon{State: genl.DaemonBackup}})
	if got, err := c.Daemons(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("after stopping both: %+v, %v", got, err)
	}
}

func link(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", append([]string{"link", "set", "dev", "lo"}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// TestKernelStats sends something through a service of which this machine itself
// is the server.
func TestKernelStats(t *testing.T) {
	table, c := needKernel(t), needConn(t)
	link(t, "up")
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := netip.MustParseAddrPort(l.Addr().String())
	web := director.ServiceKey{Protocol: director.TCP, Address: addr}
	spec := director.ServiceSpec{Scheduler: "rr", Persistence: time.Minute}
	err = table.Apply(t.Context(), []director.Change[director.Key, director.Spec]{
		{Op: director.Create, Key: director.Key{Service: web}, New: director.Spec{Service: spec}},
		{Op: director.Create, Key: director.Key{Service: web, Server: addr}, New: director.Spec{Server: director.ServerSpec{Weight: 1, Forward: director.Local}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			_, err = io.CopyN(io.Discard, conn, 10_000)
		}
		sent <- err
	}()
	conn, err := net.Dial("tcp4", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(make([]byte, 10_000)); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	counters, err := table.Connections(t.Context(), web)
	if want := (director.Counters{Active: 1, Persistent: 1}); err != nil || counters[addr] != want {
		t.Errorf("Connections = %+v, %v, want %+v", counters, err, want)
	}
	all, err := table.Counters(t.Context())
	if key := (director.Key{Service: web, Server: addr}); err != nil || all[key] != counters[addr] {
		t.Errorf("Counters = %+v, %v, want the same", all, err)
	}
	id := webID(addr.Port())
	id.Address = addr.Addr()
	// The kernel adds its counters up every two seconds.
	look := func(ok func(genl.Stats) bool) (stats [2]genl.Stats) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			s, err := c.Service(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			d, err := c.Destinations(t.Context(), id)
			if err != nil || len(d) != 1 {
				t.Fatalf("Destinations = %+v, %v", d, err)
			}
			stats = [2]genl.Stats{s.Stats, d[0].Stats}
			if ok(stats[0]) && ok(stats[1]) {
				return stats
			}
			if time.Now().After(deadline) {
				t.Fatalf("after 10 s the counters are %+v", stats)
			}
		}
	}
	s := look(func(s genl.Stats) bool {
		return s.Connections == 1 && s.InPackets >= 3 && s.InBytes > 10_000 && s.InBytes < 20_000
	})[0]
	said := strings.Join(strings.Fields(ipvsadm(t, "-Ln", "--stats", "--exact")), " ")
	if want := fmt.Sprintf("%v %d %d %d %d %d", addr, s.Connections, s.InPackets, s.OutPackets, s.InBytes, s.OutBytes); !strings.Contains(said, want) {
		t.Errorf("ipvsadm does not count %q:\n%s", want, said)
	}
	for _, zero := range []genl.Message{{Op: genl.Zero, Service: genl.Service{ServiceID: id}}, {Op: genl.Zero}} {
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		look(func(s genl.Stats) bool { return s.InBytes > 0 })
		done(t, c, zero)
		look(func(s genl.Stats) bool { return s.InBytes == 0 })
	}
}
