package failover

import (
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/site"
)

// TestUpgrade replaces the daemons of a pair, one after the other and again: the
// client misses nothing, nobody takes over, and no advertisement is missing.
func TestUpgrade(t *testing.T) {
	const interval = 100 * time.Millisecond
	s := site.New(t, site.Options{Interval: interval, NoServices: true})
	s.StartPair()
	t.Cleanup(func() {
		for _, d := range s.LB { // the successors are no children of the lab
			_, _ = d.Node.Run("pkill", "-f", d.File)
		}
	})
	p := s.Client.Probe(s.Echo(), time.Millisecond)
	seen := s.ClientPort.Capture(lab.Protocol(112))
	begin := time.Now()
	site.Eventually(t, 2*time.Second, "an answer", func() bool { return p.Answered(begin) })
	begin = time.Now()
	for i := range 6 {
		d := s.LB[i%2]
		before, err := d.Status()
		if err != nil {
			t.Fatal(err)
		}
		out, err := d.Command("upgrade")
		if err != nil {
			t.Fatalf("upgrade: %v: %s", err, out)
		}
		t.Log(strings.TrimSpace(out))
		var after site.Status
		site.Eventually(t, 5*time.Second, "the new process to answer", func() bool {
			after, err = d.Status()
			return err == nil && after.PID != before.PID
		})
		if b, a := before.Routers[0], after.Routers[0]; b.State != a.State || b.Takeovers != a.Takeovers || b.Since.Sub(a.Since).Abs() > time.Millisecond {
			t.Errorf("%s was %s since %v, takeovers %d, and is %s since %v, takeovers %d", d.Node.Name, b.State, b.Since, b.Takeovers, a.State, a.Since, a.Takeovers)
		}
		time.Sleep(5 * interval)
	}
	end := time.Now()
	if r := p.Between(begin, end.Add(-200*time.Millisecond)); missed(r) || r.Sent < 1000 {
		t.Errorf("over six upgrades: %v", r)
	} else {
		t.Log(r)
	}
	var last time.Time
	var gap time.Duration
	for _, a := range lab.Adverts(seen.Frames()) {
		if a.At.Before(begin) {
			continue // the capture begins before its filter
		}
		if a.Source != netip.MustParseAddr("10.51.0.11") {
			t.Errorf("%v advertised %v after the start: %+v", a.Source, a.At.Sub(begin), a)
		}
		if !last.IsZero() {
			gap = max(gap, a.At.Sub(last))
		}
		last = a.At
	}
	t.Logf("longest time between two advertisements: %v", gap)
	if limit := interval + interval/2 + site.Slack(); gap > limit {
		t.Errorf("longest time between two advertisements: %v, want at most %v", gap, limit)
	}

	// A program that cannot run the configuration changes nothing.
	config, err := os.ReadFile(s.LB[0].File)
	if err != nil {
		t.Fatal(err)
	}
	before, err := s.LB[0].Status()
	if err != nil {
		t.Fatal(err)
	}
	s.LB[0].Write(string(config) + "\nnonsense = 1\n")
	out, err := s.LB[0].Node.Run(site.Binary(), "upgrade", "--socket", s.LB[0].Socket())
	if err == nil || !strings.Contains(out+err.Error(), "nonsense") {
		t.Errorf("with a configuration that cannot be used: %v: %s", err, out)
	}
	after, err := s.LB[0].Status()
	if err != nil || after.PID != before.PID || after.Routers[0].State != "master" {
		t.Errorf("after an upgrade that failed: process %d is %d, %v", before.PID, after.PID, err)
	}
	// And it can still be stopped.
	if err := syscall.Kill(after.PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	site.Eventually(t, 10*time.Second, "the daemon to end", func() bool { return syscall.Kill(after.PID, 0) != nil })
}
