package integration

import (
	"net/netip"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/site"
)

// TestForwarding shows for each forwarding method that requests through the VIP
// reach every server, that the server sees the client's own address, and which
// way the answers go.
func TestForwarding(t *testing.T) {
	for _, forward := range []string{"dr", "nat", "tun"} {
		t.Run(forward, func(t *testing.T) {
			s := site.New(t, site.Options{Forward: forward, Interval: 100 * time.Millisecond})
			answers := make([]*lab.Capture, 0, len(s.LB))
			for _, d := range s.LB {
				answers = append(answers, d.Port.Capture(lab.ProtocolFrom(6, netip.MustParseAddr(site.VIP))))
			}
			s.StartPair()
			by := map[string]int{}
			const requests = 30
			for range requests {
				a, err := s.Client.Get(s.URL(), 2*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				if a.Client != site.ClientIP {
					t.Fatalf("server %s sees client %s, want %s", a.Server, a.Client, site.ClientIP)
				}
				by[a.Server]++
			}
			for _, n := range s.Servers {
				if by[n.Name] != requests/3 {
					t.Errorf("round robin of %d requests: %v", requests, by)
					break
				}
			}
			passed := 0
			for _, c := range answers {
				passed += len(c.Frames())
			}
			// The capture is known to work: with NAT it must see every answer.
			switch {
			case forward == "nat" && passed < requests:
				t.Errorf("%d packets from the VIP passed the directors, want at least one for each of %d requests", passed, requests)
			case forward != "nat" && passed != 0:
				t.Errorf("%d packets from the VIP passed the directors, want none", passed)
			}
			if r := reply(t, s); r != nil {
				t.Error(r)
			}
		})
	}
}

// reply checks that the probing service answers as well.
func reply(t *testing.T, s *site.Site) error {
	t.Helper()
	begin := time.Now()
	p := s.Client.Probe(s.Echo(), time.Millisecond)
	defer p.Stop()
	return site.Wait(2*time.Second, "an answer to a UDP probe", func() bool { return p.Answered(begin) })
}
