package director_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/directortest"
)

// routed is config with a route that needs the address, one over that, and a
// rule.
var (
	gateway = netip.MustParseAddr("192.0.2.254")
	toAll   = director.Route{
		RouteKey:  director.RouteKey{Table: 100, Destination: netip.MustParsePrefix("0.0.0.0/0")},
		RouteSpec: director.RouteSpec{Via: gateway, Source: vip.Prefix.Addr()},
	}
	toNet = director.Route{
		RouteKey:  director.RouteKey{Table: 100, Destination: netip.MustParsePrefix("198.51.100.0/24")},
		RouteSpec: director.RouteSpec{Scope: director.ScopeLink},
	}
	fromVIP = director.Rule{Priority: 1000, From: netip.MustParsePrefix("192.0.2.1/32"), Table: 100}
	routed  = director.Config{Routers: []director.VirtualRouter{{
		Name: "a", Link: "eth0", Addresses: []netip.Prefix{vip.Prefix},
		Routes: []director.Route{toAll, toNet}, Rules: []director.Rule{fromVIP},
	}}}
)

const (
	routeLines = "route default table 100 (via 192.0.2.254 dev eth0 src 192.0.2.1, ours)\n" + netLine + ruleLine
	netLine    = "route 198.51.100.0/24 table 100 (dev eth0 scope link, ours)\n"
	ruleLine   = "rule 1000: from 192.0.2.1/32 lookup 100 (ours)\n"
)

func TestRoutesFollowTheRole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t).run()
		s.d.Set(routed)
		synctest.Wait()
		s.shows("")
		began := time.Now()
		s.become(director.RoleMaster, 1)
		s.shows(addressLine + routeLines)
		s.become(director.RoleBackup, 1)
		s.shows("")
		s.become(director.RoleMaster, 2)
		s.shows(addressLine + routeLines)
		if took := time.Since(began); took != 0 {
			t.Errorf("that took %v", took)
		}
		if n := s.lines("level=WARN") + s.lines("level=ERROR"); n != 0 {
			t.Errorf("%d complaints:\n%s", n, s.log.String())
		}

		// An address takes its routes along; all come back.
		s.kernel.ByHand(func(h directortest.Hand) { _ = h.DeleteAddress(vip) })
		s.d.RingAddresses()
		synctest.Wait()
		s.shows(addressLine + routeLines)
		s.kernel.ByHand(func(h directortest.Hand) { _ = h.DeleteRoute(director.RoutingKey{Rule: fromVIP}) })
		time.Sleep(2 * time.Second)
		synctest.Wait()
		s.shows(addressLine + routeLines)
		if n := s.lines("repaired drift"); n != 3 {
			t.Errorf("%d repairs in the log, want 3:\n%s", n, s.log.String())
		}

		// A reload that moves the gateway.
		c := routed
		c.Routers = slices.Clone(c.Routers)
		moved := toAll
		moved.Via = netip.MustParseAddr("192.0.2.253")
		c.Routers[0].Routes, c.Routers[0].Rules = []director.Route{moved}, nil
		s.d.Set(c)
		synctest.Wait()
		s.shows(addressLine + "route default table 100 (via 192.0.2.253 dev eth0 src 192.0.2.1, ours)\n")
	})
}

func TestRoutesStayWhileTheRoleIsNotKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		old := director.RoutingKey{Route: director.RouteKey{Table: 9, Destination: netip.MustParsePrefix("203.0.113.0/24")}}
		s.kernel.ByHand(func(h directortest.Hand) { // what a killed process has left
			_ = h.TaggedAddress(vip)
			for _, r := range []director.Route{toAll, toNet} {
				r.Link, r.Type = "eth0", director.Unicast
				if err := h.Route(director.RoutingKey{Route: r.RouteKey}, director.RoutingSpec{Route: r.RouteSpec, Ours: true}); err != nil {
					t.Fatal(err)
				}
			}
			_ = h.Route(director.RoutingKey{Rule: fromVIP}, director.RoutingSpec{Ours: true})
			_ = h.Route(old, director.RoutingSpec{Route: director.RouteSpec{Type: director.Blackhole}, Ours: true})
		})
		s.run()
		s.d.Set(routed)
		synctest.Wait()
		s.shows(addressLine + routeLines)
		for _, c := range s.kernel.RoutingJournal() {
			if c.Key != old {
				t.Errorf("%v, want all but one left alone", c)
			}
		}
		s.become(director.RoleMaster, 1)
		if j := s.kernel.RoutingJournal(); len(j) > 0 {
			t.Errorf("a restart changes %v", j)
		}
		s.become(director.RoleFault, 1)
		s.shows("")
	})
}

func TestARouteOfSomebodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		blackhole := director.RoutingSpec{Route: director.RouteSpec{Type: director.Blackhole}}
		s.kernel.ByHand(func(h directortest.Hand) {
			_ = h.Route(director.RoutingKey{Route: toAll.RouteKey}, blackhole)
			_ = h.Route(director.RoutingKey{Rule: fromVIP}, director.RoutingSpec{})
		})
		const foreign, foreignRule = "route default table 100 (blackhole, untagged)\n", "rule 1000: from 192.0.2.1/32 lookup 100 (untagged)\n"
		s.run()
		s.d.Set(routed)
		synctest.Wait()
		s.shows(foreign + foreignRule)
		if n := s.lines("level=ERROR"); n != 0 {
			t.Errorf("a backup complains:\n%s", s.log.String())
		}
		began := time.Now()
		s.become(director.RoleMaster, 1)
		s.shows(addressLine + foreign + netLine + foreignRule)
		if took := time.Since(began); took != 0 {
			t.Errorf("that took %v", took)
		}
		status := s.d.Status(t.Context())
		var got []string
		for _, r := range status.Routing {
			got = append(got, fmt.Sprintf("%v of %s: held %v, ours %v, %v, %s", r.Key, r.Router, r.Held, r.Ours, r.Reason, r.Err))
		}
		if d := cmp.Diff([]string{
			"route default table 100 of a: held false, ours false, master, file exists",
			"route 198.51.100.0/24 table 100 of a: held true, ours true, master, ",
			"rule 1000: from 192.0.2.1/32 lookup 100 of a: held true, ours false, master, ",
		}, got); d != "" {
			t.Errorf("status (-want +got):\n%s", d)
		}
		if status.RouteLane.Err == "" || status.AddressLane.Err != "" {
			t.Errorf("lanes %+v, %+v", status.RouteLane, status.AddressLane)
		}
		s.kernel.ByHand(func(h directortest.Hand) { _ = h.DeleteRoute(director.RoutingKey{Route: toAll.RouteKey}) })
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		s.shows(foreignRule)
	})
}

// deafRoutes is a table of routes that does not answer.
type deafRoutes struct{}

func (deafRoutes) List(ctx context.Context) (map[director.RoutingKey]director.RoutingSpec, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (deafRoutes) Apply(ctx context.Context, _ []directortest.RoutingChange) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestNoAddressWaitsForARoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.options.Routes = deafRoutes{}
		s.run()
		s.d.Set(routed)
		began := time.Now()
		s.become(director.RoleMaster, 1)
		s.shows(addressLine)
		s.become(director.RoleBackup, 1)
		s.shows("")
		s.become(director.RoleMaster, 2)
		if took := time.Since(began); took != 0 {
			t.Errorf("that took %v", took)
		}
		stopped := make(chan error)
		go func() { stopped <- s.stop() }()
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		s.shows("")
		if err := <-stopped; err == nil {
			t.Error("Run says nothing about the routes")
		}
	})
}

func TestRoutesGoBeforeAddresses(t *testing.T) {
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
		s.options.Routes = recorder[director.RoutingKey, director.RoutingSpec]{s.options.Routes, "routes", note}
		s.run()
		s.d.Set(routed)
		synctest.Wait()
		s.become(director.RoleMaster, 1)
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		want := []string{
			"addresses: create 192.0.2.1/24 on eth0 (ours)",
			"routes: create route 198.51.100.0/24 table 100 (dev eth0 scope link, ours)",
			"routes: create route default table 100 (via 192.0.2.254 src 192.0.2.1, ours)",
			"routes: create rule 1000: from 192.0.2.1/32 lookup 100 (ours)",
			"routes: delete route 198.51.100.0/24 table 100",
			"routes: delete route default table 100",
			"routes: delete rule 1000: from 192.0.2.1/32 lookup 100",
			"addresses: delete 192.0.2.1/24 on eth0",
		}
		if d := cmp.Diff(want, notes); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}

// counted is a table of routes that counts its listings.
type counted struct {
	director.Table[director.RoutingKey, director.RoutingSpec]
	lists int
}

func (c *counted) List(ctx context.Context) (map[director.RoutingKey]director.RoutingSpec, error) {
	c.lists++
	return c.Table.List(ctx)
}

// Who has no routes here is not made to go through those of others again and
// again, but what an earlier configuration has left is looked for.
func TestWithoutRoutesTheKernelIsAskedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		c := &counted{Table: s.options.Routes}
		s.options.Routes = c
		s.kernel.ByHand(func(h directortest.Hand) {
			_ = h.Route(director.RoutingKey{Rule: fromVIP}, director.RoutingSpec{Ours: true})
		})
		s.run()
		s.d.Set(config)
		s.become(director.RoleMaster, 1)
		s.shows(addressLine + serviceLine)
		c.lists = 0
		time.Sleep(time.Minute)
		if c.lists != 0 {
			t.Errorf("listed %d times", c.lists)
		}
		s.d.Set(routed)
		synctest.Wait()
		s.shows(addressLine + routeLines)
		s.d.Set(config)
		synctest.Wait()
		s.shows(addressLine + serviceLine)
	})
}

