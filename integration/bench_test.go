package integration

import (
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/integration/bench"
	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/site"
)

// BenchmarkFill prints how long a table of 1,000 services with 10 servers each
// takes to fill with either: as an operator sees it, and as the kernel does.
func BenchmarkFill(b *testing.B) {
	table := bench.New(b)
	table.Measure("start to full table", func(tb *bench.Scene, p bench.Pair) float64 {
		s, _ := bulkSite(tb)
		begin := time.Now()
		p.Start(s, 0)
		return ms(waitFull(tb, s.LB[0]).Sub(begin))
	})
	table.Measure("first message to full table", func(tb *bench.Scene, p bench.Pair) float64 {
		s, _ := bulkSite(tb)
		w := s.LB[0].Node.Wiretap()
		p.Start(s, 0)
		waitFull(tb, s.LB[0])
		const entries = bulkServices + 1 + bulkServers
		var list []lab.Command
		site.Eventually(tb, 10*time.Second, "every message", func() bool {
			var err error
			if list, err = w.Writes(0); err != nil {
				tb.Fatalf("%v", err)
			}
			return len(list) >= entries
		})
		return ms(list[entries-1].At.Sub(list[0].At))
	})
	table.Print()
}

// BenchmarkLargeTable prints what that table costs with either once it is full,
// up to the stop.
func BenchmarkLargeTable(b *testing.B) {
	table := bench.New(b)
	table.MeasureAll([]bench.Figure{
		{Name: "memory", Unit: "MiB"},
		{Name: "memory at most", Unit: "MiB"},
		{Name: "one server dies: from the verdict to the kernel", Unit: "ms"},
		{Name: "one server dies: messages to the kernel", Unit: ""},
		{Name: "reload that changes one server of 10,000", Unit: "ms"},
		{Name: "reload that changes one server of 10,000: messages", Unit: ""},
		{Name: "adopting the table after kill -9", Unit: "ms"},
		{Name: "adopting the table after kill -9: messages", Unit: ""},
		{Name: "stop", Unit: "ms"},
		{Name: "stop: left in the table", Unit: "rows"},
	}, bulkLife)
	table.Print()
}

// bulkLife is the life of one director with the bulk. What happens in the
// middle of it is measured with ours only.
func bulkLife(tb *bench.Scene, p bench.Pair) []float64 {
	s, judged := bulkSite(tb)
	d := s.LB[0]
	p.Start(s, 0)
	waitFull(tb, d)
	time.Sleep(3 * time.Second)
	now, most := memory(tb, p.Pid(s, 0))
	figures := []float64{float64(now) / 1024, float64(most) / 1024}
	if p.Ours {
		figures = append(figures, bulkChanges(tb, s, judged)...)
	} else {
		figures = append(figures, bench.None, bench.None, bench.None, bench.None, bench.None, bench.None)
	}
	begin := time.Now()
	if err := p.Stop(s); err != nil {
		tb.Fatalf("%v", err)
	}
	return append(figures, ms(time.Since(begin)), float64(strings.Count(d.Saved(), "\n")))
}

// bulkChanges are the figures of one server's death, of a reload, and of an
// adoption.
func bulkChanges(tb *bench.Scene, s *site.Site, judged *lab.Server) []float64 {
	d := s.LB[0]
	w := d.Node.Wiretap()
	written := func(mark int) []lab.Command {
		tb.Helper()
		time.Sleep(5 * time.Second) // a check, and a resync
		list, err := w.Writes(mark)
		if err != nil {
			tb.Fatalf("%v", err)
		}
		return list
	}
	said, mark := len(d.Log()), w.Mark()
	judged.Stop()
	list := written(mark)
	verdict, ok := between(d.Log(), said, `msg="server is down"`, `msg="changed the kernel"`)
	if !ok {
		tb.Fatalf("the log does not tell of a server's death:\n%s", d.Log()[said:])
	}
	figures := []float64{ms(verdict), float64(len(list))}

	mark = w.Mark()
	s.Options.Extra, _ = bulk(7)
	d.Write(s.Config(0))
	begin := time.Now()
	if err := d.Reload(); err != nil {
		tb.Fatalf("%v", err)
	}
	list = written(mark)
	if len(list) == 0 {
		tb.Fatalf("a reload changed nothing")
	}
	figures = append(figures, ms(list[len(list)-1].At.Sub(begin)), float64(len(list)))

	d.Kill()
	mark = w.Mark()
	begin = time.Now()
	d.Start()
	looked := adopted(tb, w, mark, begin)
	return append(figures, ms(looked.Sub(begin)), float64(len(written(mark))))
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
