package failover

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/site"
)

// TestKeepalived puts keepalived in the place of one director, for both
// versions and both places, and takes over both ways: by a cut link, by its
// return, and by a clean stop.
func TestKeepalived(t *testing.T) {
	for _, version := range []int{3, 2} {
		for _, peer := range []int{0, 1} { // where keepalived is; 0 is the better router
			t.Run(fmt.Sprintf("v%d/%s", version, []string{"keepalived above", "keepalived below"}[peer]), func(t *testing.T) {
				testKeepalived(t, version, peer)
			})
		}
	}
}

func testKeepalived(t *testing.T, version, peer int) {
	interval := 100 * time.Millisecond
	if version == 2 {
		interval = time.Second
	}
	s := site.New(t, site.Options{Interval: interval, Version: version, NoServices: true})
	vip := netip.MustParseAddr(site.VIP)
	ours := s.LB[1-peer]
	seen := s.ClientPort.Capture(lab.Protocol(112))
	holds := func(i int) bool { return s.LB[i].Node.Holds("eth0", vip) }
	masterIs := func(i int) func() bool {
		return func() bool { return holds(i) && !holds(1-i) }
	}
	limit := s.MasterDown() + 6*time.Second

	kd := s.StartKeepalived(peer)
	ours.Start()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("keepalived:\n%s", kd.Log())
		}
	})
	p := s.Client.Probe(s.Echo(), time.Millisecond)
	site.Eventually(t, limit, "the better router to be the only master", masterIs(0))
	begun := time.Now()
	site.Eventually(t, limit, "an answer", func() bool { return p.Answered(begun) })
	settled := time.Now()
	time.Sleep(4 * interval)

	s.LB[0].Port.Cut()
	cut := time.Now()
	site.Eventually(t, limit, "takeover after the cut", func() bool { return holds(1) })
	site.Eventually(t, limit, "an answer after the cut", func() bool { return p.Answered(cut.Add(10 * time.Millisecond)) })
	time.Sleep(2 * interval)
	r := p.Between(cut, time.Now())
	t.Logf("link cut: %v", r)
	// The client's gap is bound by our promise only where we take over.
	if bound := s.MasterDown() + site.Slack(); peer == 0 && r.Gap > bound {
		t.Errorf("link cut: gap %v, want at most %v", r.Gap, bound)
	}

	s.LB[0].Port.Mend()
	site.Eventually(t, limit, "preemption after the return", masterIs(0))
	time.Sleep(4 * interval)

	if peer == 0 {
		if err := kd.Stop(); err != nil {
			t.Fatal(err)
		}
	} else if err := ours.Stop(); err != nil {
		t.Fatal(err)
	}
	site.Eventually(t, limit, "takeover after the clean stop", masterIs(1))
	time.Sleep(4 * interval)

	// One after the other, never two at a time.
	var after []lab.Advert
	for _, a := range lab.Adverts(seen.Frames()) {
		if a.At.After(settled) {
			after = append(after, a)
			if int(a.Version) != version {
				t.Fatalf("an advertisement of version %d, want %d", a.Version, version)
			}
		}
	}
	addr := [2]netip.Addr{netip.MustParseAddr("10.51.0.11"), netip.MustParseAddr("10.51.0.12")}
	var order []netip.Addr
	rs := lab.Reigns(after, 51)
	for _, r := range rs {
		order = append(order, r.Source)
	}
	want := []netip.Addr{addr[0], addr[1], addr[0], addr[1]}
	if fmt.Sprint(order) != fmt.Sprint(want) {
		t.Errorf("masters heard: %v, want the order %v", rs, want)
	}
}
