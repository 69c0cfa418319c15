package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/site"
)

// The bulk is a table as large as any that is met, and beside it one service
// whose server is judged.
const (
	bulkServices  = 1000
	bulkPerOne    = 10
	bulkServers   = bulkServices*bulkPerOne + 1
	judgedAddress = site.ClientIP + ":9000" // where the judged server listens: with the client
)

// bulk returns the files of a director and of keepalived for the bulk. The
// weight is that of one server in the middle.
func bulk(weight int) (toml, conf string) {
	var t, c strings.Builder
	for i := range bulkServices {
		vip := fmt.Sprintf("10.60.%d.%d", i/250, 1+i%250)
		fmt.Fprintf(&t, "[[service]]\nname = \"s%d\"\naddress = \"%s:80\"\nscheduler = \"rr\"\nforward = \"dr\"\ndrain = \"0s\"\n", i, vip)
		fmt.Fprintf(&c, "virtual_server %s 80 {\n  lvs_sched rr\n  lvs_method DR\n  protocol TCP\n", vip)
		for k := range bulkPerOne {
			w := 1
			if i == bulkServices/2 && k == bulkPerOne/2 {
				w = weight
			}
			fmt.Fprintf(&t, "[[service.server]]\naddress = \"10.61.0.%d:80\"\nweight = %d\n", 1+k, w)
			fmt.Fprintf(&c, "  real_server 10.61.0.%d 80 {\n    weight %d\n  }\n", 1+k, w)
		}
		c.WriteString("}\n")
	}
	fmt.Fprintf(&t, `[[service]]
name = "judged"
address = "10.60.100.1:80"
scheduler = "rr"
forward = "nat"
drain = "0s"
[service.check]
type = "tcp"
interval = "1s"
timeout = "1s"
rise = 1
fall = 1
[[service.server]]
address = "%s"
`, judgedAddress)
	fmt.Fprintf(&c, `virtual_server 10.60.100.1 80 {
  delay_loop 1
  lvs_sched rr
  lvs_method NAT
  protocol TCP
  real_server %s {
    TCP_CHECK {
      connect_timeout 1
      retry 0
    }
  }
}
`, strings.Replace(judgedAddress, ":", " ", 1))
	return t.String(), c.String()
}

// bulkSite returns a site whose first director has the bulk in its file, and
// the judged server.
func bulkSite(tb lab.TB) (*site.Site, *lab.Server) {
	s := site.New(tb, site.Options{Interval: 100 * time.Millisecond, NoServices: true})
	s.Options.Extra, s.Options.KeepalivedExtra = bulk(1)
	s.LB[0].Write(s.Config(0))
	return s, s.Client.Serve([]string{judgedAddress}, nil)
}

// waitFull waits until a director's table is full, and returns when it was. It
// looks at the last service only, until that is there: a look at the whole costs
// the director, which has the same processor, more than it tells.
func waitFull(tb lab.TB, d *site.Director) time.Time {
	tb.Helper()
	last := d.Watch("10.60.3.250:80")
	var at time.Time
	shown, all := 0, 0
	if err := site.Wait(2*time.Minute, "a full table", func() bool {
		if shown = last(); shown < bulkPerOne {
			return false
		}
		at, all = time.Now(), d.Destinations()
		return all == bulkServers
	}); err != nil {
		tb.Fatalf("%v: %d servers of %d in the last service, %d of %d in all", err, shown, bulkPerOne, all, bulkServers)
	}
	return at
}

// memory returns what a process and its children hold and have held of memory,
// in KiB.
func memory(tb lab.TB, pid int) (now, most int) {
	tb.Helper()
	paths, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		field := map[string]int{}
		for line := range strings.Lines(string(b)) {
			name, value, _ := strings.Cut(line, ":")
			field[name], _ = strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
		}
		if field["Pid"] == pid || field["PPid"] == pid {
			now, most = now+field["VmRSS"], most+field["VmHWM"]
		}
	}
	if now == 0 || most == 0 {
		tb.Fatalf("there is no process %d", pid)
	}
	return now, most
}

// between returns the time from the first line with one text, after an offset
// of a log, to the next with another. ok is false if they are not there.
func between(log string, offset int, from, to string) (d time.Duration, ok bool) {
	var begin time.Time
	for line := range strings.Lines(log[offset:]) {
		stamp, _, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		switch {
		case err != nil:
		case begin.IsZero():
			if strings.Contains(line, from) {
				begin = at
			}
		case strings.Contains(line, to):
			return at.Sub(begin), true
		}
	}
	return 0, false
}

