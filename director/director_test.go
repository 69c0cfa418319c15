package director_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/directortest"
	"github.com/understudy-ha/understudy/garp"
	"github.com/understudy-ha/understudy/health"
)

// stage is a running director in a bubble, with everything around it.
type stage struct {
	t       *testing.T
	kernel  *directortest.Kernel
	process *directortest.Process
	options director.Options
	d       *director.Director
	stop    func() error

	mu     sync.Mutex
	roles  map[string]director.RoleState
	state  health.State
	claims map[garp.Target]garp.Claim
	log    bytes.Buffer
}

var (
	vip    = director.AddrKey{Link: "eth0", Prefix: netip.MustParsePrefix("192.0.2.1/24")}
	second = director.AddrKey{Link: "eth0", Prefix: netip.MustParsePrefix("192.0.2.2/24")}
	web    = directortest.Service(director.TCP, "192.0.2.1:80")
	real1  = director.Key{Service: web, Server: netip.MustParseAddrPort("10.0.0.1:80")}
	config = director.Config{
		Routers: []director.VirtualRouter{{Name: "a", Link: "eth0", Addresses: []netip.Prefix{vip.Prefix}, Announce: garp.Schedule{Count: 2}}},
		Services: []director.Service{{Name: "web", Key: web, Spec: director.ServiceSpec{Scheduler: "rr"}, Servers: []director.Server{
			{Address: real1.Server, Spec: director.ServerSpec{Weight: 1}, Check: health.Check{Type: health.TypeTCP}},
		}}},
	}
	target = garp.Target{Link: "eth0", Address: vip.Prefix.Addr()}
)

// newStage prepares a director whose options may be changed before run.
func newStage(t *testing.T) *stage {
	s := &stage{t: t, kernel: directortest.NewKernel(true), roles: map[string]director.RoleState{}}
	s.process = s.kernel.Process()
	s.options = director.Options{
		Addresses: s.process.Addresses(), IPVS: s.process.IPVS(), Announcer: s,
		ServiceLedger: s.process.ServiceLedger(), AddressLedger: s.process.AddressLedger(),
		Roles: func() map[string]director.RoleState {
			s.mu.Lock()
			defer s.mu.Unlock()
			roles := map[string]director.RoleState{}
			for k, v := range s.roles {
				roles[k] = v
			}
			return roles
		},
		Health: func(health.Check) health.Status {
			s.mu.Lock()
			defer s.mu.Unlock()
			return health.Status{State: s.state}
		},
		Log: slog.New(slog.NewTextHandler(s, nil)),
	}
	return s
}

func (s *stage) run() *stage {
	s.d = director.New(s.options)
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan error, 1)
	go func() { done <- s.d.Run(ctx) }()
	s.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	s.t.Cleanup(func() { _ = s.stop() })
	return s
}

func (s *stage) Set(claims map[garp.Target]garp.Claim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claims = claims
}

func (s *stage) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(b)
}

// lines returns how often the log holds each of the words.
func (s *stage) lines(words string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.log.String(), words)
}

func (s *stage) become(r director.Role, epoch uint64) {
	s.mu.Lock()
	s.roles["a"] = director.RoleState{Role: r, Epoch: epoch}
	s.mu.Unlock()
	s.d.RingAddresses()
	synctest.Wait()
}

func (s *stage) is(h health.State) {
	s.mu.Lock()
	s.state = h
	s.mu.Unlock()
	s.d.Ring()
	synctest.Wait()
}

func (s *stage) epoch() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.claims[target].Epoch
}

// shows compares the kernel as it prints itself.
func (s *stage) shows(want string) {
	s.t.Helper()
	if d := cmp.Diff(want, s.kernel.String()); d != "" {
		s.t.Fatalf("the kernel holds something else (-want +got):\n%s", d)
	}
}

const (
	addressLine = "inet 192.0.2.1/24 dev eth0 proto ours\n"
	serviceLine = "-A -t 192.0.2.1:80 -s rr\n"
	serverLine  = "-a -t 192.0.2.1:80 -r 10.0.0.1:80 -m -w 1\n"
)

func TestTakeoverAndHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t).run()
		time.Sleep(time.Minute)
		s.shows("") // nothing is configured yet
		began := time.Now()
		s.d.Set(config)
		synctest.Wait()
		s.shows(serviceLine)
		s.is(health.Up)
		s.become(director.RoleMaster, 1)
		s.shows(addressLine + serviceLine + serverLine)
		if s.epoch() == 0 || s.claims[target].Schedule.Count != 2 {
			t.Errorf("claims = %v, want the address", s.claims)
		}
		s.is(health.Down)
		s.shows(addressLine + serviceLine)
		s.become(director.RoleBackup, 1)
		s.shows(serviceLine)
		if len(s.claims) != 0 {
			t.Errorf("claims of a backup = %v", s.claims)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("all that took %v; bells should do it at once", took)
		}
		// A bell that is lost costs the resync interval.
		s.mu.Lock()
		s.roles["a"] = director.RoleState{Role: director.RoleMaster, Epoch: 2}
		s.mu.Unlock()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		s.shows(addressLine + serviceLine)
	})
}

