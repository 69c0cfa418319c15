package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/integration/site"
)

// TestSchedulers programs one service for each scheduler and forwarding method
// and reads the table with Debian's ipvsadm.
func TestSchedulers(t *testing.T) {
	schedulers := strings.Fields("rr wrr lc wlc lblc lblcr dh sh sed nq fo ovf mh")
	var extra strings.Builder
	// ipvsadm lists services in the order of their hash; here each is asked for
	// by itself, in the order of configuration.
	var queries [][]string
	for i, name := range schedulers {
		port := 1001 + i
		fmt.Fprintf(&extra, `
[[service]]
name = "%[1]s"
address = "%[3]s:%[2]d"
scheduler = "%[1]s"
forward = "dr"
[[service.server]]
address = "10.51.0.21:%[2]d"
weight = 3
[[service.server]]
address = "10.51.0.22:8080"
forward = "nat"
weight = 0
[[service.server]]
address = "10.51.0.23:%[2]d"
forward = "tun"
weight = 65535
`, name, port, site.VIP)
		queries = append(queries, []string{"-Ln", "-t", fmt.Sprintf("%s:%d", site.VIP, port)})
	}
	extra.WriteString(`
[[service]]
name = "mark"
fwmark = 10
scheduler = "rr"
forward = "dr"
persistence = "50s"
persistence_mask = 24
[[service.server]]
address = "10.51.0.21:0"
[[service]]
name = "flags"
address = "10.51.0.100:2001"
protocol = "udp"
scheduler = "sh"
scheduler_flags = ["sh-fallback", "sh-port"]
one_packet = true
forward = "dr"
[[service.server]]
address = "10.51.0.21:2001"
max_connections = 100
min_connections = 80
[[service]]
name = "maglev"
address = "10.51.0.100:2002"
scheduler = "mh"
scheduler_flags = ["mh-port"]
forward = "dr"
[[service.server]]
address = "10.51.0.21:2002"
`)
	s := site.New(t, site.Options{Interval: 100 * time.Millisecond, Extra: extra.String()})
	s.StartPair()
	for i, name := range schedulers {
		port := 1001 + i
		var want strings.Builder
		fmt.Fprintf(&want, "Prot LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\nTCP  %s:%d %s\n", site.VIP, port, name)
		for _, r := range []struct {
			address, forward string
			weight           int
		}{
			{fmt.Sprintf("10.51.0.21:%d", port), "Route", 3},
			{"10.51.0.22:8080", "Masq", 0},
			{fmt.Sprintf("10.51.0.23:%d", port), "Tunnel", 65535},
		} {
			fmt.Fprintf(&want, "  -> %-28s %-7s %-6d %-10d %-10d\n", r.address, r.forward, r.weight, 0, 0)
		}
		for _, d := range s.LB {
			got := d.Node.MustRun("ipvsadm", queries[i]...)
			if diff := cmp.Diff(trimLines(want.String()), trimLines(got)); diff != "" {
				t.Errorf("%s on %s (-want +got):\n%s", name, d.Node.Name, diff)
			}
		}
	}
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"-Ln", "-f", "10"}, []string{"FWM  10 rr persistent 50 mask 255.255.255.0", "  -> 10.51.0.21:0                 Route   1      0          0"}},
		{[]string{"-Ln", "-u", "10.51.0.100:2001"}, []string{"UDP  10.51.0.100:2001 sh (sh-fallback,sh-port) ops", "  -> 10.51.0.21:2001              Route   1      0          0"}},
		{[]string{"-Ln", "--thresholds", "-u", "10.51.0.100:2001"}, []string{"  -> 10.51.0.21:2001              100        80         0          0"}},
		{[]string{"-Ln", "-t", "10.51.0.100:2002"}, []string{"TCP  10.51.0.100:2002 mh (mh-port)"}},
	} {
		got := trimLines(s.LB[0].Node.MustRun("ipvsadm", c.args...))
		for _, line := range c.want {
			if !strings.Contains(got, line) {
				t.Errorf("ipvsadm %v: no line %q in\n%s", c.args, line, got)
			}
		}
	}
}

// trimLines cuts the blanks that end lines.
func trimLines(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// TestSpread shows that real requests are spread as the scheduler promises.
func TestSpread(t *testing.T) {
	const requests = 40
	for _, c := range []struct {
		name    string
		options site.Options
		judge   func(by map[string]int) string
	}{
		{"rr", site.Options{Scheduler: "rr", Weights: []int{1, 1, 0}}, func(by map[string]int) string {
			return expect(by, map[string]int{"rs1": 20, "rs2": 20})
		}},
		{"wrr", site.Options{Scheduler: "wrr", Weights: []int{3, 1, 0}}, func(by map[string]int) string {
			return expect(by, map[string]int{"rs1": 30, "rs2": 10})
		}},
		{"sh", site.Options{Scheduler: "sh"}, oneServer},
		{"persistence", site.Options{Scheduler: "rr", Persistence: 60 * time.Second}, oneServer},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.options.Interval = 100 * time.Millisecond
			s := site.New(t, c.options)
			s.StartPair()
			by := map[string]int{}
			for range requests {
				a, err := s.Client.Get(s.URL(), 2*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				by[a.Server]++
			}
			if wrong := c.judge(by); wrong != "" {
				t.Error(wrong)
			}
		})
	}
}

func expect(got, want map[string]int) string {
	return cmp.Diff(want, got)
}

// oneServer wants every request of one client on one server.
func oneServer(by map[string]int) string {
	if len(by) != 1 {
		return fmt.Sprintf("one client's requests went to %v, want one server", by)
	}
	return ""
}
