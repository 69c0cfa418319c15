package integration

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/director/connsync"
	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/site"
)

// syncOn has the kernels of both directors tell each other of connections.
const syncOn = "[director.sync]\ninterface = \"eth0\"\nid = 51\n"

// connections counts the established TCP connections to the VIP that a
// director's kernel knows of.
func connections(d *site.Director) int {
	established, vip := 0, netip.MustParseAddr(site.VIP).As4()
	to := fmt.Sprintf(" %02X%02X%02X%02X 0050 ", vip[0], vip[1], vip[2], vip[3])
	for line := range strings.Lines(string(d.Proc("ip_vs_conn"))) {
		if strings.HasPrefix(line, "TCP ") && strings.Contains(line, to) && strings.Contains(line, " ESTABLISHED ") {
			established++
		}
	}
	return established
}

// TestSessionsSurvive holds sessions through a pair of directors that tell each
// other of connections, while the pair goes through what is planned and what is
// not. Not one may break.
func TestSessionsSurvive(t *testing.T) {
	for _, forward := range []string{"dr", "nat"} {
		t.Run(forward, func(t *testing.T) { testSessionsSurvive(t, forward) })
	}
}

func testSessionsSurvive(t *testing.T, forward string) {
	const servers = 10
	s := site.New(t, site.Options{
		Forward: forward, Interval: 300 * time.Millisecond, Servers: servers, Check: calmCheck,
		Director: syncOn, Service: "drain = \"120s\"\n",
	})
	s.StartPair()
	q := openSome(s, sessions*servers/(servers-1)+1, 250*time.Millisecond) // those of one server will be ended
	synced := func(t *testing.T, d *site.Director) {
		t.Helper()
		site.Eventually(t, 15*time.Second, "every session to be known to "+d.Node.Name, func() bool {
			open := 0
			for _, n := range q.By() {
				open += n
			}
			return connections(d) >= open
		})
	}
	synced(t, s.LB[0])
	synced(t, s.LB[1])
	settled := func(t *testing.T) {
		t.Helper()
		if err := s.WaitReady(); err != nil {
			t.Fatal(err)
		}
	}

	t.Run("reload with a tenth of the servers changed", func(t *testing.T) {
		goesOn(t, q, "ten reloads", func() { reloads(t, s, 10) })
	})
	t.Run("drain of a server they are not on", func(t *testing.T) {
		idle := servers - 1
		if s.Servers[idle].Name == q.Downloads() {
			idle--
		}
		q.End(s.Servers[idle].Name, sessions)
		goesOn(t, q, "drain", func() {
			for _, verb := range []string{"drain", "undrain"} {
				for _, d := range s.LB {
					if out, err := d.Command(verb, "web", fmt.Sprintf("%s:%d", s.ServerIP(idle), s.ServerPort())); err != nil {
						t.Fatalf("%v\n%s", err, out)
					}
					site.Eventually(t, 10*time.Second, verb, func() bool { return d.Weight(idle) <= 0 == (verb == "drain") })
				}
			}
		})
	})
	t.Run("kill -9 and restart", func(t *testing.T) {
		d := s.LB[0]
		w := d.Node.Wiretap()
		want := sorted(d.Saved())
		goesOn(t, q, "kill -9 and restart", func() {
			mark, said := w.Mark(), len(d.Log())
			d.Kill()
			d.Start()
			settled(t)
			time.Sleep(3 * time.Second) // a resync
			list, err := w.Writes(mark)
			// The service that proves the synchronisation is made anew.
			list = slices.DeleteFunc(list, func(c lab.Command) bool { return c.Service == connsync.ProbeService.String() })
			if err != nil || len(list) > 0 {
				t.Errorf("adopting the table wrote %v (%v), want nothing", names(list), err)
			}
			if w.Mark() == mark {
				t.Error("the daemon did not even look at the table")
			}
			if strings.Contains(d.Log()[said:], "lane=ipvs change=") {
				t.Errorf("the log tells of changes:\n%s", d.Log()[said:])
			}
			if diff := cmp.Diff(want, sorted(d.Saved())); diff != "" {
				t.Errorf("another table (-before +after):\n%s", diff)
			}
		})
	})
	synced(t, s.LB[1])
	t.Run("planned failover", func(t *testing.T) {
		goesOn(t, q, "SIGTERM of the master", func() {
			if err := s.LB[0].Stop(); err != nil {
				t.Fatal(err)
			}
			site.Eventually(t, 10*time.Second, "takeover", func() bool { return s.LB[1].State() == "master" })
		})
		goesOn(t, q, "the way back", func() {
			s.LB[0].Start()
			settled(t)
		})
	})
	if q.Downloads() == "" {
		t.Error("the download is over")
	}
	synced(t, s.LB[1])
	t.Run("link cut", func(t *testing.T) {
		goesOn(t, q, "link cut", func() {
			s.LB[0].Port.Cut()
			site.Eventually(t, 10*time.Second, "takeover", func() bool { return s.LB[1].State() == "master" && s.LB[0].State() == "fault" })
		})
		goesOn(t, q, "the way back", func() {
			s.LB[0].Port.Mend()
			settled(t)
		})
	})
}

// TestSessionsNeedSync shows what the synchronisation is for: without it, a
// planned failover resets the sessions.
func TestSessionsNeedSync(t *testing.T) {
	s := site.New(t, site.Options{Interval: 100 * time.Millisecond, Check: calmCheck})
	s.StartPair()
	q := open(s)
	if err := s.LB[0].Stop(); err != nil {
		t.Fatal(err)
	}
	site.Eventually(t, 20*time.Second, "the sessions to break", func() bool { return len(q.Broken()) == sessions+1 })
	t.Log(q, q.Broken()[0])
}

// reloads changes one of ten servers with each reload: it is taken out of the
// files, and with the next reload put back, each time another one. Its sessions
// go on meanwhile, since it is drained.
func reloads(t *testing.T, s *site.Site, times int) {
	t.Helper()
	for n := range times {
		k := n / 2 % len(s.Servers)
		weight, server := 1, fmt.Sprintf("%s:%d", s.ServerIP(k), s.ServerPort())
		for i, d := range s.LB {
			config := s.Config(i)
			if n%2 == 0 {
				weight = 0
				block := fmt.Sprintf("[[service.server]]\naddress = %q\nweight = 1\n", server)
				if strings.Count(config, block) == 0 {
					t.Fatalf("no server %s in\n%s", server, config)
				}
				config = strings.ReplaceAll(config, block, "")
			}
			d.Write(config)
			if err := d.Reload(); err != nil {
				t.Fatal(err)
			}
		}
		for _, d := range s.LB {
			site.Eventually(t, 5*time.Second, fmt.Sprintf("%s with weight %d on %s", server, weight, d.Node.Name), func() bool {
				return d.Weight(k) == weight
			})
		}
	}
}
