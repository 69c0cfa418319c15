package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/integration/bench"
	"github.com/understudy-ha/understudy/integration/site"
)

// BenchmarkBesideKeepalived prints how long the IPVS table waits for either.
func BenchmarkBesideKeepalived(b *testing.B) {
	table := bench.New(b)
	table.Measure("1,000 services × 10 servers: empty to full table", fullTable)
	table.Print()
}

// fullTable is the time from the start of one director to a table of 1,000
// services with 10 servers each, none of them checked.
func fullTable(tb *bench.Scene, p bench.Pair) float64 {
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
	p.Start(s, 0)
	site.Eventually(tb, 5*time.Minute, "a full table", func() bool { return s.LB[0].Destinations() == services*servers })
	return float64(time.Since(begin).Microseconds()) / 1000
}
