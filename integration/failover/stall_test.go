package failover

import (
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/integration/site"
)

// TestMasterStalls freezes the master for longer than the master-down interval:
// the backup takes over and announces the addresses. When the first wakes up, it
// is still master by its own account, the backup yields to it, and the neighbours
// must learn that the addresses are back.
func TestMasterStalls(t *testing.T) {
	const interval = 100 * time.Millisecond
	s := site.New(t, site.Options{Interval: interval, NoServices: true})
	s.StartPair()
	p := s.Client.Probe(s.Echo(), time.Millisecond)
	begin := time.Now()
	site.Eventually(t, 2*time.Second, "an answer", func() bool { return p.Answered(begin) })
	time.Sleep(6 * time.Second) // the second burst of announcements is over
	vip := netip.MustParseAddr(site.VIP)
	s.LB[0].Signal(syscall.SIGSTOP)
	site.Eventually(t, 2*time.Second, "takeover", func() bool { return s.LB[1].Node.Holds("eth0", vip) })
	time.Sleep(interval)
	begin = time.Now()
	s.LB[0].Signal(syscall.SIGCONT)
	site.Eventually(t, 2*time.Second, "the second director to yield", func() bool { return !s.LB[1].Node.Holds("eth0", vip) })
	time.Sleep(3 * time.Second)
	r := p.Between(begin, time.Now())
	t.Log(r)
	if bound := interval + site.Slack(); r.Gap > bound {
		t.Errorf("after the return: longest gap %v, want at most %v", r.Gap, bound)
	}
}
