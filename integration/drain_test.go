package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/site"
)

// TestDrainByHand drains one server while a client opens connections without
// pause and holds others: nothing new gets there from the moment of the command,
// what is there goes on, and the server goes with the last of it.
func TestDrainByHand(t *testing.T) {
	for _, forward := range []string{"dr", "nat"} {
		t.Run(forward, func(t *testing.T) {
			s := site.New(t, site.Options{
				Forward: forward, Interval: 100 * time.Millisecond, Check: calmCheck, Service: "drain = \"10m\"\n",
			})
			// What has ended is forgotten soon, not after two minutes.
			s.LB[0].Node.MustRun("ipvsadm", "--set", "900", "2", "300")
			d := s.LB[0]
			d.Start()
			site.Eventually(t, 10*time.Second, "a full table", func() bool { return d.State() == "master" && d.Serving() == 3 })
			q := openSome(s, sessions, time.Second) // the processor is for new connections
			var loads []*lab.Load
			for range 2 {
				loads = append(loads, s.Client.Load(s.URL(), 10*time.Millisecond, 5*time.Second))
			}
			requests := func(from, to time.Time) (all, there int) {
				for _, l := range loads {
					r := l.Between(from, to)
					if r.Failed > 0 {
						t.Errorf("%v: %v", r, r.FirstError)
					}
					all, there = all+r.Sent, there+r.By["rs2"]
				}
				return all, there
			}
			server := fmt.Sprintf("%s:%d", s.ServerIP(1), s.ServerPort())
			command := func(verb string) time.Time {
				t.Helper()
				if out, err := d.Command(verb, "web", server); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				return time.Now()
			}
			begun := time.Now()
			enough := func(since time.Time) {
				t.Helper()
				site.Eventually(t, 20*time.Second, "more requests", func() bool { n, _ := requests(since, time.Now()); return n >= 100 })
			}
			enough(begun)
			if _, there := requests(begun, time.Now()); there == 0 {
				t.Fatal("no request got to the server before it is drained")
			}

			held := q.By()["rs2"]
			goesOn(t, q, "drain", func() {
				drained := command("drain")
				enough(drained)
				if all, there := requests(drained, time.Now()); there > 0 {
					t.Errorf("%d of %d new connections got to the drained server", there, all)
				}
			})
			if now := q.By()["rs2"]; now != held {
				t.Errorf("%d sessions with the drained server, before %d", now, held)
			}
			if weight := d.Weight(1); weight != 0 {
				t.Errorf("weight %d, want 0 while there are sessions", weight)
			}

			// All but one end; the server must wait for that one.
			if n := q.End("rs2", held-1); n != held-1 {
				t.Fatalf("%d sessions ended, want %d", n, held-1)
			}
			goesOn(t, q, "the end of all sessions but one", func() { time.Sleep(4 * time.Second) })
			if weight := d.Weight(1); weight != 0 {
				t.Errorf("weight %d, want 0 while there is a session", weight)
			}
			q.End("rs2", 1)
			ended := time.Now()
			site.Eventually(t, 10*time.Second, "the server to be removed", func() bool { return d.Weight(1) == -1 })
			t.Logf("removed %v after the last session had ended", time.Since(ended).Round(time.Millisecond))

			back := command("undrain")
			site.Eventually(t, 5*time.Second, "the server to come back", func() bool { return d.Weight(1) == 1 })
			site.Eventually(t, 10*time.Second, "a request to get there", func() bool { _, there := requests(back, time.Now()); return there > 0 })
			goesOn(t, q, "undrain", func() {})
		})
	}
}

// TestDrainIsKept kills, restarts and reloads a director: what was drained by
// hand stays so until it is undone.
func TestDrainIsKept(t *testing.T) {
	s := site.New(t, site.Options{Interval: 100 * time.Millisecond})
	d := s.LB[0]
	d.Start()
	full := func() bool { return d.State() == "master" && d.Serving() == 3 }
	site.Eventually(t, 10*time.Second, "a full table", full)
	server := fmt.Sprintf("%s:%d", s.ServerIP(1), s.ServerPort())
	if out, err := d.Command("drain", "web", server); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out := func() bool { return d.State() == "master" && d.Weight(1) <= 0 && d.Serves(0) && d.Serves(2) }
	site.Eventually(t, 5*time.Second, "the server to go", out)
	for _, c := range []struct {
		name string
		do   func()
	}{
		{"reload", func() {
			if err := d.Reload(); err != nil {
				t.Fatal(err)
			}
		}},
		{"kill", func() { d.Kill(); d.Start() }},
		{"stop", func() {
			if err := d.Stop(); err != nil {
				t.Fatal(err)
			}
			d.Start()
		}},
	} {
		c.do()
		site.Eventually(t, 10*time.Second, "two servers after "+c.name, out)
		time.Sleep(time.Second) // the checks have all passed by now
		if !out() {
			t.Errorf("after %s the server is back:\n%s", c.name, d.Table())
		}
	}
	if out, err := d.Command("undrain", "web", server); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	site.Eventually(t, 5*time.Second, "a full table", full)
}
