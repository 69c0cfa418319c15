package oracle_test

import (
	"bytes"
	"flag"
	"iter"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
	"github.com/understudy-ha/understudy/director/oracle"
)

var update = flag.Bool("update", false, "rewrite golden files")

// lines returns those of the connection table but for its heading.
func lines(text []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i, line := range bytes.Split(bytes.TrimSpace(text), []byte("\n")) {
			if i > 0 && !yield(line) {
				return
			}
		}
	}
}

// question is one to a service tcp 192.0.2.200:80 with a server 192.0.2.101:80
// and so on for each weight.
func question(scheduler string, flags uint32, weights ...int32) oracle.Question {
	q := oracle.Question{
		Service: genl.Service{
			ServiceID: genl.ServiceID{
				Family: unix.AF_INET, Protocol: unix.IPPROTO_TCP, Address: netip.MustParseAddr("192.0.2.200"), Port: 80,
			},
			Scheduler: scheduler, Flags: flags, Netmask: 0xffffff00, Timeout: 300,
		},
		Client: netip.MustParseAddrPort("198.51.100.7:40000"),
		Kernel: oracle.Kernel{ReuseMode: 1, SHBits: 8, MHIndex: 12},
	}
	for i, w := range weights {
		q.Destinations = append(q.Destinations, genl.Destination{
			Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(101 + i)}), Port: 80, Weight: w, Method: genl.DirectRoute,
		})
	}
	return q
}

// heading is the first line of the connection table.
const heading = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n"

// connections are of 198.51.100.7:40000 and of another client, to server 3.
const (
	established = heading +
		"TCP C6336407 9C40 C00002C8 0050 C0000267 0050 ESTABLISHED     899\n" +
		"TCP C6336408 9C40 C00002C8 0050 C0000266 0050 ESTABLISHED     899\n" +
		"UDP C6336407 9C40 C00002C8 0050 C0000266 0050 UDP             299\n"
	timeWait = heading + "TCP C6336407 9C40 C00002C8 0050 C0000267 0050 TIME_WAIT       100\n"
	gone     = heading + "TCP C6336407 9C40 C00002C8 0050 C00002FE 0050 ESTABLISHED     899\n"
	template = heading +
		"TCP C6336407 9C41 C00002C8 0050 C0000267 0050 FIN_WAIT        100\n" +
		"TCP C6336500 0000 C00002C8 0050 C0000266 0050 NONE            288\n" +
		"TCP C6336400 0000 C00002C8 FFFF C0000266 FFFF NONE            288\n" + // invalidated
		"TCP C6336400 0000 C00002C8 0050 C0000267 0050 ASSURED         287\n"
	stray = heading + "TCP C6336400 0000 C00002C8 0050 C00002FE 0050 NONE            287\n"
	sip   = heading + "UDP C6336400 0000 C00002C8 0050 C0000267 0050 NONE            287 sip 1234@example.net\n"
)

const (
	fallback = genl.FlagSched1
	withPort = genl.FlagSched2
	persist  = genl.FlagPersistent
)

