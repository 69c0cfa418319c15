package failover

import (
	"fmt"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/integration/bench"
	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/site"
)

// BenchmarkHandover prints how many probes of 1 ms each are lost when the master
// is stopped cleanly, 20 times, with either pair, and when it is told to hand over.
func BenchmarkHandover(b *testing.B) {
	benchmarkHandover(b, "IPv4", site.Options{})
}

// handovers is how many count for one figure.
const handovers = 20

func benchmarkHandover(b *testing.B, name string, o site.Options) {
	table := bench.New(b)
	table.Runs = 1
	for _, interval := range intervals {
		table.MeasureAll([]bench.Figure{
			{Name: fmt.Sprintf("%s, %d × clean stop at %v", name, handovers, interval), Unit: "lost"},
			{Name: fmt.Sprintf("%s, longest gap", name), Unit: "ms"},
			{Name: fmt.Sprintf("%s, %d × handover at %v", name, handovers, interval), Unit: "lost"},
			{Name: fmt.Sprintf("%s, longest gap", name), Unit: "ms"},
		}, func(tb *bench.Scene, p bench.Pair) []float64 {
			o := o
			o.Interval, o.NoServices = interval, true
			return handOver(tb, p, o)
		})
	}
	table.Print()
}

// handOver stops the master again and again, and with ours hands over as well.
// Neither director preempts, so that each is the successor in its turn.
func handOver(tb *bench.Scene, p bench.Pair, o site.Options) []float64 {
	o.Router += "preempt = false\n"
	o.KeepalivedRouter += "  nopreempt\n"
	s := site.New(tb, o)
	kind := map[bool]string{true: "understudy", false: "keepalived"}[p.Ours]
	heard := s.LAN.Tap(lab.VRRP())
	var peers [2]site.Peer
	for i := range peers {
		peers[i] = s.StartPeer(kind, i)
		wait(tb, succeeded(s, 0))
	}
	probe := s.Client.Probe(s.Echo(), time.Millisecond)
	s.Answers(probe, 5*time.Second)
	time.Sleep(2 * max(o.Interval, 100*time.Millisecond))

	begin := time.Now()
	for k := range handovers {
		if err := peers[k%2].Stop(); err != nil {
			tb.Fatalf("%v", err)
		}
		wait(tb, succeeded(s, 1-k%2))
		peers[k%2] = s.StartPeer(kind, k%2)
		// It stands by when it has heard the master, whom it does not preempt.
		mark := heard.Mark()
		time.Sleep(300 * time.Millisecond)
		site.Eventually(tb, 10*time.Second, "advertisements", func() bool { return heard.Mark() >= mark+2 })
	}
	r := probe.Between(begin, time.Now())
	figures := []float64{float64(r.Lost), float64(r.Gap.Microseconds()) / 1000}
	if !p.Ours {
		return append(figures, bench.None, bench.None)
	}
	begin = time.Now()
	for k := range handovers {
		if err := s.LB[k%2].Handover("web"); err != nil {
			tb.Fatalf("%v", err)
		}
		wait(tb, succeeded(s, 1-k%2))
	}
	r = probe.Between(begin, time.Now())
	return append(figures, float64(r.Lost), float64(r.Gap.Microseconds())/1000)
}

func wait(tb lab.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatalf("%v", err)
	}
}
