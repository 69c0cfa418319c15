package director_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/directortest"
	"github.com/understudy-ha/understudy/health"
)

// flaky is a table of addresses that fails while err is set.
type flaky struct {
	director.Table[director.AddrKey, director.AddrSpec]
	mu    sync.Mutex
	err   error
	lists []time.Time
}

func (t *flaky) set(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err, t.lists = err, nil
}

func (t *flaky) List(ctx context.Context) (map[director.AddrKey]director.AddrSpec, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lists = append(t.lists, time.Now())
	if t.err != nil {
		return nil, t.err
	}
	return t.Table.List(ctx)
}

func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		f := &flaky{Table: s.options.Addresses}
		s.options.Addresses = f
		s.options.Resync = time.Minute
		s.run()
		s.d.Set(config)
		s.become(director.RoleMaster, 1)
		s.shows(addressLine + serviceLine)
		epoch := s.epoch()

		f.set(errors.New("no memory"))
		s.d.RingAddresses()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		var waits []time.Duration
		for i := 1; i < len(f.lists); i++ {
			waits = append(waits, f.lists[i].Sub(f.lists[i-1]))
		}
		const ms = time.Millisecond
		if d := cmp.Diff([]time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 5000 * ms, 5000 * ms, 5000 * ms, 5000 * ms}, waits[:10]); d != "" {
			t.Errorf("waits (-want +got):\n%s", d)
		}
		if n := s.lines("no memory"); n != 1 {
			t.Errorf("the error is logged %d times, want once", n)
		}
		if s.d.Status(t.Context()).AddressLane.Err == "" {
			t.Error("the status shows no error")
		}
		if s.epoch() != epoch {
			t.Error("what is announced has changed")
		}
		// The kernel cannot be read, but what is not ours to answer for any
		// more must not be announced.
		s.become(director.RoleBackup, 1)
		if len(s.claims) != 0 {
			t.Errorf("claims of a backup = %v", s.claims)
		}
		f.set(nil)
		s.d.RingAddresses()
		synctest.Wait()
		s.shows(serviceLine)
		if n := s.lines("can reach the kernel again"); n != 1 {
			t.Errorf("its end is logged %d times, want once", n)
		}
	})
}

func TestSecondaryComesBackAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t).run()
		c := config
		c.Routers = []director.VirtualRouter{
			{Name: "a", Link: "eth0", Addresses: []netip.Prefix{vip.Prefix}},
			{Name: "b", Link: "eth0", Addresses: []netip.Prefix{second.Prefix}},
		}
		s.mu.Lock()
		s.roles["b"] = director.RoleState{Role: director.RoleMaster, Epoch: 1}
		s.mu.Unlock()
		s.d.Set(c)
		// Make the address of a the primary one.
		s.kernel.ByHand(func(h directortest.Hand) { _ = h.DeleteAddress(second) })
		s.become(director.RoleMaster, 1)
		began := time.Now()
		s.become(director.RoleBackup, 1) // takes the secondary along
		if took := time.Since(began); took != 0 {
			t.Errorf("that took %v", took)
		}
		s.shows("inet 192.0.2.2/24 dev eth0 proto ours\n" + serviceLine)
	})
}

// recorder notes in which order the tables are changed.
type recorder[K, V comparable] struct {
	director.Table[K, V]
	name string
	note func(string)
}

func (r recorder[K, V]) Apply(ctx context.Context, changes []director.Change[K, V]) error {
	for _, c := range changes {
		r.note(r.name + ": " + c.String())
	}
	return r.Table.Apply(ctx, changes)
}

// balancer is a Balancer whose changes go through a recorder.
type balancer struct {
	director.Balancer
	recorder recorder[director.Key, director.Spec]
}

func (b balancer) Apply(ctx context.Context, changes []directortest.EntryChange) error {
	return b.recorder.Apply(ctx, changes)
}

func TestStop(t *testing.T) {
	for _, keep := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t)
			var mu sync.Mutex
			var notes []string
			note := func(n string) {
				mu.Lock()
				defer mu.Unlock()
				notes = append(notes, n)
			}
			s.options.Addresses = recorder[director.AddrKey, director.AddrSpec]{s.options.Addresses, "addresses", note}
			s.options.IPVS = balancer{s.options.IPVS, recorder[director.Key, director.Spec]{s.options.IPVS, "ipvs", note}}
			s.kernel.ByHand(func(h directortest.Hand) {
				_ = h.Service(director.ServiceKey{FWMark: 9}, director.ServiceSpec{Scheduler: "lc"})
			})
			s.run()
			c := config
			c.Services = slices.Clone(c.Services)
			c.Services[0].Policy.KeepAtStop = keep
			s.d.Set(c)
			s.is(health.Up)
			s.become(director.RoleMaster, 1)
			notes = nil
			if err := s.stop(); err != nil {
				t.Error(err)
			}
			const foreign = "-A -f 9 -s lc\n"
			want := []string{"addresses: delete 192.0.2.1/24 on eth0", "ipvs: delete tcp 192.0.2.1:80"}
			shows := foreign
			if keep {
				want, shows = want[:1], foreign+serviceLine+serverLine
			}
			if d := cmp.Diff(want, notes); d != "" {
				t.Errorf("keep %v (-want +got):\n%s", keep, d)
			}
			s.shows(shows)
		})
	}
}

