package integration

import (
	"testing"
	"time"

	"github.com/understudy-ha/understudy/integration/site"
)

// TestServerDeath takes a server away in each way that servers go, and back.
func TestServerDeath(t *testing.T) {
	const interval, timeout, fall, rise = 200 * time.Millisecond, 200 * time.Millisecond, 2, 2
	s := site.New(t, site.Options{Interval: 100 * time.Millisecond})
	s.StartPair()
	load := s.Client.Load(s.URL(), 5*time.Millisecond, 400*time.Millisecond)
	const victim = 1
	both := func(want bool) func() bool {
		return func() bool { return s.LB[0].Serves(victim) == want && s.LB[1].Serves(victim) == want }
	}
	for _, c := range []struct {
		name       string
		down, back func()
	}{
		{"health page fails", func() { s.Services[victim].Sicken(true) }, func() { s.Services[victim].Sicken(false) }},
		{"host dies", s.ServerPorts[victim].Isolate, s.ServerPorts[victim].Rejoin},
	} {
		t.Run(c.name, func(t *testing.T) {
			begun := time.Now()
			c.down()
			site.Eventually(t, 5*time.Second, "the server to leave both tables", both(false))
			out := time.Since(begun)
			t.Logf("out after %v", out)
			if bound := interval*fall + timeout + 2*site.Slack(); out > bound {
				t.Errorf("out after %v, want at most %v", out, bound)
			}
			left := time.Now().Add(10 * time.Millisecond)
			time.Sleep(500 * time.Millisecond)
			// Requests go one after the other and in turn: while the dead server
			// was in the table, every third one met it, and no other failed.
			during := load.Between(begun, left)
			if during.Failed > during.Sent/3+1 {
				t.Errorf("while the server was dying: %v; more failed than met it (%v)", during, during.FirstError)
			}
			after := load.Between(left, time.Now())
			if after.Failed > 0 || after.By["rs2"] > 0 || after.By["rs1"] == 0 || after.By["rs3"] == 0 {
				t.Errorf("after it had left: %v (%v)", after, after.FirstError)
			}

			begun = time.Now()
			c.back()
			site.Eventually(t, 5*time.Second, "the server to come back to both tables", both(true))
			back := time.Since(begun)
			t.Logf("back after %v", back)
			if bound := interval*rise + 2*site.Slack(); back > bound {
				t.Errorf("back after %v, want at most %v", back, bound)
			}
			begun = time.Now()
			time.Sleep(500 * time.Millisecond)
			if r := load.Between(begun, time.Now()); r.Failed > 0 || r.By["rs2"] == 0 {
				t.Errorf("after it had come back: %v (%v)", r, r.FirstError)
			}
		})
	}
}

// TestFreshStart shows that nothing is sent to a server before its first
// result, and that servers without a check are admitted at once.
func TestFreshStart(t *testing.T) {
	s := site.New(t, site.Options{
		Interval: 100 * time.Millisecond,
		Extra: `
[[service]]
name = "unchecked"
address = "10.51.0.100:8000"
scheduler = "rr"
forward = "dr"
check = { type = "none" }
[[service.server]]
address = "10.51.0.21:8000"
`,
	})
	s.ServerPorts[2].Isolate() // never answers: neither up nor, for a while, down
	d := s.LB[0]
	d.Start()
	site.Eventually(t, 5*time.Second, "the servers that answer to be in the table", func() bool { return d.Serving() == 2 })
	st, err := d.Status()
	if err != nil {
		t.Fatal(err)
	}
	if third := st.Services[0].Servers[2]; third.InTable || third.Health == "up" {
		t.Errorf("a server without an answer: %+v, want out of the table", third)
	}
	if one := st.Services[2].Servers[0]; !one.InTable || one.Health != "none" {
		t.Errorf("a server without a check: %+v, want in the table", one)
	}
}
