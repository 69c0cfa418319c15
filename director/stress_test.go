package director_test

import (
	"context"
	"maps"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/directortest"
)

// TestEverybodyAtOnce has everything done to a running director at once, from
// many goroutines; in the end it holds what it should. It is of use with the
// race detector above all.
func TestEverybodyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rounds = 300
		s, b, _ := troubledStage(t, 5)
		orders, _ := director.NewOrders(&ordersFake{})
		full := farm(5)
		b.set(func() { b.slow = 50 * time.Millisecond })
		var all sync.WaitGroup
		for i, act := range []func(r *rand.Rand){
			func(r *rand.Rand) {
				c := farm(1 + r.IntN(5))
				c.Exclusive = r.IntN(3) == 0
				for i := range c.Services {
					c.Services[i].Servers = c.Services[i].Servers[:1+r.IntN(10)]
					c.Services[i].Policy = director.Policy{
						Drain: time.Duration(r.IntN(3)) * time.Second, SlowStart: time.Duration(r.IntN(3)) * time.Second,
						ZeroWhileDown: r.IntN(2) == 0, Sorry: director.Server{Address: sorry, Spec: director.ServerSpec{Weight: 1}},
					}
				}
				s.d.Set(c)
			},
			func(r *rand.Rand) {
				server := full.Services[r.IntN(5)].Servers[r.IntN(10)]
				s.mu.Lock()
				s.down[server.Address] = r.IntN(2) == 0
				s.mu.Unlock()
				s.d.RingCheck(server.Check)
			},
			func(r *rand.Rand) {
				s.order(director.Order{Drain: r.IntN(2) == 0})
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
				defer cancel()
				_ = s.d.Attend(ctx, []string{"s0", "s4", "nobody"}[r.IntN(3)])
			},
			func(*rand.Rand) {
				_ = s.d.Status(t.Context())
				_ = s.d.Loaded()
			},
			func(r *rand.Rand) {
				s.kernel.ByHand(func(h directortest.Hand) {
					service := full.Services[r.IntN(5)]
					key := keyOf(service, r.IntN(10))
					switch r.IntN(4) {
					case 0:
						_ = h.Delete(director.Key{Service: service.Keys[0]})
					case 1:
						_ = h.Delete(key)
					case 2:
						_ = h.Set(key, director.Spec{Server: director.ServerSpec{Weight: 9}})
					case 3:
						h.Count(key, director.Counters{Active: r.IntN(2)})
					}
				})
				if r.IntN(5) == 0 {
					s.kernel.Fault(r.Uint64(), r.IntN(6))
				}
			},
			func(r *rand.Rand) {
				_, _ = orders.Change(director.ServerName{Service: "s0", Server: real1.Server}, func(o director.Order) director.Order {
					o.Weighted, o.Weight = r.IntN(2) == 0, r.IntN(5)
					return o
				})
				_, _ = orders.List(), orders.Lookup(director.ServerName{Service: "s0", Server: real1.Server})
			},
		} {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			all.Go(func() {
				for range rounds {
					act(r)
					time.Sleep(time.Duration(r.IntN(20)) * time.Millisecond)
				}
			})
		}
		all.Wait()
		s.kernel.Fault(0, 0)
		s.mu.Lock()
		s.down = map[netip.AddrPort]bool{}
		s.given = director.Order{}
		s.mu.Unlock()
		s.d.Set(full)
		time.Sleep(time.Minute)
		synctest.Wait()
		if d := cmp.Diff(directortest.Full(full), s.kernel.Entries(), equal...); d != "" {
			t.Errorf("the kernel holds something else (-want +got):\n%s", d)
		}
		if got := s.d.Status(t.Context()).IPVSLane.Err; got != "" {
			t.Errorf("status has %q", got)
		}
		all.Go(func() { // who asks while it stops
			for range 100 {
				_ = s.d.Status(t.Context())
				time.Sleep(time.Millisecond)
			}
		})
		b.set(func() { b.list = context.DeadlineExceeded })
		all.Go(func() {
			time.Sleep(50 * time.Millisecond)
			b.set(func() { b.list = nil })
		})
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		all.Wait()
		if left := s.kernel.Entries(); len(left) > 0 {
			t.Errorf("left at the end: %v", maps.Keys(left))
		}
	})
}
