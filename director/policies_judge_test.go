package director_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/directortest"
	"github.com/understudy-ha/understudy/health"
)

// wanted is what may be said of a server once all has settled.
type wanted struct {
	must, may bool
	weight    int // if it must be there
	most      int // if it may
}

func (w *site) wantedOf(s director.Service, addr netip.AddrPort, quorum director.Quorum, busy map[director.Key]int) wanted {
	instead := s.Policy.Sorry.Address.IsValid() && quorum == director.QuorumLost
	if addr == s.Policy.Sorry.Address {
		return wanted{must: instead, may: quorum != director.QuorumKept, weight: 1, most: 1}
	}
	order := w.orders.Lookup(director.ServerName{Service: s.Name, Server: addr})
	if order.Drain {
		return wanted{may: order.Deadline.IsZero() && slices.ContainsFunc(s.Keys, func(k director.ServiceKey) bool {
			_, open := busy[director.Key{Service: k, Server: addr}]
			return open
		})}
	}
	i := slices.IndexFunc(s.Servers, func(r director.Server) bool { return r.Address == addr })
	if i < 0 {
		least, most, unjudged := w.liveOf(s)
		return wanted{may: least == 0 && most > 0 && unjudged && quorum != director.QuorumLost, most: math.MaxInt}
	}
	weight := s.Servers[i].Spec.Weight
	if order.Weighted {
		weight = order.Weight
	}
	state := w.health[addr]
	if s.Servers[i].Check.Type == health.TypeNone {
		state = health.Up
	}
	switch {
	case state == health.Down:
		return wanted{must: s.Policy.ZeroWhileDown, may: s.Policy.ZeroWhileDown}
	case state == health.Unknown && s.Policy.Alpha && instead:
		return wanted{may: s.Policy.ZeroWhileDown} // as if it were down, if it was not fit before
	case instead && (weight > 0 || state == health.Unknown):
		return wanted{}
	case state == health.Unknown:
		return wanted{may: true, most: weight}
	}
	return wanted{must: true, may: true, weight: weight, most: weight}
}

// liveOf returns the least and the most that the live servers may weigh, and
// whether some are not judged.
func (w *site) liveOf(s director.Service) (least, most int, unjudged bool) {
	for _, r := range s.Servers {
		state := w.health[r.Address]
		if r.Check.Type == health.TypeNone {
			state = health.Up
		}
		order := w.orders.Lookup(director.ServerName{Service: s.Name, Server: r.Address})
		weight := r.Spec.Weight
		if order.Weighted {
			weight = order.Weight
		}
		switch {
		case order.Drain:
		case state == health.Up:
			least, most = least+weight, most+weight
		case state == health.Unknown:
			unjudged, most = true, most+weight // with Alpha too: it may have been fit
		}
	}
	return least, most, unjudged
}

