package integration

import (
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/integration/site"
)

// eventually waits until what holds, for no longer than limit.
func eventually(t *testing.T, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	if err := site.Wait(limit, what, holds); err != nil {
		t.Fatal(err)
	}
}

// newSite builds a site and, when the test fails, shows what the daemons said.
func newSite(t *testing.T, o site.Options) *site.Site {
	t.Helper()
	s := site.New(t, o)
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		for _, d := range s.LB {
			t.Logf("log of %s:\n%s", d.Node.Name, lastLines(d.Log(), 60))
		}
	})
	return s
}

// startPair starts both directors and waits until the site serves.
func startPair(t *testing.T, s *site.Site) {
	t.Helper()
	for _, d := range s.LB {
		d.Start()
	}
	if err := s.WaitReady(); err != nil {
		t.Fatal(err)
	}
}

func lastLines(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
