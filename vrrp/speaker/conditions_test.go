package speaker

import (
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/vrrp"
)

// TestAnotherVRIDWithOurAddress: a peer that is configured with another VRID is not
// part of the election, and is named.
func TestAnotherVRIDWithOurAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, _ := pair(t, time.Second)
		other := web(100, time.Second)
		other.VRID = 52
		for _, p := range []packet{
			{src: addr("192.0.2.9"), dst: group4, ttl: 254, message: advertisement(t, other, 100, addr("192.0.2.9"), group4)},
			{src: addr("192.0.2.9"), dst: group4, ttl: 255, message: advertisement(t, other, 100, addr("192.0.2.9"), group4)},
		} {
			a.with(func() { a.inject(p) })
		}
		synctest.Wait()
		s := a.Status()[0]
		if len(s.Conditions) != 1 || s.Conditions[0].Condition != vrrp.ConditionVRID || s.Conditions[0].Count != 1 || s.Conditions[0].Peer != addr("192.0.2.9") {
			t.Errorf("conditions %+v, want the VRID once", s.Conditions)
		}
		time.Sleep(15 * time.Second)
		if s := a.Status()[0]; len(s.Conditions) != 0 || s.State != vrrp.StateMaster {
			t.Errorf("later: %v, conditions %+v", s.State, s.Conditions)
		}
	})
}

// TestTwoPeersInTurn: what differs is put into words for one of them at a time, as a
// flood must not cost more from two addresses than from one.
func TestTwoPeersInTurn(t *testing.T) {
	s := New("eth0", Options{Log: slog.New(slog.DiscardHandler)})
	l := &loop{s: s, log: newJournal(s.log)}
	in := newInstance(web(150, time.Second))
	rx := func(src string) vrrp.Received {
		return vrrp.Received{Src: addr(src), Advert: vrrp.Advertisement{Version: vrrp.V3, VRID: 51, Priority: 100, Interval: 2 * time.Second}}
	}
	now := time.Now()
	for _, tt := range []struct {
		after time.Duration
		from  string
		want  string
	}{
		{0, "192.0.2.8", "192.0.2.8"},
		{time.Millisecond, "192.0.2.9", "192.0.2.8"},
		{2 * time.Millisecond, "192.0.2.8", "192.0.2.8"},
		{time.Second, "192.0.2.9", "192.0.2.9"},
		{1001 * time.Millisecond, "192.0.2.8", "192.0.2.9"},
	} {
		l.raise(now.Add(tt.after), in, vrrp.ConditionInterval, rx(tt.from))
		if got := in.conditions[vrrp.ConditionInterval].Peer; got != addr(tt.want) {
			t.Errorf("after %v: shown by %v, want %v", tt.after, got, tt.want)
		}
	}
	if got := in.conditions[vrrp.ConditionInterval].Count; got != 5 {
		t.Errorf("%d advertisements counted, want 5", got)
	}
}

// TestConditions shows that what differs is named, by whom, and forgotten.
func TestConditions(t *testing.T) {
	tests := []struct {
		name string
		edit func(r *Router)
		prio uint8
		n    int // advertisements
		want []vrrp.Condition
	}{
		{"nothing", func(*Router) {}, 100, 1, nil},
		{"the interval", func(r *Router) { r.Interval = 2 * time.Second }, 100, 1, []vrrp.Condition{vrrp.ConditionInterval}},
		{"the version", func(r *Router) { r.Version = vrrp.V2 }, 100, 1, []vrrp.Condition{vrrp.ConditionVersion}},
		{"the addresses", func(r *Router) { r.Addresses = []netip.Addr{addr("192.0.2.77")} }, 100, 1, []vrrp.Condition{vrrp.ConditionAddresses}},
		{"our priority", func(*Router) {}, 150, 1, nil}, // many have it so
		{"another master, again and again", func(*Router) {}, 100, 6, []vrrp.Condition{vrrp.ConditionTwoMasters}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, a, _ := pair(t, time.Second) // a has priority 150
				other := web(tt.prio, time.Second)
				tt.edit(&other)
				for range tt.n {
					a.with(func() {
						a.inject(packet{src: addr("192.0.2.9"), dst: group4, ttl: 255, message: advertisement(t, other, tt.prio, addr("192.0.2.9"), group4)})
					})
					time.Sleep(time.Second)
				}
				var got []vrrp.Condition
				for _, c := range a.Status()[0].Conditions {
					got = append(got, c.Condition)
					if c.Peer != addr("192.0.2.9") || c.Detail == "" {
						t.Errorf("%+v", c)
					}
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("conditions: -want +got\n%s", diff)
				}
				time.Sleep(15 * time.Second)
				if c := a.Status()[0].Conditions; len(c) > 0 {
					t.Errorf("not forgotten: %+v", c)
				}
			})
		})
	}
}