// TestRoutingConverges runs the lane of the routes in worlds of every kind.
func TestRoutingConverges(t *testing.T) {
	keys := []director.RoutingKey{{Rule: fromVIP}, {Rule: director.Rule{Priority: 7, IPv6: true, Table: 100}}}
	for _, d := range []string{"0.0.0.0/0", "2001:db8::/32"} {
		for metric := range 2 {
			keys = append(keys, director.RoutingKey{Route: director.RouteKey{Table: 100, Destination: netip.MustParsePrefix(d), Metric: uint32(1 + metric)}})
		}
	}
	specs := []director.RouteSpec{{Type: director.Blackhole}, {Type: director.Prohibit}, {Type: director.Unicast, Link: "eth0"}}
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		kernel := directortest.NewKernel(true)
		var config director.Config
		var roles map[string]director.RoleState
		wants := func(k director.RoutingKey) (intent director.Intent, spec director.RoutingSpec) {
			for _, r := range config.Routers {
				i := map[director.Role]director.Intent{director.RoleMaster: director.Hold, director.RoleUnknown: director.Keep}[roles[r.Name].Role]
				for _, route := range r.Routes {
					if k.Route == route.RouteKey {
						return i, director.RoutingSpec{Route: route.RouteSpec, Ours: true}
					}
				}
				if slices.Contains(r.Rules, k.Rule) {
					return i, director.RoutingSpec{Ours: true}
				}
			}
			return director.Absent, director.RoutingSpec{}
		}
		draw := func() {
			config, roles = director.Config{}, map[string]director.RoleState{}
			taken := map[director.RoutingKey]bool{}
			for _, name := range routers {
				r := director.VirtualRouter{Name: name, Link: "eth0"}
				for _, k := range rapid.SliceOfNDistinct(rapid.SampledFrom(keys), 0, 4, rapid.ID[director.RoutingKey]).Draw(t, "keys") {
					switch {
					case taken[k]:
					case k.IsRule():
						r.Rules = append(r.Rules, k.Rule)
					default:
						r.Routes = append(r.Routes, director.Route{RouteKey: k.Route, RouteSpec: rapid.SampledFrom(specs).Draw(t, "spec")})
					}
					taken[k] = true
				}
				config.Routers = append(config.Routers, r)
				roles[name] = director.RoleState{Role: director.Role(rapid.IntRange(0, 3).Draw(t, "role"))}
			}
		}
		var d *director.Director
		var process *directortest.Process
		start := func() {
			process = kernel.Process()
			d = director.New(director.Options{Routes: process.Routing(), Roles: func() map[string]director.RoleState { return roles }})
			d.Set(config)
		}
		draw()
		start()
		for range rapid.IntRange(1, 5).Draw(t, "rounds") {
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				draw()
				d.Set(config)
			case 1:
				kernel.ByHand(func(h directortest.Hand) {
					for range rapid.IntRange(1, 4).Draw(t, "hands") {
						k := rapid.SampledFrom(keys).Draw(t, "key")
						if rapid.Bool().Draw(t, "delete") {
							_ = h.DeleteRoute(k)
						} else if k.IsRule() {
							_ = h.Route(k, director.RoutingSpec{})
						} else {
							_ = h.Route(k, director.RoutingSpec{Route: rapid.SampledFrom(specs).Draw(t, "foreign")})
						}
					}
				})
			}
			before := kernel.Routing()
			if rapid.Bool().Draw(t, "faults") {
				kernel.Fault(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(2, 8).Draw(t, "one in"))
				_, _ = d.PassRoutes(ctx), d.PassRoutes(ctx)
				kernel.Fault(0, 0)
			}
			if rapid.Bool().Draw(t, "kill") {
				process.KillAfter(rapid.IntRange(0, 4).Draw(t, "after"))
				_ = d.PassRoutes(ctx)
				start()
			}
			err := d.PassRoutes(ctx)
			held, conflict := kernel.Routing(), false
			for _, k := range keys {
				intent, spec := wants(k)
				old, was := before[k]
				have, there := held[k]
				switch {
				case was && !old.Ours && have != old:
					t.Fatalf("somebody else's %v has become %v (%v)", k, have, there)
				case was && !old.Ours:
					conflict = conflict || intent == director.Hold && !old.Satisfies(spec)
				case intent == director.Hold && have != spec:
					t.Fatalf("%v is %v (%v), want %v", k, have, there, spec)
				case intent == director.Absent && there, intent == director.Keep && there != was, intent == director.Keep && there && have != spec:
					t.Fatalf("%v is %v (%v), with the intent %v", k, have, there, intent)
				}
			}
			if (err != nil) != conflict {
				t.Fatalf("the pass says %v, conflicts: %v:\n%v", err, conflict, kernel)
			}
			kernel.RoutingJournal()
			if _ = d.PassRoutes(ctx); len(kernel.RoutingJournal()) > 0 {
				t.Fatal("a second pass changes something")
			}
		}
		if err := d.WithdrawRoutes(ctx); err != nil {
			t.Fatal(err)
		}
		for k, spec := range kernel.Routing() {
			if spec.Ours {
				t.Fatalf("%v is left at the end", k)
			}
		}
	})
}
