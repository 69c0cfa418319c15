package failover

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/integration/site"
)

// TestReloadGivesUpARouter drops a virtual router from the configuration of its
// master: the reload returns when the other director has it, and no probe is lost.
// Then it comes back, and is preempted without loss, too.
func TestReloadGivesUpARouter(t *testing.T) {
	const interval = 100 * time.Millisecond
	s := site.New(t, site.Options{Interval: interval, NoServices: true, Extra: `
[[vrrp]]
name = "other"
interface = "eth0"
vrid = 77
addresses = ["10.51.0.177/24"]
`})
	s.StartPair()
	p := s.Client.Probe(s.Echo(), time.Millisecond)
	begin := time.Now()
	site.Eventually(t, 2*time.Second, "an answer", func() bool { return p.Answered(begin) })
	vip := netip.MustParseAddr(site.VIP)

	full, err := os.ReadFile(s.LB[0].File)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(full), "\n[[vrrp]]\nname = \"web\"")
	_, other, ok2 := strings.Cut(rest, "\n[[vrrp]]\n")
	if !ok || !ok2 {
		t.Fatalf("no two virtual routers in\n%s", full)
	}
	begin = time.Now()
	s.LB[0].Write(head + "\n[[vrrp]]\n" + other)
	if err := s.LB[0].Reload(); err != nil {
		t.Fatal(err)
	}
	if !s.LB[1].Node.Holds("eth0", vip) {
		t.Error("the reload returned before the other director had the address")
	}
	site.Eventually(t, time.Second, "the address to leave the first director", func() bool { return !s.LB[0].Node.Holds("eth0", vip) })
	time.Sleep(5 * interval)
	if r := p.Between(begin, time.Now().Add(-100*time.Millisecond)); missed(r) || r.By["lb2"] == 0 {
		t.Errorf("given up: %v by %v", r, r.By)
	}

	begin = time.Now()
	s.LB[0].Write(string(full))
	if err := s.LB[0].Reload(); err != nil {
		t.Fatal(err)
	}
	site.Eventually(t, 5*time.Second, "preemption", func() bool {
		return s.LB[0].Node.Holds("eth0", vip) && !s.LB[1].Node.Holds("eth0", vip)
	})
	time.Sleep(5 * interval)
	if r := p.Between(begin, time.Now().Add(-100*time.Millisecond)); missed(r) || r.By["lb1"] == 0 {
		t.Errorf("taken back: %v by %v", r, r.By)
	}
}