// TestAsk shows the whole answer to typical questions.
func TestAsk(t *testing.T) {
	for _, c := range []struct {
		name  string
		q     oracle.Question
		with  func(q *oracle.Question)
		table string
	}{
		{name: "sh", q: question("sh", 0, 1, 1, 2)},
		{name: "sh-port", q: question("sh", withPort, 1, 1, 2)},
		{name: "sh-port without port", q: question("sh", withPort, 1, 1, 2), with: anyPort},
		{name: "sh-port zero without port", q: question("sh", withPort, 1, 0, 2), with: anyPort},
		{name: "sh-port one server without port", q: question("sh", withPort, 3), with: anyPort},
		{name: "mh-port and fallback without port", q: question("mh", withPort|fallback, 1, 1, 2), with: anyPort},
		{name: "sh chosen zero", q: question("sh", 0, 1, 0, 2)},
		{name: "sh-fallback chosen zero", q: question("sh", fallback, 1, 0, 0)},
		{name: "sh no servers", q: question("sh", 0)},
		{name: "sh all zero", q: question("sh", fallback, 0, 0)},
		{name: "sh overloaded", q: question("sh", 0, 1, 1), with: func(q *oracle.Question) {
			for i := range q.Destinations {
				q.Destinations[i].Upper, q.Destinations[i].Active, q.Destinations[i].Inactive = 10, 8, 2
			}
		}},
		{name: "sh between thresholds", q: question("sh", fallback, 1, 1), with: func(q *oracle.Question) {
			for i := range q.Destinations {
				q.Destinations[i].Upper, q.Destinations[i].Lower, q.Destinations[i].Active = 10, 5, 7
			}
		}},
		{name: "sh above three quarters", q: question("sh", fallback, 1, 1), with: func(q *oracle.Question) {
			for i := range q.Destinations {
				q.Destinations[i].Upper, q.Destinations[i].Active = 10, 8
			}
		}},
		{name: "sh below thresholds", q: question("sh", fallback, 1, 1), with: func(q *oracle.Question) {
			for i := range q.Destinations {
				q.Destinations[i].Upper, q.Destinations[i].Active = 10, 7
			}
		}},
		{name: "sh size unknown", q: question("sh", 0, 1, 1, 2), with: func(q *oracle.Question) { q.Kernel.SHBits = 0 }},
		{name: "dh", q: question("dh", 0, 1, 1, 2)},
		{name: "dh mark", q: question("dh", 0, 1, 1, 2), with: mark},
		{name: "dh mark to", q: question("dh", 0, 1, 1, 2), with: func(q *oracle.Question) {
			mark(q)
			q.To = netip.MustParseAddrPort("192.0.2.77:0")
		}},
		{name: "mh", q: question("mh", 0, 1, 1, 2)},
		{name: "mh zero unknown", q: question("mh", fallback, 1, 0, 2)},
		{name: "mh zero known", q: question("mh", fallback, 1, 0, 2), with: func(q *oracle.Question) {
			q.LastWeights = map[netip.AddrPort]int32{netip.MustParseAddrPort("192.0.2.102:80"): 4}
		}},
		{name: "lc", q: question("lc", 0, 1, 1, 2), with: busy},
		{name: "lc equal", q: question("lc", 0, 0, 1, 2)},
		{name: "wlc", q: question("wlc", 0, 1, 1, 2), with: busy},
		{name: "sed", q: question("sed", 0, 1, 1, 20), with: busy},
		{name: "nq busy", q: question("nq", 0, 1, 1, 20), with: busy},
		{name: "nq idle", q: question("nq", 0, 1, 1, 20)},
		{name: "fo", q: question("fo", 0, 1, 9, 9)},
		{name: "ovf", q: question("ovf", 0, 10, 9, 30), with: busy},
		{name: "ovf full", q: question("ovf", 0, 1, 1, 1), with: busy},
		{name: "rr", q: question("rr", 0, 1, 0, 9)},
		{name: "rr one", q: question("rr", 0, 1, 0, 0)},
		{name: "lblc", q: question("lblc", 0, 1, 1)},
		{name: "twos", q: question("twos", 0, 1, 1)},
		{name: "unknown scheduler", q: question("foo", 0, 1, 1)},
		{name: "every port not persistent", q: question("sh", 0, 1, 1), with: func(q *oracle.Question) { q.Service.Port = 0 }},
		{name: "connection", q: question("sh", 0, 1, 1, 1), table: established},
		{name: "connection to zero", q: question("sh", 0, 1, 1, 0), table: established},
		{name: "connection of another port", q: question("sh", 0, 1, 1, 1), table: established, with: anyPort},
		{name: "connection in time wait", q: question("sh", 0, 1, 1, 1), table: timeWait},
		{name: "connection in time wait kept", q: question("sh", 0, 1, 1, 1), table: timeWait, with: func(q *oracle.Question) { q.Kernel.ReuseMode = 0 }},
		{name: "connection to nowhere", q: question("sh", 0, 1, 1, 1), table: gone},
		{name: "connection to nowhere expires", q: question("sh", 0, 1, 1, 1), table: gone, with: func(q *oracle.Question) { q.Kernel.ExpireNodest = true }},
		{name: "persistent", q: question("sh", persist, 1, 1, 2), table: template},
		{name: "persistent quiescent", q: question("rr", persist, 1, 1, 0), table: template},
		{name: "persistent quiescent expires", q: question("sh", persist, 1, 1, 0), table: template, with: func(q *oracle.Question) { q.Kernel.ExpireQuiescent = true }},
		{name: "persistent nowhere", q: question("sh", persist, 1, 1, 2), table: stray},
		{name: "persistent new", q: question("rr", persist, 1, 1, 2), table: established, with: anyPort},
		{name: "not persistent any more", q: question("sh", 0, 1, 1, 2), table: template},
		{name: "persistent by sip", q: question("sh", persist, 1, 1, 2), table: sip, with: func(q *oracle.Question) {
			q.Service.Engine, q.Service.Protocol = "sip", unix.IPPROTO_UDP
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.with != nil {
				c.with(&c.q)
			}
			found, err := oracle.Scan(strings.NewReader(c.table), c.q)
			if err != nil {
				t.Fatal(err)
			}
			a, err := oracle.Ask(c.q, found)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", strings.ReplaceAll(c.name, " ", "-")+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(a.Text()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), a.Text()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func anyPort(q *oracle.Question) { q.Client = netip.AddrPortFrom(q.Client.Addr(), 0) }

func mark(q *oracle.Question) {
	q.Service.ServiceID = genl.ServiceID{Family: unix.AF_INET, FWMark: 10}
}

func busy(q *oracle.Question) {
	for i := range q.Destinations {
		q.Destinations[i].Active, q.Destinations[i].Inactive = uint32(10+i), uint32(1000-100*i)
	}
}

func TestAskRefuses(t *testing.T) {
	for _, c := range []struct {
		name       string
		client, to string
		want       string
	}{
		{"other family", "[2001:db8::1]:1", "", "other address family"},
		{"other address", "198.51.100.7:1", "192.0.2.201:80", "are not those of tcp 192.0.2.200:80"},
		{"other port", "198.51.100.7:1", "192.0.2.200:81", "are not those of tcp 192.0.2.200:80"},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := question("sh", 0, 1)
			q.Client = netip.MustParseAddrPort(c.client)
			if c.to != "" {
				q.To = netip.MustParseAddrPort(c.to)
			}
			if _, err := oracle.Ask(q, oracle.Found{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}
