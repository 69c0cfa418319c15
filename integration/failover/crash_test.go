package failover

import (
	"syscall"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/site"
)

// TestKilledAndStartedAgain kills the master as kill -9 does and starts it again
// at once: the addresses stay, and neither the client nor the peer notices.
func TestKilledAndStartedAgain(t *testing.T) {
	testCrash(t, site.Options{}, 0, nil, killAndStart)
}

func killAndStart(_ *testing.T, d *site.Director) {
	d.Kill()
	d.Start()
}

// TestKilledUnderSupervision does so with the daemon's own supervisor, which is
// not told. It waits before it starts one again that has not lived for 2 s.
func TestKilledUnderSupervision(t *testing.T) {
	testCrash(t, site.Options{}, 2*time.Second, []string{"--supervise"}, func(t *testing.T, d *site.Director) {
		status, err := d.Status()
		if err != nil {
			t.Fatal(err)
		}
		if status.PID == d.Pid() {
			t.Fatalf("process %d supervises itself", status.PID)
		}
		if err := syscall.Kill(status.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	})
}

// testCrash lets a director that was started with the arguments crash twenty
// times, each time after it has lived for at least so long.
func testCrash(t *testing.T, o site.Options, lives time.Duration, args []string, crash func(*testing.T, *site.Director)) {
	t.Parallel()
	const (
		times    = 20
		interval = time.Second
	)
	o.Interval, o.NoServices = interval, true
	s := site.New(t, o)
	for _, d := range s.LB {
		d.Start(args...)
	}
	if err := s.WaitReady(); err != nil {
		t.Fatal(err)
	}
	heard := s.LAN.Tap(lab.VRRP())
	p := s.Client.Probe(s.Echo(), time.Millisecond)
	s.Answers(p, 2*time.Second)
	before, err := s.LB[1].Status()
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(lives)
	begin := time.Now()
	for i := range times {
		old, err := s.LB[0].Status()
		if err != nil {
			t.Fatal(err)
		}
		mark := heard.Mark()
		crash(t, s.LB[0])
		if err := site.Wait(10*time.Second, "the director to be master again", func() bool {
			now, err := s.LB[0].Status()
			return err == nil && now.PID != old.PID && len(now.Routers) == 1 && now.Routers[0].State == "master"
		}); err != nil {
			t.Fatalf("crash %d: %v", i+1, err)
		}
		// The next crash is to find a master that has spoken, and at another phase of its interval.
		site.Eventually(t, 10*time.Second, "its advertisement", func() bool { return heard.Mark() > mark })
		time.Sleep(lives + time.Duration(i)*interval/times)
	}
	time.Sleep(s.MasterDown())
	r := p.Between(begin, time.Now())
	t.Logf("%d × kill -9: %v", times, r)
	if missed(r) || r.By["lb1"]+r.Lost != r.Sent {
		t.Errorf("%d × kill -9: %v, answers by %v; want all by lb1", times, r, r.By)
	}
	after, err := s.LB[1].Status()
	if err != nil {
		t.Fatal(err)
	}
	if a, b := before.Routers[0], after.Routers[0]; a.State != b.State || !a.Since.Equal(b.Since) || a.Takeovers != b.Takeovers {
		t.Errorf("the peer has changed from %s since %v, %d takeovers, to %s since %v, %d takeovers", a.State, a.Since, a.Takeovers, b.State, b.Since, b.Takeovers)
	}
	list := lab.Adverts(heard.Frames())
	if reigns := lab.Reigns(list, 51); len(reigns) != 1 || reigns[0].Node != "lb1" {
		t.Errorf("masters heard: %v, want lb1 alone", reigns)
	}
	if k := farewells(list); k > 0 {
		t.Errorf("%d farewells", k)
	}
}
