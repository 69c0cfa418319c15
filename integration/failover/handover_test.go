package failover

import (
	"testing"
	"time"

	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/site"
	"github.com/understudy-ha/understudy/integration/vm"
)

// intervals are those that handovers and failovers are judged at.
var intervals = []time.Duration{time.Second, 100 * time.Millisecond, 10 * time.Millisecond}

// TestHandover lets the master hand over to the other and that one back, by
// command and by a clean stop, and demands that the client misses nothing.
func TestHandover(t *testing.T) { testHandover(t, site.Options{}) }

func testHandover(t *testing.T, o site.Options) {
	for _, interval := range intervals {
		t.Run(interval.String(), func(t *testing.T) {
			o := o
			o.Interval, o.NoServices = interval, true
			// Neither preempts, so that each is the successor in its turn.
			o.Router += "preempt = false\n"
			s := site.New(t, o)
			// One after the other: who is up sooner is master.
			s.LB[0].Start()
			if err := succeeded(s, 0); err != nil {
				t.Fatal(err)
			}
			s.LB[1].Start()
			if err := standsBy(s, 1); err != nil {
				t.Fatal(err)
			}
			heard := s.LAN.Tap(lab.VRRP())
			p := s.Client.Probe(s.Echo(), time.Millisecond)
			s.Answers(p, 2*time.Second)
			time.Sleep(max(interval, 100*time.Millisecond))
			const times = 4
			begin := time.Now()
			for i := range times {
				if err := s.LB[i%2].Handover("web"); err != nil {
					t.Fatal(err)
				}
				if err := succeeded(s, 1-i%2); err != nil {
					t.Fatal(err)
				}
			}
			judgeLoss(t, "handover", times, p.Between(begin, time.Now()))
			begin = time.Now()
			for i := range times {
				if err := s.LB[i%2].Stop(); err != nil {
					t.Fatal(err)
				}
				if err := succeeded(s, 1-i%2); err != nil {
					t.Fatal(err)
				}
				s.LB[i%2].Start()
				if err := standsBy(s, i%2); err != nil {
					t.Fatal(err)
				}
			}
			judgeLoss(t, "clean stop", times, p.Between(begin, time.Now()))
			if reigns := lab.Reigns(lab.Adverts(heard.Frames()), 51); len(reigns) != 2*times+1 {
				t.Errorf("masters heard: %v, want %d reigns", reigns, 2*times+1)
			}
		})
	}
}

func judgeLoss(t *testing.T, what string, times int, r lab.Report) {
	t.Helper()
	t.Logf("%d × %s: %v", times, what, r)
	if missed(r) || r.Sent == 0 {
		t.Errorf("%d × %s: %v, want no loss", times, what, r)
	}
}

// missed reports whether a client has missed something. In the user-mode kernel all
// hosts share one processor, and a probe is lost when its host does not get it in
// time: there a gap tells.
func missed(r lab.Report) bool {
	if vm.Inside() {
		return r.Gap > site.Slack()
	}
	return r.Lost > 0
}

// succeeded waits until a director alone has the address.
func succeeded(s *site.Site, i int) error {
	return site.Wait(s.MasterDown()+10*time.Second, s.LB[i].Node.Name+" to be the only master", func() bool {
		return s.LB[i].Node.Has(s.VIP()) && !s.LB[1-i].Node.Has(s.VIP())
	})
}

// standsBy waits until a director that was started has heard the master.
func standsBy(s *site.Site, i int) error {
	return site.Wait(s.MasterDown()+10*time.Second, s.LB[i].Node.Name+" to stand by", func() bool {
		status, err := s.LB[i].Status()
		return err == nil && len(status.Routers) == 1 && status.Routers[0].State == "backup" && status.Routers[0].Received > 0
	})
}
