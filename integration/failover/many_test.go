package failover

import (
	"bytes"
	"fmt"
	"net/netip"
	"time"

	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/site"
)

// answered asks for each address, from when the second director holds the last of
// them, and returns when the last one was answered. It asks seldom, so that
// asking takes little from a machine that all hosts share.
func answered(tb lab.TB, s *site.Site, c *lab.Capture, all map[netip.Addr]bool) time.Time {
	tb.Helper()
	asker := s.ClientPort.Asker()
	mac := s.LB[1].Port.HWAddr()
	final := netip.MustParsePrefix(s.Options.Addresses[len(s.Options.Addresses)-1]).Addr()
	replied := map[netip.Addr]bool{}
	var last, asked time.Time
	seen := 0
	if err := site.Wait(10*time.Second, "an answer for every address", func() bool {
		frames := c.Since(seen)
		seen += len(frames)
		for _, a := range lab.ARPs(frames) {
			// An answer to us, not an announcement: its target is the asker.
			if a.Op == 2 && a.TargetAddr != a.SenderAddr && bytes.Equal(a.Sender[:], mac) && all[a.SenderAddr] && !replied[a.SenderAddr] {
				replied[a.SenderAddr] = true
				last = a.At
			}
		}
		switch {
		case len(replied) == len(all):
			return true
		case asked.IsZero() && !s.LB[1].Node.Holds("eth0", final), time.Since(asked) < 30*time.Millisecond:
			return false
		}
		asked = time.Now()
		for a := range all {
			if !replied[a] {
				asker.Ask(a)
			}
		}
		return false
	}); err != nil {
		tb.Fatalf("%v: %d answered", err, len(replied))
	}
	return last
}

// manyAddresses returns 200 addresses, with prefix lengths and as a set.
func manyAddresses() ([]string, map[netip.Addr]bool) {
	var list []string
	all := map[netip.Addr]bool{}
	for i := range 200 {
		p := fmt.Sprintf("10.51.%d.%d/16", 1+i/100, 1+i%100)
		list = append(list, p)
		all[netip.MustParsePrefix(p).Addr()] = true
	}
	return list, all
}