// settled looks at the site after nothing has happened for long.
func (w *site) settled() {
	t := w.t
	w.kernel.Fault(0, 0)
	time.Sleep(settling)
	synctest.Wait()
	table, busy := w.kernel.Entries(), w.busy()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Fatalf("%s\n%v", fmt.Sprintf(format, args...), w.kernel)
	}
	status := w.d.Status(context.Background())
	if status.IPVSLane.Err != "" || !w.d.Loaded() {
		fail("the lane says %q, loaded %v", status.IPVSLane.Err, w.d.Loaded())
	}
	quorums := map[string]director.Quorum{}
	for _, s := range status.Services {
		quorums[s.Name] = s.Quorum
	}
	owner := owners(w.config)
	for _, s := range w.config.Services {
		least, most, unjudged := w.liveOf(s)
		need := max(s.Policy.Quorum, 1)
		switch q := quorums[s.Name]; {
		case q == director.QuorumKept && most < max(need-s.Policy.Hysteresis, 1),
			q == director.QuorumLost && least >= need+s.Policy.Hysteresis,
			q == director.QuorumUnknown && (!unjudged || least >= need):
			fail("service %s has quorum %v with live servers of %d to %d; policy %+v", s.Name, q, least, most, s.Policy)
		}
		for _, k := range s.Keys {
			if _, held := table[director.Key{Service: k}]; !held {
				fail("the service %v is missing", k)
			}
			for _, addr := range append([]netip.AddrPort{sorry}, siteServer(0), siteServer(1), siteServer(2)) {
				want := w.wantedOf(s, addr, quorums[s.Name], busy)
				have, held := table[director.Key{Service: k, Server: addr}]
				switch {
				case want.must && (!held || have.Server.Weight != want.weight):
					fail("%s %v %v is %v, %v; want weight %d", s.Name, k, addr, held, have, want.weight)
				case held && !want.may:
					fail("%s %v %v is there", s.Name, k, addr)
				case held && have.Server.Weight > want.most:
					fail("%s %v %v has weight %d; want %d at most", s.Name, k, addr, have.Server.Weight, want.most)
				}
			}
		}
	}
	for key := range table {
		_, ok := owner[key.Service]
		switch {
		case key.Service == foreign && !w.config.Exclusive:
		case !ok && (w.config.Exclusive || !w.disturbed):
			fail("%v is left", key)
		case ok && !key.IsService() && key.Server != sorry && !slices.Contains([]netip.AddrPort{siteServer(0), siteServer(1), siteServer(2)}, key.Server):
			fail("%v is left", key)
		}
	}
	if !w.disturbed && status.IPVSLane.Repairs != 0 {
		fail("%d repairs of what nobody has disturbed", status.IPVSLane.Repairs)
	}
	w.kernel.EntryJournal()
	time.Sleep(10 * time.Second)
	synctest.Wait()
	if j := w.kernel.EntryJournal(); len(j) > 0 {
		fail("changes without a reason: %v", j)
	}
	after := w.d.Status(context.Background()).IPVSLane.Passes
	if n := after - status.IPVSLane.Passes; n > 60 {
		fail("%d passes in 10 s in which nothing happened", n)
	}
}

// TestPolicies runs a director whose services have policies while servers come
// and go, orders are given, the configuration is changed, hands are in the
// kernel, and faults and kills happen, and looks at what is there when all has
// settled.
func TestPolicies(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		// Time is that of a bubble, from which a failure has to be carried out.
		var failure any
		synctest.Test(t, func(*testing.T) {
			defer func() { failure = recover() }()
			liveThroughPolicies(rt)
		})
		switch {
		case failure == nil:
		case fmt.Sprintf("%T", failure) == "rapid.invalidData":
			panic(failure) // on a line of its own: a shorter input that is none is no failure
		default:
			panic(failure)
		}
	})
}

func liveThroughPolicies(t *rapid.T) {
	w := &site{t: t, kernel: directortest.NewKernel(true), health: map[netip.AddrPort]health.State{}}
	w.orders, _ = director.NewOrders(&ordersFake{})
	w.kernel.ByHand(func(h directortest.Hand) { _ = h.Service(foreign, director.ServiceSpec{Scheduler: "lc"}) })
	w.slow = time.Duration(rapid.SampledFrom([]int{0, 0, 700}).Draw(t, "slow listing")) * time.Millisecond
	w.resync = rapid.SampledFrom([]time.Duration{2 * time.Second, time.Hour}).Draw(t, "resync")
	w.config = drawSite(t)
	w.start()
	defer func() { _ = w.stop() }()
	for range rapid.IntRange(1, 3).Draw(t, "rounds") {
		for range rapid.IntRange(1, 8).Draw(t, "acts") {
			w.act()
		}
		w.settled()
	}
	before := w.kernel.Entries()
	if err := w.stop(); err != nil && !errors.Is(err, directortest.ErrKilled) {
		t.Fatal(err)
	}
	kept := maps.Clone(before)
	maps.DeleteFunc(kept, func(k director.Key, _ director.Spec) bool {
		for _, s := range w.config.Services {
			if slices.Contains(s.Keys, k.Service) {
				return !s.Policy.KeepAtStop
			}
		}
		return w.config.Exclusive
	})
	if got := w.kernel.Entries(); !maps.Equal(kept, got) {
		t.Fatalf("at the end the kernel holds %v, want %v", got, kept)
	}
}