// adopted waits until a director that was started after a moment has looked at
// the table, and returns when it was done with it.
func adopted(tb lab.TB, w *lab.Wiretap, mark int, started time.Time) time.Time {
	tb.Helper()
	var last time.Time
	site.Eventually(tb, 60*time.Second, "the daemon to have looked at the table", func() bool {
		list := w.Since(mark)
		if len(list) == 0 || list[len(list)-1].At.Before(started) { // its predecessor's last
			return false
		}
		last = list[len(list)-1].At
		return time.Since(last) > 500*time.Millisecond // the next look comes with the resync
	})
	return last
}

// writes waits until the kernel has been told something and the director has
// had time to tell it more, and returns all that was written since a mark.
func writes(t *testing.T, w *lab.Wiretap, mark int) []lab.Command {
	t.Helper()
	look := func() []lab.Command {
		list, err := w.Writes(mark)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	site.Eventually(t, 60*time.Second, "a message to the kernel", func() bool { return len(look()) > 0 })
	time.Sleep(3 * time.Second) // a resync, which must have nothing to add
	return look()
}

// names are the names of commands, for a message.
func names(list []lab.Command) []string {
	out := make([]string, 0, len(list))
	for _, c := range list[:min(len(list), 20)] {
		out = append(out, c.Name)
	}
	return out
}

// TestBulk follows a director with a thousand services from its start to its
// end, and counts what it tells the kernel.
func TestBulk(t *testing.T) {
	s, judged := bulkSite(t)
	d := s.LB[0]
	begun := time.Now()
	d.Start()
	t.Logf("full after %v", waitFull(t, d).Sub(begun).Round(time.Millisecond))
	w := d.Node.Wiretap()
	site.Eventually(t, 30*time.Second, "a master", func() bool { return d.Node.Holds("eth0", s.Echo().Addr()) })

	modest := func(when string) {
		now, most := memory(t, d.Process().Pid())
		t.Logf("memory %s: %.1f MiB, at most %.1f MiB", when, float64(now)/1024, float64(most)/1024)
		if limit := 48; most >= limit<<10 {
			t.Errorf("memory %s: %.1f MiB at most, want below %d", when, float64(most)/1024, limit)
		}
	}

	t.Run("a server's death is one message", func(t *testing.T) {
		said, mark := len(d.Log()), w.Mark()
		judged.Stop()
		if list := writes(t, w, mark); len(list) != 1 || list[0].Name != "del_dest" {
			t.Errorf("%d messages: %v, want one del_dest", len(list), names(list))
		}
		took, ok := between(d.Log(), said, `msg="server is down"`, `msg="changed the kernel"`)
		t.Logf("from the verdict to the kernel: %v", took)
		if limit := 5*time.Millisecond + site.Slack(); !ok || took > limit {
			t.Errorf("from the verdict to the kernel: %v, want at most %v; the log:\n%s", took, limit, d.Log()[said:])
		}
	})
	t.Run("a reload that changes a server is one message", func(t *testing.T) {
		mark := w.Mark()
		s.Options.Extra, _ = bulk(7)
		d.Write(s.Config(0))
		begun := time.Now()
		if err := d.Reload(); err != nil {
			t.Fatal(err)
		}
		list := writes(t, w, mark)
		if len(list) != 1 || list[0].Name != "set_dest" {
			t.Fatalf("%d messages: %v, want one set_dest", len(list), names(list))
		}
		t.Logf("from the request to the kernel: %v", list[0].At.Sub(begun).Round(time.Millisecond))
	})
	modest("after filling the table")
	t.Run("adopting writes nothing", func(t *testing.T) {
		d.Kill()
		said, mark := len(d.Log()), w.Mark()
		begun := time.Now()
		d.Start()
		t.Logf("adopted after %v", adopted(t, w, mark, begun).Sub(begun).Round(time.Millisecond))
		time.Sleep(3 * time.Second)
		list, err := w.Writes(mark)
		if err != nil || len(list) > 0 {
			t.Errorf("%d messages: %v (%v), want none", len(list), names(list), err)
		}
		if strings.Contains(d.Log()[said:], "lane=ipvs change=") {
			t.Errorf("the log tells of changes:\n%s", d.Log()[said:])
		}
		if got := d.Destinations(); got != bulkServers-1 {
			t.Errorf("%d servers in the table, want %d", got, bulkServers-1)
		}
	})
	modest("after adopting the table")
	t.Run("a stop leaves nothing", func(t *testing.T) {
		begun := time.Now()
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
		took := time.Since(begun)
		t.Logf("stopped within %v", took.Round(time.Millisecond))
		if limit := 2 * time.Second; took >= limit {
			t.Errorf("stopped within %v, want less than %v", took, limit)
		}
		if saved := d.Saved(); saved != "" {
			t.Errorf("left in the table: %d lines", strings.Count(saved, "\n"))
		}
	})
}