// TestTwoOwners: RFC 9568 section 8.3.2 has it logged, and not each time.
func TestTwoOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(lan)
		a, b := l.join("a", "192.0.2.1"), l.join("b", "192.0.2.2")
		for _, h := range l.hosts {
			h.Set([]Router{web(vrrp.PriorityOwner, time.Second)})
			h.start(t)
		}
		time.Sleep(20 * time.Second)
		s := a.expect(t, vrrp.StateBackup, vrrp.ReasonTie)
		b.expect(t, vrrp.StateMaster, vrrp.ReasonOwner)
		if len(s.Conditions) != 1 || s.Conditions[0].Condition != vrrp.ConditionSamePriority || s.Conditions[0].Peer != addr("192.0.2.2") || s.Conditions[0].Count < 20 {
			t.Errorf("conditions %+v, want the priority", s.Conditions)
		}
		if n := a.logs.count("condition=same-priority"); n != 1 {
			t.Errorf("said %d times, want once:\n%s", n, a.logs)
		}
	})
}

// TestStrict: what lists other addresses counts and is named, or with Strict is
// dropped, unless RFC 3768 section 7.1 exempts its sender.
func TestStrict(t *testing.T) {
	type want struct {
		drop    vrrp.Drop
		follows bool
	}
	ours, other := []netip.Addr{addr("192.0.2.200")}, []netip.Addr{addr("192.0.2.77")}
	tests := []struct {
		name      string
		strict    bool
		version   vrrp.Version
		priority  uint8
		addresses []netip.Addr
		want      want
	}{
		{"not strict", false, vrrp.V3, 200, other, want{vrrp.DropNone, true}},
		{"strict", true, vrrp.V3, 200, other, want{vrrp.DropAddresses, false}},
		{"strict, the same", true, vrrp.V3, 200, ours, want{vrrp.DropNone, true}},
		{"strict, an owner", true, vrrp.V3, 255, other, want{vrrp.DropAddresses, false}},
		{"version 2", false, vrrp.V2, 200, other, want{vrrp.DropNone, true}},
		{"strict, version 2", true, vrrp.V2, 200, other, want{vrrp.DropAddresses, false}},
		{"strict, an owner in version 2", true, vrrp.V2, 255, other, want{vrrp.DropNone, true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := web(100, time.Second)
				r.Version, r.Strict = tt.version, tt.strict
				peer := r
				peer.Addresses = tt.addresses
				a := new(lan).join("a", "192.0.2.1")
				a.Set([]Router{r})
				a.start(t)
				a.with(func() {
					a.inject(packet{src: addr("192.0.2.9"), dst: group4, ttl: 255, message: advertisement(t, peer, tt.priority, addr("192.0.2.9"), group4)})
				})
				synctest.Wait()
				s := a.one(t)
				if got := (want{s.LastDrop.Drop, s.Master.IsValid()}); got != tt.want {
					t.Errorf("got %+v, want %+v", got, tt.want)
				}
				differ := len(s.Conditions) == 1 && s.Conditions[0].Condition == vrrp.ConditionAddresses
				if want := &tt.addresses[0] == &other[0]; differ != want {
					t.Errorf("conditions %+v, want that of the addresses: %t", s.Conditions, want)
				}
				if n := a.logs.count("level=WARN"); n > 1 || differ && n != 1 {
					t.Errorf("%d warnings:\n%s", n, a.logs)
				}
			})
		})
	}
}
