package integration

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/site"
)

// runs is how often each figure is taken; the median counts.
const runs = 5

// scene is the lab.TB of one run: it cleans up when the run is over, not when
// the benchmark is.
type scene struct {
	*testing.B
	cleanups []func()
}

func (s *scene) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

func (s *scene) close() {
	for _, f := range slices.Backward(s.cleanups) {
		f()
	}
	s.cleanups = nil
}

// pairOf is a pair of directors of one kind.
type pairOf struct {
	start func(s *site.Site, i int)
	stop  func(s *site.Site) error // the better one, cleanly
}

func contestants() (ours, theirs pairOf) {
	var kd *site.Keepalived
	ours = pairOf{
		start: func(s *site.Site, i int) { s.LB[i].Start() },
		stop:  func(s *site.Site) error { return s.LB[0].Stop() },
	}
	theirs = pairOf{
		start: func(s *site.Site, i int) {
			if k := s.StartKeepalived(i); i == 0 {
				kd = k
			}
		},
		stop: func(*site.Site) error { return kd.Stop() },
	}
	return ours, theirs
}

// row is one line of the table: figures of both, in milliseconds.
type row struct {
	name         string
	ours, theirs []float64
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// BenchmarkBesideKeepalived prints what a client misses and how long the kernel
// waits with either pair of directors, in the same lab, one run of each in turn.
func BenchmarkBesideKeepalived(b *testing.B) {
	var rows []row
	measure := func(name string, one func(tb *scene, p pairOf) float64) {
		r := row{name: name}
		ours, theirs := contestants()
		for range runs {
			for _, c := range []struct {
				p    pairOf
				into *[]float64
			}{{ours, &r.ours}, {theirs, &r.theirs}} {
				tb := &scene{B: b}
				*c.into = append(*c.into, one(tb, c.p))
				tb.close()
			}
		}
		fmt.Printf("%s: understudy %.0f, keepalived %.0f ms\n", r.name, r.ours, r.theirs)
		rows = append(rows, r)
	}
	for _, interval := range []time.Duration{time.Second, 100 * time.Millisecond, 10 * time.Millisecond} {
		measure(fmt.Sprintf("link cut at %v: longest gap", interval), func(tb *scene, p pairOf) float64 {
			return gap(tb, p, interval, func(s *site.Site) { s.LB[0].Port.Cut() })
		})
		measure(fmt.Sprintf("clean stop at %v: longest gap", interval), func(tb *scene, p pairOf) float64 {
			return gap(tb, p, interval, func(s *site.Site) {
				if err := p.stop(s); err != nil {
					tb.Fatalf("%v", err)
				}
			})
		})
	}
	measure("link cut at 100ms, 200 addresses: until the last answers", lastAddress)
	measure("1,000 services × 10 servers: empty to full table", fullTable)

	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\nmedians of %d\tunderstudy\tkeepalived\tratio\t\n", runs)
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%.0f ms\t%.0f ms\t%.2f\t\n", r.name, median(r.ours), median(r.theirs), median(r.ours)/median(r.theirs))
	}
	_ = w.Flush()
}

// startBoth starts a pair and waits until the first holds the address.
func startBoth(tb *scene, s *site.Site, p pairOf) {
	for i := range s.LB {
		p.start(s, i)
	}
	first := netip.MustParsePrefix(s.Options.Addresses[0]).Addr()
	if err := site.Wait(20*time.Second, "a master", func() bool {
		return s.LB[0].Node.Holds("eth0", first) && !s.LB[1].Node.Holds("eth0", first)
	}); err != nil {
		tb.Fatalf("%v", err)
	}
}

// gap is the longest time without an answer that a client sees when the master
// is broken.
func gap(tb *scene, p pairOf, interval time.Duration, breakIt func(*site.Site)) float64 {
	s := site.New(tb, site.Options{Interval: interval, NoServices: true})
	startBoth(tb, s, p)
	probe := s.Client.Probe(s.Echo(), time.Millisecond)
	begin := time.Now()
	await(tb, 5*time.Second, "an answer", func() bool { return probe.Answered(begin) })
	time.Sleep(3 * interval)
	begin = time.Now()
	breakIt(s)
	vip := netip.MustParseAddr(site.VIP)
	await(tb, s.MasterDown()+5*time.Second, "takeover", func() bool { return s.LB[1].Node.Holds("eth0", vip) })
	held := time.Now()
	await(tb, 5*time.Second, "an answer of the new master", func() bool { return probe.Answered(held) })
	time.Sleep(100 * time.Millisecond)
	return float64(probe.Between(begin, time.Now()).Gap.Microseconds()) / 1000
}