// untouchable fails the test when it is used.
type untouchable struct{ t *testing.T }

func (u untouchable) List(context.Context) (map[director.Key]director.Spec, error) {
	u.t.Error("the IPVS table was listed")
	return nil, errors.New("untouchable")
}

func (u untouchable) Connections(context.Context, director.ServiceKey) (map[netip.AddrPort]director.Counters, error) {
	u.t.Error("the IPVS table was asked for connections")
	return nil, errors.New("untouchable")
}

func (u untouchable) Apply(context.Context, []directortest.EntryChange) error {
	u.t.Error("the IPVS table was changed")
	return errors.New("untouchable")
}

func TestWithoutServicesIPVSIsNotTouched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.options.IPVS = untouchable{t}
		s.run()
		s.d.Set(director.Config{Routers: config.Routers})
		s.become(director.RoleMaster, 1)
		time.Sleep(time.Minute)
		s.shows(addressLine)
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		s.shows("")
	})
}

func TestReloadRemovesServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t).run()
		s.d.Set(config)
		s.is(health.Up)
		s.shows(serviceLine + serverLine)
		s.d.Set(director.Config{Routers: config.Routers})
		synctest.Wait()
		s.shows("")
		s.kernel.ByHand(func(h directortest.Hand) { _ = h.Service(web, director.ServiceSpec{Scheduler: "lc"}) })
		time.Sleep(time.Minute)
		s.shows("-A -t 192.0.2.1:80 -s lc\n") // what it has forgotten is not its own any more
	})
}

func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t).run()
		if got := s.d.Status(t.Context()); len(got.Addresses)+len(got.Services) != 0 {
			t.Errorf("status of nothing = %+v", got)
		}
		c := config
		c.Services = append(c.Services[:1:1], director.Service{
			Name: "mixed", Keys: []director.ServiceKey{{FWMark: 1}}, Spec: director.ServiceSpec{Scheduler: "rr"},
			Servers: []director.Server{{Address: netip.MustParseAddrPort("[2001:db8::1]:80"), Check: health.Check{Type: health.TypeNone}}},
		})
		s.d.Set(c)
		s.is(health.Up)
		s.become(director.RoleMaster, 1)
		got := s.d.Status(t.Context())
		if d := cmp.Diff([]director.AddressStatus{{
			Key: vip, Router: "a", Intent: director.Hold, Reason: director.ReasonMaster, Held: true, Ours: true,
		}}, got.Addresses, equal...); d != "" {
			t.Errorf("addresses (-want +got):\n%s", d)
		}
		spec := director.ServiceSpec{Scheduler: "rr", Mask: 32}
		if d := cmp.Diff([]director.ServiceStatus{
			{
				Name: "web", Key: web, Want: spec, Have: spec, Held: true, Quorum: director.QuorumKept,
				Servers: []director.ServerStatus{{
					Address: real1.Server, Intent: director.Hold, Reason: director.ReasonUp,
					Want: director.ServerSpec{Weight: 1}, Have: director.ServerSpec{Weight: 1}, Held: true,
					Checked: true, Health: health.Status{State: health.Up},
				}},
			},
			{
				Name: "mixed", Key: director.ServiceKey{FWMark: 1}, Want: spec, Have: spec, Held: true, Quorum: director.QuorumLost,
				Servers: []director.ServerStatus{{
					Address: netip.MustParseAddrPort("[2001:db8::1]:80"), Intent: director.Hold, Reason: director.ReasonUnchecked,
					Err: "invalid argument",
				}},
			},
		}, got.Services, equal...); d != "" {
			t.Errorf("services (-want +got):\n%s", d)
		}
		if got.IPVSLane.Err == "" || got.AddressLane.Err != "" || got.IPVSLane.Passes == 0 || got.CountersErr != "" {
			t.Errorf("lanes = %+v, %+v, %q", got.AddressLane, got.IPVSLane, got.CountersErr)
		}
	})
}

// readOnly is a ledger that cannot be written.
type readOnly struct{}

func (readOnly) Load() ([]director.ServiceKey, error) { return nil, nil }
func (readOnly) Store([]director.ServiceKey) error    { return errors.New("no space left") }

func TestLedgerThatCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.options.ServiceLedger = readOnly{}
		s.run()
		s.d.Set(config)
		time.Sleep(time.Minute) // many passes
		synctest.Wait()
		s.shows(serviceLine)
		if n := s.lines("no space left"); n != 1 {
			t.Errorf("the error is logged %d times, want once", n)
		}
	})
}

// On an interface that is there for a virtual router alone, an address that
// somebody else has put there goes too when the router gives up; elsewhere it
// stays.
func TestDeviceIsEmptied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t).run()
		c := config
		c.Routers = []director.VirtualRouter{{Name: "a", Link: "vrrp4.1", Parent: "eth0", Addresses: []netip.Prefix{vip.Prefix}}}
		s.d.Set(c)
		byHand := director.AddrKey{Link: "vrrp4.1", Prefix: netip.MustParsePrefix("192.0.2.77/32")}
		s.kernel.ByHand(func(h directortest.Hand) {
			if err := errors.Join(h.Address(byHand), h.Address(second)); err != nil {
				t.Error(err)
			}
		})
		s.become(director.RoleMaster, 1)
		s.become(director.RoleBackup, 1)
		s.shows("inet " + second.Prefix.String() + " dev eth0\n" + serviceLine)
	})
}
