package connsync

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/integration/lab"
)

// The tests in this file want root and a kernel with IPVS: integration runs this
// package's test binary in a kernel of its own. Every director in them is a
// child process in a network namespace; childVariable holds what it is told.
const (
	childVariable = "UNDERSTUDY_CONNSYNC_TEST_CHILD"
	kernelEnv     = "UNDERSTUDY_TEST_IPVS"
)

func TestMain(m *testing.M) {
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/usr/bin:/sbin:/bin")
	if text := os.Getenv(childVariable); text != "" {
		if err := child(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// childSpec is what a child is told.
type childSpec struct {
	Config Config
	File   string // the status is written there
	Master bool
}

// childReport is what a child writes.
type childReport struct {
	Status Status
	Probes []PeerProbe // of the last probe, which SIGUSR1 asks for
	Err    string
	Probed int
}

// child runs a Sync until SIGTERM and writes its status again and again.
func child(text string) error {
	var spec childSpec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	s := New(Options{Master: func(string) bool { return spec.Master }})
	s.Set(&spec.Config)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var mu sync.Mutex
	var report childReport
	for {
		select {
		case err := <-done:
			return err
		case <-asked:
			go func() {
				ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
				defer cancel()
				list, err := s.Probe(ctx)
				mu.Lock()
				defer mu.Unlock()
				report.Probes, report.Err, report.Probed = list, "", report.Probed+1
				if err != nil {
					report.Err = err.Error()
				}
			}()
		case <-time.After(100 * time.Millisecond):
		}
		mu.Lock()
		report.Status = s.Status()
		b, err := json.Marshal(report)
		mu.Unlock()
		if err == nil {
			err = os.WriteFile(spec.File+".new", b, 0o600)
		}
		if err == nil {
			err = os.Rename(spec.File+".new", spec.File)
		}
		if err != nil {
			return err
		}
	}
}

// testDirector is a node with a child.
type testDirector struct {
	*lab.Node
	t    *testing.T
	spec childSpec
	proc *lab.Process
}

func testConfig(name string) Config {
	return Config{Interface: "eth0", ID: 7, Group: netip.MustParseAddr("224.0.0.81"), Port: 8848, TTL: 1, BeaconPort: 8849, Secret: "s", Name: name}
}

func (d *testDirector) start() {
	d.t.Helper()
	_ = os.Remove(d.spec.File)
	b, err := json.Marshal(d.spec)
	if err != nil {
		d.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		d.t.Fatal(err)
	}
	d.proc = d.Start(d.Name+".log", "env", childVariable+"="+string(b), self)
}

func (d *testDirector) report() childReport {
	var r childReport
	b, err := os.ReadFile(d.spec.File)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return childReport{}
	}
	return r
}

// await waits until the child's report is as it should be.
func (d *testDirector) await(what string, within time.Duration, f func(childReport) bool) childReport {
	d.t.Helper()
	end := time.Now().Add(within)
	for {
		r := d.report()
		if f(r) {
			return r
		}
		if time.Now().After(end) {
			b, _ := json.MarshalIndent(r, "", " ")
			d.t.Fatalf("%s: no %s within %v; it reports:\n%s\nadvice: %q", d.Name, what, within, b, r.Status.Advice())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// entryKey names a connection.
type entryKey struct {
	Protocol        uint8
	Client, Virtual netip.AddrPort
}

// entries lists the kernel's table of connections, without probes.
func (d *testDirector) entries(file string) map[entryKey]Entry {
	d.t.Helper()
	list := map[entryKey]Entry{}
	d.Must("read the table of connections", func() error {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		odd, err := scan(f, file == syncFile, func(e *Entry) error {
			if e.Virtual != ProbeService {
				key := entryKey{e.Protocol, e.Client, e.Virtual}
				if was, ok := list[key]; ok {
					return fmt.Errorf("two entries of %v: %v and %v", key, was, *e)
				}
				list[key] = *e
			}
			return nil
		})
		if odd > 0 {
			return fmt.Errorf("%d lines not understood", odd)
		}
		return err
	})
	return list
}

// pair is two directors on a LAN with a client, and a real server behind them.
type pair struct {
	lab    *lab.Lab
	a, b   *testDirector
	client *lab.Node
}

func newPair(t *testing.T) *pair {
	t.Helper()
	if os.Getenv(kernelEnv) == "" || os.Getuid() != 0 {
		t.Skip("needs root and a kernel with IPVS: set " + kernelEnv + " where there are")
	}
	if _, err := netlink.GenlFamilyGet("IPVS"); err != nil {
		t.Skipf("needs a kernel with IPVS: %v", err)
	}
	if _, err := exec.LookPath("ipvsadm"); err != nil {
		t.Fatal("needs ipvsadm as a witness: apt-get install ipvsadm")
	}
	p := &pair{lab: lab.New(t)}
	lan, inside := p.lab.Switch("lan"), p.lab.Switch("inside")
	p.client = p.lab.Node("client")
	atOnce(p.client)
	lan.Connect(p.client, "eth0", "10.9.0.10/24", "fd09::10/64")
	for i, to := range []**testDirector{&p.a, &p.b} {
		name := string(rune('a' + i))
		d := &testDirector{Node: p.lab.Node(name), t: t}
		d.spec = childSpec{Config: testConfig(name), File: filepath.Join(p.lab.Dir(), name+".json"), Master: i == 0}
		atOnce(d.Node)
		lan.Connect(d.Node, "eth0", fmt.Sprintf("10.9.0.%d/24", 1+i), fmt.Sprintf("fd09::%d/64", 1+i))
		inside.Connect(d.Node, "eth1", fmt.Sprintf("10.8.0.%d/24", 1+i), fmt.Sprintf("fd08::%d/64", 1+i))
		d.Sysctl("net.ipv4.ip_forward", "1")
		d.Sysctl("net.ipv6.conf.all.forwarding", "1")
		*to = d
	}
	p.a.Address("eth0", "10.9.0.100/32")
	p.a.Address("eth0", "fd09::100/128")
	server := p.lab.Node("server")
	atOnce(server)
	inside.Connect(server, "eth0", "10.8.0.21/24", "fd08::21/64")
	server.Route("default", "10.8.0.1")
	server.Route("::/0", "fd08::1")
	server.Must("serve", func() error { return holdAll(t, "10.8.0.21:80", "10.8.0.21:81") })
	return p
}

// atOnce lets a node use its IPv6 addresses without looking for others that have
// them; until then packets wait, and some are lost.
func atOnce(n *lab.Node) {
	n.Sysctl("net.ipv6.conf.all.accept_dad", "0")
	n.Sysctl("net.ipv6.conf.default.accept_dad", "0")
}

// holdAll accepts connections and keeps them, whatever the client does.
func holdAll(t *testing.T, addresses ...string) error {
	for _, a := range addresses {
		ln, err := net.Listen("tcp4", a)
		if err != nil {
			return err
		}
		t.Cleanup(func() { ln.Close() })
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				t.Cleanup(func() { c.Close() })
			}
		}()
	}
	return nil
}

// services gives a director its table.
func (d *testDirector) services() {
	for line := range strings.SplitSeq(strings.TrimSpace(`
-A -t 10.9.0.100:80 -s rr
-a -t 10.9.0.100:80 -r 10.8.0.21:80 -m
-A -t 10.9.0.100:81 -s rr -p 300
-a -t 10.9.0.100:81 -r 10.8.0.21:81 -m
-A -u 10.9.0.100:53 -s rr
-a -u 10.9.0.100:53 -r 10.8.0.21:53 -g
-A -u 10.9.0.100:0 -s rr -p 200
-a -u 10.9.0.100:0 -r 10.8.0.21:0 -i
-A -f 7 -s rr -p 100
-a -f 7 -r 10.8.0.21:0 -g
-A -f 8 -s rr
-a -f 8 -r 10.8.0.22:0 -g
-A -u [fd09::100]:53 -s rr -p 250
-a -u [fd09::100]:53 -r [fd08::21]:53 -m`), "\n") {
		d.MustRun("ipvsadm", strings.Fields(line)...)
	}
}

// traffic makes connections through a of every kind that there is, and returns
// how many entries they make, templates included.
func (p *pair) traffic(t *testing.T, packets int) int {
	t.Helper()
	entries := 0
	p.client.Must("connect", func() error {
		for i := range 40 {
			c, err := net.DialTimeout("tcp4", fmt.Sprintf("10.9.0.100:%d", 80+i%2), 5*time.Second)
			if err != nil {
				return err
			}
			t.Cleanup(func() { c.Close() })
			entries++
			for range packets {
				if _, err := c.Write([]byte("x")); err != nil {
					return err
				}
				time.Sleep(time.Millisecond) // so that each is a segment
			}
			if i%5 == 4 {
				_ = c.(*net.TCPConn).CloseWrite()
			}
		}
		entries++ // the template of port 81
		for i := range 10 {
			for _, to := range []string{"10.9.0.100:53", "10.9.0.100:5353", "[fd09::100]:53"} {
				if err := sendUDP(to, 0, packets); err != nil {
					return err
				}
				entries++
			}
			if i == 0 {
				entries += 2
			}
		}
		return nil
	})
	p.a.Must("send with marks", func() error {
		for mark := 7; mark <= 8; mark++ {
			if err := sendUDP("10.8.0.99:99", mark, packets); err != nil {
				return err
			}
			entries++
		}
		entries++
		return nil
	})
	return entries
}

func sendUDP(to string, mark, packets int) error {
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			if mark != 0 {
				failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark)
			}
		})
		if err != nil {
			return err
		}
		return failed
	}}
	c, err := d.Dial("udp", to)
	if err != nil {
		return err
	}
	defer c.Close()
	for range packets + 1 {
		_, _ = c.Write([]byte("x")) // nobody answers, which is an error of the next
	}
	return nil
}

// comparable makes entries of two kernels comparable.
func comparables(list map[entryKey]Entry) map[entryKey]Entry {
	out := map[entryKey]Entry{}
	for k, e := range list {
		e.Expires, e.Synced = 0, false
		out[k] = e
	}
	return out
}

var compareAddrs = cmp.Options{
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
}
