package failover

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/integration/bench"
	"github.com/understudy-ha/understudy/integration/site"
)

var scaleTime = flag.Duration("scale.time", 60*time.Second, "how long BenchmarkManyRouters looks at each number of virtual routers")

// scaleSettle is how long a pair has for its first election and for announcing
// all addresses, twice with keepalived: 5 s apart.
const scaleSettle = 12 * time.Second

// BenchmarkManyRouters prints what an advertisement costs the master and the backup,
// with many virtual routers on one link, and how often one of them takes over
// though nobody has failed.
func BenchmarkManyRouters(b *testing.B) {
	table := bench.New(b)
	for _, c := range []struct {
		routers  int
		interval time.Duration
	}{
		{255, 10 * time.Millisecond},
		{200, 100 * time.Millisecond},
		{200, time.Second},
	} {
		if testing.Short() && c.interval > 10*time.Millisecond {
			continue
		}
		name := fmt.Sprintf("%d virtual routers × %v: ", c.routers, c.interval)
		table.MeasureAll([]bench.Figure{
			{Name: name + "CPU per advertisement sent", Unit: "µs"},
			{Name: name + "CPU per advertisement received", Unit: "µs"},
			{Name: name + "CPU of the master", Unit: "%"},
			{Name: name + "CPU of the backup", Unit: "%"},
			{Name: name + "takeovers after the first election", Unit: ""},
		}, func(tb *bench.Scene, p bench.Pair) []float64 { return scale(tb, p, c.routers, c.interval) })
	}
	table.Print()
}

func scale(tb *bench.Scene, p bench.Pair, routers int, interval time.Duration) []float64 {
	s := site.New(tb, site.Options{Interval: interval, NoServices: true})
	for i, d := range s.LB {
		if p.Ours {
			d.Write(s.Config(i) + scaleTOML(routers, s.Priority(i), interval))
		} else {
			s.Options.KeepalivedExtra = scaleKeepalived(routers, s.Priority(i), interval)
		}
		p.Start(s, i)
	}
	time.Sleep(scaleSettle)
	before := takeovers(tb, s, p)
	var cpu, packets [2]float64
	look := func(sign float64) {
		for i, direction := range []string{"tx", "rx"} {
			cpu[i] += sign * float64(cpuTime(tb, p.Pid(s, i)).Microseconds())
			packets[i] += sign * multicasts(tb, s, i, direction)
		}
	}
	look(-1)
	begin := time.Now()
	time.Sleep(*scaleTime)
	look(+1)
	elapsed := float64(time.Since(begin).Microseconds())
	return []float64{
		cpu[0] / packets[0], cpu[1] / packets[1], 100 * cpu[0] / elapsed, 100 * cpu[1] / elapsed,
		takeovers(tb, s, p) - before,
	}
}

// scaleRouters calls f for every virtual router beside that of the site.
func scaleRouters(routers int, f func(vrid int, address string)) {
	for vrid, left := 1, routers-1; left > 0; vrid++ {
		if vrid != 51 {
			f(vrid, fmt.Sprintf("10.51.1.%d/32", vrid))
			left--
		}
	}
}

// spread gives virtual routers different priorities, in the same order on both
// directors, so that their timers do not all run out at one time.
func spread(priority, vrid int) int { return priority - vrid%100/2 }

func scaleTOML(routers, priority int, interval time.Duration) string {
	var b strings.Builder
	scaleRouters(routers, func(vrid int, address string) {
		fmt.Fprintf(&b, "\n[[vrrp]]\nname = \"r%d\"\ninterface = \"eth0\"\nvrid = %d\npriority = %d\nadvert_interval = %q\naddresses = [%q]\n",
			vrid, vrid, spread(priority, vrid), interval, address)
	})
	return b.String()
}

func scaleKeepalived(routers, priority int, interval time.Duration) string {
	var b strings.Builder
	scaleRouters(routers, func(vrid int, address string) {
		fmt.Fprintf(&b, "vrrp_instance r%d {\n  state BACKUP\n  interface eth0\n  virtual_router_id %d\n  priority %d\n  advert_int %g\n  virtual_ipaddress {\n    %s\n  }\n}\n",
			vrid, vrid, spread(priority, vrid), interval.Seconds(), address)
	})
	return b.String()
}

// takeovers counts how often a director has become master of a virtual router.
func takeovers(tb *bench.Scene, s *site.Site, p bench.Pair) float64 {
	count := 0
	for i, d := range s.LB {
		if !p.Ours {
			count += strings.Count(s.Lab.Log(d.Node.Name+".keepalived.log"), "Entering MASTER STATE")
			continue
		}
		status, err := d.Status()
		if err != nil || len(status.Routers) == 0 {
			tb.Fatalf("director %d: %d virtual routers, %v", i, len(status.Routers), err)
		}
		for _, r := range status.Routers {
			count += r.Takeovers
		}
	}
	return float64(count)
}

// cpuTime is what a process and its children have used of the processors.
func cpuTime(tb *bench.Scene, pid int) time.Duration {
	const perTick = 10 * time.Millisecond // USER_HZ
	dir := fmt.Sprintf("/proc/%d", pid)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		tb.Fatalf("%v", err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var sum time.Duration
	for _, f := range fields[11:13] { // utime and stime of proc(5)
		ticks, err := strconv.Atoi(f)
		if err != nil {
			tb.Fatalf("%s/stat: %v", dir, err)
		}
		sum += time.Duration(ticks) * perTick
	}
	lists, _ := filepath.Glob(dir + "/task/*/children")
	for _, list := range lists {
		children, _ := os.ReadFile(list)
		for f := range strings.FieldsSeq(string(children)) {
			if child, err := strconv.Atoi(f); err == nil {
				sum += cpuTime(tb, child)
			}
		}
	}
	return sum
}

// multicasts counts the packets that a director's interface has sent or received. Next
// to all of them are advertisements.
func multicasts(tb *bench.Scene, s *site.Site, i int, direction string) float64 {
	for line := range strings.Lines(string(s.LB[i].Proc("dev"))) {
		name, values, _ := strings.Cut(line, ":")
		f := strings.Fields(values)
		if strings.TrimSpace(name) != "eth0" || len(f) < 16 {
			continue
		}
		n, err := strconv.ParseFloat(f[map[string]int{"rx": 1, "tx": 9}[direction]], 64)
		if err == nil {
			return n
		}
	}
	tb.Fatalf("no eth0 in /proc/net/dev")
	return 0
}
