package vrrp

import (
	"net/netip"
	"testing"
	"time"
)

// TestContest: a master that hears a worse one counts it, so that the neighbours
// are told again, once a second at most; other things that it hears do not count.
func TestContest(t *testing.T) {
	now := time.Unix(1000, 0)
	r := New(Config{Name: "a", VRID: 1, Version: V3, Priority: 200, Interval: 100 * time.Millisecond, Primary: netip.MustParseAddr("10.0.0.9")})
	r.Step(now, Start{})
	for r.Status().State != StateMaster {
		now = r.Deadline()
		r.Step(now, Tick{})
	}
	hear := func(after time.Duration, priority uint8) uint64 {
		now = now.Add(after)
		r.Step(now, Received{Src: netip.MustParseAddr("10.0.0.1"), Advert: Advertisement{Version: V3, VRID: 1, Priority: priority, Interval: 100 * time.Millisecond}})
		return r.Status().Contests
	}
	for _, tt := range []struct {
		after    time.Duration
		priority uint8
		want     uint64
	}{
		{0, 0, 0}, // somebody leaves
		{time.Millisecond, 100, 1},
		{time.Millisecond, 100, 1},
		{997 * time.Millisecond, 100, 1},
		{time.Second, 100, 2},
		{time.Hour, 200, 3}, // a tie that it wins
		{time.Second, 201, 3},
	} {
		if got := hear(tt.after, tt.priority); got != tt.want {
			t.Errorf("after %v and a priority of %d: %d contests, want %d", tt.after, tt.priority, got, tt.want)
		}
	}
	if r.Status().State != StateBackup {
		t.Fatalf("state %v", r.Status().State)
	}
	hear(time.Second, 250)
	for r.Status().State != StateMaster {
		now = r.Deadline()
		r.Step(now, Tick{})
	}
	if got := hear(time.Millisecond, 100); got != 4 {
		t.Errorf("master again, and contested at once: %d contests, want 4", got)
	}
}
