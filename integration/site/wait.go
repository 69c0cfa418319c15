package site

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/vm"
)

// pollInterval is short beside what is waited for and long beside what a look
// costs: the machine has other things to do.
const pollInterval = 10 * time.Millisecond

// Wait waits until what holds, for no longer than limit.
func Wait(limit time.Duration, what string, holds func() bool) error {
	for end := time.Now().Add(limit); !holds(); time.Sleep(pollInterval) {
		if time.Now().After(end) {
			return fmt.Errorf("not within %v: %s", limit, what)
		}
	}
	return nil
}

// WaitReady waits until the first director is master and has the addresses, the
// second is backup and has them no more, and both have every server in their
// tables. A role is told of before the addresses have followed it: who asks in
// between may begin with one director and end with the other.
func (s *Site) WaitReady() error {
	limit := 2*s.MasterDown() + 15*time.Second
	vip := netip.MustParsePrefix(s.Options.Addresses[len(s.Options.Addresses)-1]).Addr()
	return Wait(limit, "master, backup and full tables", func() bool {
		for i, want := range []string{"master", "backup"} {
			if s.LB[i].State() != want || s.LB[i].Serving() != len(s.Servers) || s.LB[i].Node.Has(vip) != (i == 0) {
				return false
			}
		}
		return true
	})
}

// Answers waits until a probe that is sent from now on is answered.
func (s *Site) Answers(p *lab.Prober, limit time.Duration) {
	s.tb.Helper()
	begin := time.Now()
	Eventually(s.tb, limit, "an answer", func() bool { return p.Answered(begin) })
}

// Eventually is Wait for what may not fail.
func Eventually(tb lab.TB, limit time.Duration, what string, holds func() bool) {
	tb.Helper()
	if err := Wait(limit, what, holds); err != nil {
		tb.Fatalf("%v", err)
	}
}

// StartPair starts both directors and waits until the site serves.
func (s *Site) StartPair() {
	s.tb.Helper()
	for _, d := range s.LB {
		d.Start()
	}
	if err := s.WaitReady(); err != nil {
		s.tb.Fatalf("%v", err)
	}
}

// Slack is what the kernel under test may add to a time of the protocol. In the
// user-mode kernel all hosts share one processor, and a look at the clock costs
// as much as sending a packet.
func Slack() time.Duration {
	if vm.Inside() {
		return 50 * time.Millisecond
	}
	return 20 * time.Millisecond
}

// showLogs prints what the daemons said at the end of a test that failed.
func (s *Site) showLogs() {
	t, ok := s.tb.(interface{ Failed() bool })
	if !ok || !t.Failed() {
		return
	}
	for _, d := range s.LB {
		lines := strings.Split(d.Log(), "\n")
		s.tb.Logf("log of %s:\n%s", d.Node.Name, strings.Join(lines[max(0, len(lines)-60):], "\n"))
	}
}
