package failover

import (
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/integration/lab"
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

// TestStalledForFiveSeconds freezes a director for 5 s, fifty intervals: a backup
// seizes nothing when it wakes up, and a master that is not the better router any
// more gives way before it has sent more than one advertisement.
func TestStalledForFiveSeconds(t *testing.T) {
	const (
		interval = 100 * time.Millisecond
		stall    = 5 * time.Second
	)
	asleep := func(d *site.Director) {
		d.Signal(syscall.SIGSTOP)
		time.Sleep(stall)
	}
	sent := func(heard *lab.Tap, mark int, node string) int {
		count := 0
		for _, a := range lab.Adverts(heard.Since(mark)) {
			if a.From.Node.Name == node {
				count++
			}
		}
		return count
	}

	t.Run("backup", func(t *testing.T) {
		t.Parallel()
		s := site.New(t, site.Options{Interval: interval, NoServices: true})
		s.StartPair()
		heard := s.LAN.Tap(lab.VRRP())
		asleep(s.LB[1])
		s.LB[1].Signal(syscall.SIGCONT)
		time.Sleep(s.MasterDown() + 5*interval)
		if k := sent(heard, 0, "lb2"); k > 0 {
			t.Errorf("the backup has sent %d advertisements", k)
		}
		if k := sent(heard, 0, "lb1"); k < 50 {
			t.Errorf("the master has sent %d advertisements in more than 5 s", k)
		}
		if state := s.LB[1].State(); state != "backup" {
			t.Errorf("the backup is %s", state)
		}
	})

	t.Run("worse master", func(t *testing.T) {
		t.Parallel()
		s := site.New(t, site.Options{Interval: interval, NoServices: true})
		heard := s.LAN.Tap(lab.VRRP())
		vip := s.VIP()
		s.LB[1].Start()
		site.Eventually(t, 5*time.Second, "the worse master", func() bool { return s.LB[1].Node.Has(vip) && heard.Mark() > 0 })
		s.LB[1].Signal(syscall.SIGSTOP)
		s.LB[0].Start()
		time.Sleep(stall)
		if s.LB[0].State() != "master" || sent(heard, 0, "lb1") == 0 {
			t.Fatalf("the better router is %s", s.LB[0].State())
		}
		mark := heard.Mark()
		s.LB[1].Signal(syscall.SIGCONT)
		site.Eventually(t, 2*time.Second, "the worse one to give way", func() bool { return s.LB[1].State() == "backup" && !s.LB[1].Node.Has(vip) })
		time.Sleep(5 * interval)
		if k := sent(heard, mark, "lb2"); k > 1 {
			t.Errorf("the stalled master has sent %d advertisements after it woke up, want at most one", k)
		} else {
			t.Logf("%d advertisements of the stalled master after it woke up", k)
		}
	})

	// The better router has been away, not beaten: it is master again, and the
	// other gives way to its first advertisement.
	t.Run("better master", func(t *testing.T) {
		t.Parallel()
		s := site.New(t, site.Options{Interval: interval, NoServices: true})
		s.StartPair()
		heard := s.LAN.Tap(lab.VRRP())
		vip := s.VIP()
		asleep(s.LB[0])
		if !s.LB[1].Node.Has(vip) {
			t.Fatal("nobody took over")
		}
		mark := heard.Mark()
		s.LB[0].Signal(syscall.SIGCONT)
		site.Eventually(t, 2*time.Second, "the worse one to give way", func() bool { return s.LB[1].State() == "backup" && !s.LB[1].Node.Has(vip) })
		time.Sleep(5 * interval)
		after := lab.Reigns(lab.Adverts(heard.Since(mark)), 51)
		if len(after) == 0 || after[len(after)-1].Node != "lb1" || len(after) > 2 || len(after) == 2 && after[0].Adverts > 1 {
			t.Errorf("masters heard after it woke up: %v, want lb1 after at most one advertisement of lb2", after)
		}
	})
}
