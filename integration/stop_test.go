package integration

import (
	"slices"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/integration/site"
)

// TestCleanStop stops the master: the farewell makes the peer take over after
// its skew time, and nothing of ours stays behind.
func TestCleanStop(t *testing.T) {
	s := site.New(t, site.Options{Interval: time.Second})
	// Somebody else's entries are there from the beginning.
	foreign := []string{"-A", "-t", "10.51.0.99:99", "-s", "rr"}
	s.LB[0].Node.MustRun("ipvsadm", foreign...)
	s.LB[0].Node.Address("eth0", "10.51.0.98/24")
	s.StartPair()
	p := s.Client.Probe(s.Echo(), time.Millisecond)
	begin := time.Now()
	site.Eventually(t, 2*time.Second, "an answer", func() bool { return p.Answered(begin) })
	begin = time.Now()
	if err := s.LB[0].Stop(); err != nil {
		t.Fatalf("clean stop: %v", err)
	}
	stopped := time.Since(begin)
	site.Eventually(t, 5*time.Second, "takeover", func() bool { return s.LB[1].State() == "master" })
	time.Sleep(100 * time.Millisecond)
	skew := 156 * time.Second / 256
	r := p.Between(begin, time.Now())
	t.Logf("stopped within %v; %v", stopped, r)
	if r.Gap > skew+site.Slack() {
		t.Errorf("longest gap %v, want at most the skew time %v + %v", r.Gap, skew, site.Slack())
	}
	if got, want := s.LB[0].Saved(), "-A -t 10.51.0.99:99 -s rr\n"; got != want {
		t.Errorf("left in the table:\n%swant:\n%s", got, want)
	}
	if got, want := s.LB[0].Node.Addresses("eth0"), []string{"10.51.0.11/24", "10.51.0.98/24"}; !slices.Equal(got, want) {
		t.Errorf("left on eth0: %v, want %v", got, want)
	}
}
