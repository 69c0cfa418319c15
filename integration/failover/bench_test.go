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

// BenchmarkHostDeath prints how long a client waits when the master's link is
// cut, with either pair.
func BenchmarkHostDeath(b *testing.B) {
	for _, interval := range intervals {
		b.Run(interval.String(), func(b *testing.B) {
			table := bench.New(b)
			table.Runs = 7
			table.Measure(fmt.Sprintf("link cut at %v: longest gap", interval), func(tb *bench.Scene, p bench.Pair) float64 {
				return gap(tb, p, interval, func(s *site.Site) { s.LB[0].Port.Cut() })
			})
			table.Print()
		})
	}
}

// BenchmarkBesideKeepalived prints what a client misses with either pair.
func BenchmarkBesideKeepalived(b *testing.B) {
	table := bench.New(b)
	for _, interval := range intervals {
		table.Measure(fmt.Sprintf("clean stop at %v: longest gap", interval), func(tb *bench.Scene, p bench.Pair) float64 {
			return gap(tb, p, interval, func(s *site.Site) {
				if err := p.Stop(s); err != nil {
					tb.Fatalf("%v", err)
				}
			})
		})
	}
	table.Measure("host cut off at 100ms, 200 addresses: until the last answers", lastAddress)
	table.Print()
}

// startBoth starts a pair and waits until the first holds the address.
func startBoth(tb *bench.Scene, s *site.Site, p bench.Pair) {
	for i := range s.LB {
		p.Start(s, i)
	}
	first := netip.MustParsePrefix(s.Options.Addresses[0]).Addr()
	site.Eventually(tb, 20*time.Second, "a master", func() bool {
		return s.LB[0].Node.Holds("eth0", first) && !s.LB[1].Node.Holds("eth0", first)
	})
}

// midway waits until half an interval after an advertisement: how long the peer
// still waits for the next one is then the same each time.
func midway(tb *bench.Scene, heard *lab.Tap, interval time.Duration) {
	mark := heard.Mark()
	for end := time.Now().Add(3*interval + time.Second); ; time.Sleep(100 * time.Microsecond) {
		if frames := heard.Since(mark); len(frames) > 0 {
			time.Sleep(time.Until(frames[0].At.Add(interval / 2)))
			return
		}
		if time.Now().After(end) {
			tb.Fatalf("no advertisement is heard")
		}
	}
}

// gap is the longest time without an answer that a client sees when the master
// is broken.
func gap(tb *bench.Scene, p bench.Pair, interval time.Duration, breakIt func(*site.Site)) float64 {
	s := site.New(tb, site.Options{Interval: interval, NoServices: true})
	startBoth(tb, s, p)
	heard := s.LAN.Tap(lab.VRRP())
	probe := s.Client.Probe(s.Echo(), min(time.Millisecond, interval/50))
	begin := time.Now()
	site.Eventually(tb, 5*time.Second, "an answer", func() bool { return probe.Answered(begin) })
	midway(tb, heard, interval)
	begin = time.Now()
	breakIt(s)
	vip := netip.MustParseAddr(site.VIP)
	site.Eventually(tb, s.MasterDown()+5*time.Second, "takeover", func() bool { return s.LB[1].Node.Holds("eth0", vip) })
	held := time.Now()
	site.Eventually(tb, 5*time.Second, "an answer of the new master", func() bool { return probe.Answered(held) })
	time.Sleep(100 * time.Millisecond)
	return float64(probe.Between(begin, time.Now()).Gap.Microseconds()) / 1000
}

// lastAddress is the time from the cut, which the old master does not notice, until the new master has answered for
// each of 200 addresses.
func lastAddress(tb *bench.Scene, p bench.Pair) float64 {
	addresses, all := manyAddresses()
	s := site.New(tb, site.Options{Interval: 100 * time.Millisecond, NoServices: true, Addresses: addresses})
	s.Client.Address("eth0", "10.51.200.1/16")
	startBoth(tb, s, p)
	last := netip.MustParsePrefix(addresses[len(addresses)-1]).Addr()
	site.Eventually(tb, 10*time.Second, "all addresses on the master", func() bool { return s.LB[0].Node.Holds("eth0", last) })
	time.Sleep(time.Second)
	c := s.ClientPort.Capture(lab.ARP())
	begin := time.Now()
	s.LB[0].Port.Isolate()
	return float64(answered(tb, s, c, all).Sub(begin).Microseconds()) / 1000
}