func await(tb *scene, limit time.Duration, what string, holds func() bool) {
	if err := site.Wait(limit, what, holds); err != nil {
		tb.Fatalf("%v", err)
	}
}

// lastAddress is the time from the cut until the new master has answered for
// each of 200 addresses.
func lastAddress(tb *scene, p pairOf) float64 {
	addresses, all := manyAddresses()
	s := site.New(tb, site.Options{Interval: 100 * time.Millisecond, NoServices: true, Addresses: addresses})
	s.Client.Address("eth0", "10.51.200.1/16")
	startBoth(tb, s, p)
	last := netip.MustParsePrefix(addresses[len(addresses)-1]).Addr()
	await(tb, 10*time.Second, "all addresses on the master", func() bool { return s.LB[0].Node.Holds("eth0", last) })
	time.Sleep(time.Second)
	c := s.ClientPort.Capture(isARP)
	begin := time.Now()
	s.LB[0].Port.Cut()
	return float64(answered(tb, s, c, all).Sub(begin).Microseconds()) / 1000
}

// answered asks for the addresses until the second director has answered for
// each, and returns when the last answer came.
func answered(tb lab.TB, s *site.Site, c *lab.Capture, missing map[netip.Addr]bool) time.Time {
	tb.Helper()
	asker := s.ClientPort.Asker()
	mac := s.LB[1].Port.HWAddr()
	var last time.Time
	seen := 0
	if err := site.Wait(10*time.Second, "an answer for every address", func() bool {
		frames := c.Since(seen)
		for _, f := range frames {
			if !isARP(f.Data) {
				continue
			}
			// An answer to us, not an announcement: its target is the asker.
			a := arps([]lab.Frame{f})[0]
			if a.op == 2 && bytes.Equal(a.sender[:], mac) && a.targetAddr != a.senderAddr && missing[a.senderAddr] {
				delete(missing, a.senderAddr)
				last = a.at
			}
		}
		seen += len(frames)
		for a := range missing {
			asker.Ask(a)
		}
		return len(missing) == 0
	}); err != nil {
		tb.Fatalf("%v: %d left", err, len(missing))
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

// fullTable is the time from the start of one director to a table of 1,000
// services with 10 servers each, none of them checked.
func fullTable(tb *scene, p pairOf) float64 {
	const services, servers = 1000, 10
	s := site.New(tb, site.Options{Interval: 100 * time.Millisecond, NoServices: true})
	var toml, conf strings.Builder
	for i := range services {
		vip := fmt.Sprintf("10.60.%d.%d", i/250, 1+i%250)
		fmt.Fprintf(&toml, "[[service]]\nname = \"s%d\"\naddress = \"%s:80\"\nscheduler = \"rr\"\nforward = \"dr\"\n", i, vip)
		fmt.Fprintf(&conf, "virtual_server %s 80 {\n  lvs_sched rr\n  lvs_method DR\n  protocol TCP\n", vip)
		for k := range servers {
			fmt.Fprintf(&toml, "[[service.server]]\naddress = \"10.61.0.%d:80\"\n", 1+k)
			fmt.Fprintf(&conf, "  real_server 10.61.0.%d 80 {\n    weight 1\n  }\n", 1+k)
		}
		conf.WriteString("}\n")
	}
	s.Options.Extra, s.Options.KeepalivedExtra = toml.String(), conf.String()
	s.LB[0].Write(s.Config(0))
	begin := time.Now()
	p.start(s, 0)
	await(tb, 5*time.Minute, "a full table", func() bool { return s.LB[0].Destinations() == services*servers })
	return float64(time.Since(begin).Microseconds()) / 1000
}
