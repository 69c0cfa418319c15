package director_test

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
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
	down   map[netip.AddrPort]bool // though state says otherwise
	given  director.Order          // for the first server of the first service
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
		Services: []director.Service{{Name: "web", Keys: []director.ServiceKey{web}, Spec: director.ServiceSpec{Scheduler: "rr"}, Servers: []director.Server{
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
		Addresses: s.process.Addresses(), Routes: s.process.Routing(), IPVS: s.process.IPVS(), Announcer: s,
		ServiceLedger: s.process.ServiceLedger(), AddressLedger: s.process.AddressLedger(),
		Roles: func() map[string]director.RoleState {
			s.mu.Lock()
			defer s.mu.Unlock()
			roles := map[string]director.RoleState{}
			maps.Copy(roles, s.roles)
			return roles
		},
		Orders: func(n director.ServerName) director.Order {
			s.mu.Lock()
			defer s.mu.Unlock()
			if n == (director.ServerName{Service: "s0", Server: netip.MustParseAddrPort("10.0.1.1:80")}) {
				return s.given
			}
			return director.Order{}
		},
		Health: func(c health.Check) health.Status {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.down[c.Target] {
				return health.Status{State: health.Down}
			}
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
	s.d.RingServices()
	synctest.Wait()
}

func (s *stage) order(o director.Order) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.given = o
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
type slow struct{ director.Balancer }

func (t slow) List(ctx context.Context) (map[director.Key]director.Spec, error) {
	select {
	case <-time.After(time.Minute):
		return t.Balancer.List(ctx)
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
				Name: "many", Keys: []director.ServiceKey{{FWMark: uint32(1 + i)}}, Spec: director.ServiceSpec{Scheduler: "rr"},
			})
		}
		s.d.Set(c)
		synctest.Wait()
		if lines, rest := s.lines("lane=ipvs change="), s.lines("lane=ipvs more=181"); lines != 20 || rest != 1 {
			t.Errorf("%d lines and %d counts, want 20 and 1:\n%s", lines, rest, s.log.String())
		}
	})
}

// TestHardwareAddress: a bridge, a bond or an operator gives an interface another
// hardware address, and the neighbours have the old one.
func TestHardwareAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		var mu sync.Mutex
		now := ""
		s.options.HWAddr = func(string) string {
			mu.Lock()
			defer mu.Unlock()
			return now
		}
		s.run()
		s.d.Set(config)
		s.become(director.RoleMaster, 1)
		epoch := s.epoch()
		for _, c := range []struct {
			name, hw string
			again    bool
		}{
			{"known at last", "02:00:00:00:00:01", false},
			{"the same", "02:00:00:00:00:01", false},
			{"another", "02:00:00:00:00:02", true},
			{"not known for a while", "", false},
			{"known again", "02:00:00:00:00:02", false},
			{"another after not being known", "", false},
			{"another after that", "02:00:00:00:00:03", true},
		} {
			mu.Lock()
			now = c.hw
			mu.Unlock()
			s.d.RingAddresses()
			synctest.Wait()
			if got := s.epoch(); (got != epoch) != c.again {
				t.Errorf("%s: announced again: %v, want %v", c.name, got != epoch, c.again)
			}
			epoch = s.epoch()
		}
	})
}
