package failover

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/integration/bench"
	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/site"
)

// BenchmarkAnnouncement prints how long after its first advertisement a new master
// announces its first address and its last, with one address and with 200.
func BenchmarkAnnouncement(b *testing.B) {
	many, _ := manyAddresses()
	for _, addresses := range [][]string{{site.VIP + "/24"}, many} {
		b.Run(fmt.Sprint(len(addresses)), func(b *testing.B) {
			table := bench.New(b)
			table.Runs = 3
			name := fmt.Sprintf("advertisement to announcement of %d addresses: ", len(addresses))
			table.MeasureAll([]bench.Figure{{Name: name + "first", Unit: "µs"}, {Name: name + "last", Unit: "µs"}, {Name: "first, of the first takeover", Unit: "µs"}, {Name: "silence before it", Unit: "µs"}},
				func(tb *bench.Scene, p bench.Pair) []float64 { return announcement(tb, p, addresses) })
			table.Print()
		})
	}
}

// takeovers of one pair; the median counts.
const announcedTakeovers = 15

// announcement lets the second director take over again and again.
func announcement(tb *bench.Scene, p bench.Pair, addresses []string) []float64 {
	s := site.New(tb, site.Options{Interval: 10 * time.Millisecond, NoServices: true, Addresses: addresses})
	startBoth(tb, s, p)
	last := netip.MustParsePrefix(addresses[len(addresses)-1]).Addr()
	site.Eventually(tb, 10*time.Second, "all addresses on the master", func() bool { return s.LB[0].Node.Holds("eth0", last) })
	time.Sleep(time.Second)
	adverts, arps := s.LAN.Tap(lab.VRRP()), s.LAN.Tap(lab.ARP())
	var first, final, silence []float64
	for range announcedTakeovers {
		heard, told := adverts.Mark(), arps.Mark()
		midway(tb, adverts, 10*time.Millisecond) // which hears at least one
		cut := time.Now()
		s.LB[0].Port.Isolate()
		var begin, before time.Time
		var announced []time.Time // the first announcement of each address
		seen := map[netip.Addr]bool{}
		site.Eventually(tb, 5*time.Second, "announcements", func() bool {
			for _, a := range lab.Adverts(adverts.Since(heard)) {
				if a.From == s.LB[1].Port && begin.IsZero() {
					begin = a.At
				}
				if a.From == s.LB[0].Port && a.At.Before(cut) {
					before = a.At
				}
			}
			frames := arps.Since(told)
			told += len(frames)
			for _, f := range frames {
				for _, a := range lab.ARPs([]lab.Frame{f}) {
					if f.From == s.LB[1].Port && a.SenderAddr == a.TargetAddr && !seen[a.SenderAddr] {
						seen[a.SenderAddr] = true
						announced = append(announced, f.At)
					}
				}
			}
			return len(announced) >= len(addresses) && !begin.IsZero()
		})
		first = append(first, float64(announced[0].Sub(begin).Nanoseconds())/1000)
		final = append(final, float64(announced[len(announced)-1].Sub(begin).Nanoseconds())/1000)
		silence = append(silence, float64(begin.Sub(before).Nanoseconds())/1000)
		s.LB[0].Port.Rejoin()
		site.Eventually(tb, 5*time.Second, "the second director to stand by", func() bool { return !s.LB[1].Node.Holds("eth0", last) })
		time.Sleep(20 * time.Millisecond)
	}
	return []float64{bench.Median(first), bench.Median(final), first[0], bench.Median(silence)}
}
