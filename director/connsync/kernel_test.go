package connsync

import (
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// TestKernelResync: a director comes back to a peer with connections, and gets
// them all, with their states, servers and times.
func TestKernelResync(t *testing.T) {
	p := newPair(t)
	p.a.services()
	p.b.services()
	p.a.start()
	p.a.await("daemons", 10*time.Second, func(r childReport) bool { return len(r.Status.Daemons) == 2 })
	made := p.traffic(t, 3)
	counted := p.a.await("count", 10*time.Second, func(r childReport) bool { return int(r.Status.Counts.Total) == made })
	if c := counted.Status.Counts; c.Synced != 0 || c.Lasting != 32+4 {
		t.Errorf("a counts %+v, want 36 lasting and none synced", c)
	}
	// What the kernel itself tells of them until then, nobody hears.
	time.Sleep(4 * time.Second)

	p.b.start()
	r := p.b.await("resync", 20*time.Second, func(r childReport) bool { return r.Status.Fetched.State == ResyncDone && r.Status.Ready })
	if r.Status.Reason != ReadySynced || int(r.Status.Fetched.Sent) != made || r.Status.Fetched.Omitted != 0 {
		t.Errorf("ready: %v, fetched %+v; want %d connections", r.Status.Reason, r.Status.Fetched, made)
	}
	t.Logf("resync of %d entries in %v", made, r.Status.Fetched.Ended.Sub(r.Status.Fetched.Began))
	have, want := p.b.entries(syncFile), p.a.entries(syncFile)
	if len(want) != made {
		t.Errorf("%d entries at a, want %d", len(want), made)
	}
	if d := cmp.Diff(comparables(want), comparables(have), compareAddrs); d != "" {
		t.Errorf("what b has of a's (-a +b):\n%s", d)
	}
	for k, e := range have {
		w := want[k]
		if !e.Synced {
			t.Errorf("%v is not from a peer", e)
		}
		low, high := int(w.Expires)-5, int(w.Expires)+5
		if e.Protocol == protoUDP && !e.Template() {
			high = 300 // as the kernel itself would have it
		} else if e.Protocol == protoTCP && e.State == tcpEstablished {
			high = 900
		}
		if int(e.Expires) < low || int(e.Expires) > high {
			t.Errorf("%v expires at b in %d s, at a in %d s", k, e.Expires, w.Expires)
		}
	}
	// The kernel of b has bound them to its own servers.
	if table := p.b.MustRun("ipvsadm", "-Ln"); fieldsOf(table, "10.8.0.21:80") != "-> 10.8.0.21:80 Masq 1 16 4" {
		t.Errorf("the table of b counts other connections:\n%s", table)
	}
}

func fieldsOf(table, server string) string {
	for line := range strings.Lines(table) {
		if strings.Contains(line, server+" ") {
			return strings.Join(strings.Fields(line), " ")
		}
	}
	return ""
}

// TestKernelSaysTheSame: of every connection a resync says what the kernel
// itself says of it.
func TestKernelSaysTheSame(t *testing.T) {
	p := newPair(t)
	p.a.services()
	heard := make(chan []byte, 1000)
	p.b.Must("listen", func() error {
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		c, err := net.ListenMulticastUDP("udp4", link, &net.UDPAddr{IP: net.IPv4(224, 0, 0, 81), Port: 8848})
		if err != nil {
			return err
		}
		t.Cleanup(func() { c.Close() })
		go func() {
			for {
				b := make([]byte, 65536)
				n, err := c.Read(b)
				if err != nil {
					return
				}
				heard <- b[:n]
			}
		}()
		return nil
	})
	p.a.start()
	p.a.await("daemons", 10*time.Second, func(r childReport) bool { return len(r.Status.Daemons) == 2 })
	made := p.traffic(t, 4)
	collect := func(within time.Duration) map[entryKey]Record {
		list := map[entryKey]Record{}
		end := time.After(within)
		for {
			select {
			case b := <-heard:
				id, records, err := parseMessage(b)
				if err != nil || id != 7 {
					t.Fatalf("id %d, %v: % x", id, err, b)
				}
				for _, r := range records {
					if r.Virtual != ProbeService {
						list[entryKey{r.Protocol, r.Client, r.Virtual}] = r
					}
				}
			case <-end:
				return list
			}
		}
	}
	p.a.await("count", 10*time.Second, func(r childReport) bool { return int(r.Status.Counts.Total) == made })
	kernel := collect(5 * time.Second)
	if len(kernel) != made {
		t.Errorf("the kernel tells of %d entries, %d were made", len(kernel), made)
	}
	// The other director only asks: it is not there to receive, so that the
	// records can be heard here.
	p.b.services()
	p.b.start()
	p.b.await("resync", 20*time.Second, func(r childReport) bool { return r.Status.Fetched.State == ResyncDone })
	ours := collect(time.Second)
	for k, r := range kernel {
		r.Timeout = ours[k].Timeout // judged by what the kernel makes of it
		kernel[k] = r
	}
	if d := cmp.Diff(kernel, ours, compareAddrs); d != "" {
		t.Errorf("(-kernel +ours):\n%s", d)
	}
}

// TestKernelProbe: a synthetic connection arrives, and does not where the
// kernels ignore each other; daemons that somebody stopped or started otherwise
// are put right, and all is gone at the end.
func TestKernelProbe(t *testing.T) {
	p := newPair(t)
	p.a.start()
	p.b.start()
	for _, d := range []*testDirector{p.a, p.b} {
		d.await("peer", 10*time.Second, func(r childReport) bool { return len(r.Status.Peers) == 1 && r.Status.Peers[0].Alive })
		d.await("readiness", 10*time.Second, func(r childReport) bool { return r.Status.Ready && r.Status.Reason == ReadySynced })
	}
	p.a.proc.Signal(syscall.SIGUSR1)
	// The signal is to the process that env has become.
	r := p.a.await("probe", 12*time.Second, func(r childReport) bool { return r.Probed == 1 })
	if r.Err != "" || len(r.Probes) != 1 || !r.Probes[0].Arrived || r.Probes[0].Lag <= 0 || r.Probes[0].Lag > 6*time.Second {
		t.Errorf("probe: %+v, %s", r.Probes, r.Err)
	}
	t.Logf("lag of a synthetic connection: %v", r.Probes)

	p.b.MustRun("ipvsadm", "--stop-daemon", "backup")
	p.b.MustRun("ipvsadm", "--start-daemon", "backup", "--mcast-interface", "eth1", "--syncid", "9")
	p.b.await("repair", 10*time.Second, func(r childReport) bool { return r.Status.Repairs == 2 && len(r.Status.Daemons) == 2 })
	if got := p.b.MustRun("ipvsadm", "-L", "--daemon"); strings.Count(got, "mcast=eth0, syncid=7") != 2 {
		t.Errorf("daemons of b after a repair:\n%s", got)
	}

	p.b.proc.Signal(syscall.SIGTERM)
	<-p.b.proc.Done()
	if got := p.b.MustRun("ipvsadm", "-L", "--daemon"); got != "" {
		t.Errorf("daemons of b after its end:\n%s", got)
	}
	if got := p.b.MustRun("ipvsadm", "-Sn"); got != "" {
		t.Errorf("table of b after its end:\n%s", got)
	}
	p.b.spec.Config.ID = 9
	p.b.start()
	p.b.await("peer", 10*time.Second, func(r childReport) bool { return len(r.Status.Peers) == 1 && r.Status.Peers[0].Alive })
	p.a.await("return", 10*time.Second, func(r childReport) bool {
		return len(r.Status.Peers) == 1 && r.Status.Peers[0].Alive && r.Status.Peers[0].ID == 9
	})
	p.a.proc.Signal(syscall.SIGUSR1)
	r = p.a.await("second probe", 14*time.Second, func(r childReport) bool { return r.Probed == 2 })
	if r.Err != "" || len(r.Probes) != 1 || r.Probes[0].Arrived {
		t.Errorf("with another sync id, probe: %+v, %s", r.Probes, r.Err)
	}
	if !slices.ContainsFunc(r.Status.Advice(), func(s string) bool { return strings.Contains(s, "has sync id 9 and this director has 7") }) {
		t.Errorf("advice: %q", r.Status.Advice())
	}
}

// TestKernelFollow: the master of a pair that follows only sends, so that it
// balances with backup_only as well, and the other one receives.
func TestKernelFollow(t *testing.T) {
	p := newPair(t)
	for _, d := range []*testDirector{p.a, p.b} {
		d.Sysctl("net.ipv4.vs.backup_only", "1")
		d.Sysctl("net.ipv4.vs.sync_refresh_period", "10") // what is advised in any case
		d.services()
		d.spec.Config.Follow = "web"
		d.start()
	}
	alone := func(s genl.DaemonState) func(childReport) bool {
		return func(r childReport) bool { return len(r.Status.Daemons) == 1 && r.Status.Daemons[0].State == s }
	}
	p.a.await("master daemon alone", 10*time.Second, alone(genl.DaemonMaster))
	p.b.await("backup daemon alone", 10*time.Second, alone(genl.DaemonBackup))
	made := p.traffic(t, 4)
	p.b.await("connections", 20*time.Second, func(r childReport) bool { return int(r.Status.Counts.Synced) == made })
	for _, d := range []*testDirector{p.a, p.b} {
		if list := d.report().Status.Advice(); len(list) > 0 {
			t.Errorf("%s advises %q", d.Name, list)
		}
	}
}

// TestKernelLink: the interface is not there at first, goes away and comes back.
func TestKernelLink(t *testing.T) {
	p := newPair(t)
	p.b.spec.Config.Interface = "sync0"
	p.b.start()
	p.b.await("error", 10*time.Second, func(r childReport) bool { return strings.Contains(r.Status.DaemonErr, "sync0") })
	add := func() {
		p.b.MustRun("ip", "link", "add", "sync0", "type", "dummy")
		p.b.MustRun("ip", "address", "add", "10.7.0.2/24", "dev", "sync0")
		p.b.MustRun("ip", "link", "set", "sync0", "up")
	}
	add()
	p.b.await("daemons", 15*time.Second, func(r childReport) bool { return len(r.Status.Daemons) == 2 && r.Status.DaemonErr == "" })
	p.b.await("socket", 15*time.Second, func(r childReport) bool { return r.Status.SocketErr == "" })
	p.b.MustRun("ip", "link", "del", "sync0")
	p.b.await("error", 15*time.Second, func(r childReport) bool { return strings.Contains(r.Status.DaemonErr, "sync0") })
	add()
	p.b.await("another start", 20*time.Second, func(r childReport) bool { return len(r.Status.Daemons) == 2 && r.Status.Repairs >= 4 })
}