// slow is an IPVS table whose dumps take a minute.
type slow struct {
	director.Table[director.Key, director.Spec]
}

func (t slow) List(ctx context.Context) (map[director.Key]director.Spec, error) {
	select {
	case <-time.After(time.Minute):
		return t.Table.List(ctx)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestSlowDumpDoesNotDelayTakeover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.options.IPVS = slow{s.options.IPVS}
		s.run()
		s.d.Set(config)
		time.Sleep(time.Second)
		began := time.Now()
		s.become(director.RoleMaster, 1)
		s.shows(addressLine)
		if took := time.Since(began); took != 0 {
			t.Errorf("the takeover took %v", took)
		}
		began = time.Now()
		err := s.stop()
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("stopping took %v", took)
		}
		s.shows("")
		if err == nil {
			t.Error("Run says nothing about the table that could not be listed")
		}
	})
}

func TestDrift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t).run()
		s.d.Set(config)
		s.is(health.Up)
		s.become(director.RoleMaster, 1)
		epoch := s.epoch()
		if n := s.lines("level=WARN"); n != 0 {
			t.Fatalf("%d warnings before anything has happened:\n%s", n, s.log.String())
		}
		s.kernel.ByHand(func(h directortest.Hand) {
			h.Clear()
			if err := h.DeleteAddress(vip); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(5 * time.Second)
		synctest.Wait()
		s.shows(addressLine + serviceLine + serverLine)
		if s.epoch() == epoch {
			t.Error("the address that was put back is not announced again")
		}
		if n := s.lines("level=WARN"); n != 3 {
			t.Errorf("%d warnings, want one for each of 3 objects:\n%s", n, s.log.String())
		}
		status := s.d.Status(t.Context())
		if status.AddressLane.Repairs != 1 || status.IPVSLane.Repairs != 2 {
			t.Errorf("repairs = %d and %d, want 1 and 2", status.AddressLane.Repairs, status.IPVSLane.Repairs)
		}
		epoch = s.epoch()
		time.Sleep(time.Minute)
		if s.epoch() != epoch {
			t.Error("it is announced again for no reason")
		}
	})
}

func TestManyChangesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t).run()
		c := config
		for i := range 200 {
			c.Services = append(c.Services, director.Service{
				Name: "many", Key: director.ServiceKey{FWMark: uint32(1 + i)}, Spec: director.ServiceSpec{Scheduler: "rr"},
			})
		}
		s.d.Set(c)
		synctest.Wait()
		if lines, rest := s.lines("lane=ipvs change="), s.lines("lane=ipvs more=181"); lines != 20 || rest != 1 {
			t.Errorf("%d lines and %d counts, want 20 and 1:\n%s", lines, rest, s.log.String())
		}
	})
}

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
			s.options.IPVS = recorder[director.Key, director.Spec]{s.options.IPVS, "ipvs", note}
			s.options.KeepOnExit = keep
			s.kernel.ByHand(func(h directortest.Hand) {
				_ = h.Service(director.ServiceKey{FWMark: 9}, director.ServiceSpec{Scheduler: "lc"})
			})
			s.run()
			s.d.Set(config)
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
				want, shows = nil, addressLine+foreign+serviceLine+serverLine
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
			Name: "mixed", Key: director.ServiceKey{FWMark: 1}, Spec: director.ServiceSpec{Scheduler: "rr"},
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
				Name: "web", Key: web, Want: spec, Have: spec, Held: true,
				Servers: []director.ServerStatus{{
					Address: real1.Server, Intent: director.Hold, Reason: director.ReasonUp,
					Want: director.ServerSpec{Weight: 1}, Have: director.ServerSpec{Weight: 1}, Held: true,
					Checked: true, Health: health.Status{State: health.Up},
				}},
			},
			{
				Name: "mixed", Key: director.ServiceKey{FWMark: 1}, Want: spec, Have: spec, Held: true,
				Servers: []director.ServerStatus{{
					Address: netip.MustParseAddrPort("[2001:db8::1]:80"), Intent: director.Hold, Reason: director.ReasonUnchecked,
					Err: "address family not supported by protocol",
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
