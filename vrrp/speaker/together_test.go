package speaker

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/vrrp"
)

// TestAGroupMovesTogether: two virtual routers of each of two directors change state
// together, though one alone has a reason to.
func TestAGroupMovesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(lan)
		a, b := l.join("a", "192.0.2.1"), l.join("b", "192.0.2.2")
		var told []string
		routers := func(priority uint8, fault vrrp.Reason, g *Group) []Router {
			outer, inner := web(priority, time.Second), web(priority, time.Second)
			inner.Name, inner.VRID, inner.Addresses = "inner", 52, []netip.Addr{addr("192.0.2.201")}
			inner.Fault = fault
			for i, r := range []*Router{&outer, &inner} {
				r.Group, r.Place, r.Grouped = g, i, true
			}
			return []Router{outer, inner}
		}
		first := NewGroup(2, func(from, to vrrp.State) { told = append(told, fmt.Sprintf("%v > %v", from, to)) })
		second := NewGroup(2, func(_, _ vrrp.State) {})
		a.Set(routers(150, vrrp.ReasonNone, first))
		b.Set(routers(100, vrrp.ReasonNone, second))
		a.start(t)
		b.start(t)
		are := func(what string, wantA, wantB vrrp.State) {
			t.Helper()
			synctest.Wait()
			for _, h := range []struct {
				*host
				want vrrp.State
			}{{a, wantA}, {b, wantB}} {
				for i, s := range h.Status() {
					if s.State != h.want && !(h.want == vrrp.StateFault && i == 0 && s.State == vrrp.StateInit) {
						t.Errorf("%s: %s of %s is %v (%v), want %v", what, s.Config.Name, h.name, s.State, s.Reason, h.want)
					}
				}
			}
			if first.State() != wantA || second.State() != wantB {
				t.Errorf("%s: the groups are %v and %v, want %v and %v", what, first.State(), second.State(), wantA, wantB)
			}
		}
		time.Sleep(5 * time.Second)
		are("at first", vrrp.StateMaster, vrrp.StateBackup)

		a.Set(routers(150, vrrp.ReasonTrack, first))
		time.Sleep(2 * time.Second) // a farewell is answered after a skew time
		are("when one has a fault", vrrp.StateFault, vrrp.StateMaster)

		a.Set(routers(150, vrrp.ReasonNone, first))
		time.Sleep(5 * time.Second)
		are("when it has gone", vrrp.StateMaster, vrrp.StateBackup)

		// One that is not heard is not succeeded while the other is.
		a.with(func() { a.cut = true })
		for range 20 {
			time.Sleep(500 * time.Millisecond)
			synctest.Wait()
			b.with(func() {
				b.inject(packet{src: addr("192.0.2.1"), dst: group4, ttl: 255, message: advertisement(t, web(150, time.Second), 150, addr("192.0.2.1"), group4)})
			})
		}
		are("while one is heard", vrrp.StateMaster, vrrp.StateBackup)
		if inner := b.Status()[1]; !inner.Wants {
			t.Errorf("the one that is not heard: %+v", inner.Status)
		}
		time.Sleep(5 * time.Second)
		are("when neither is", vrrp.StateMaster, vrrp.StateMaster)
		if want := []string{"init > backup", "backup > master"}; len(told) < 2 || !slices.Equal(told[:2], want) {
			t.Errorf("told %v, want %v first", told, want)
		}
	})
}
