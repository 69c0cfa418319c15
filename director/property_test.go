package director_test

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/directortest"
	"github.com/understudy-ha/understudy/garp"
	"github.com/understudy-ha/understudy/health"
)

var equal = []cmp.Option{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmpopts.EquateEmpty(),
}

// world is a kernel, what was configured, and the director that runs now. The
// names in it come from small sets, so that chance meets often.
type world struct {
	kernel  *directortest.Kernel
	process *directortest.Process
	d       *director.Director
	tags    bool

	config director.Config
	roles  map[string]director.RoleState
	health map[netip.AddrPort]health.State

	named   map[director.ServiceKey]bool // services that may be in the ledger
	written map[director.ServiceKey]bool // services that must be in the ledger
	mine    map[director.AddrKey]bool    // addresses that a director has created
	claimed map[garp.Target]garp.Claim   // by the announcer
}

var (
	addresses = []string{"192.0.2.1/24", "192.0.2.2/24", "192.0.2.2/32", "198.51.100.1/24", "2001:db8::1/64"}
	services  = []director.ServiceKey{
		directortest.Service(director.TCP, "192.0.2.1:80"),
		directortest.Service(director.UDP, "192.0.2.1:80"),
		directortest.Service(director.TCP, "[2001:db8::1]:80"),
		{FWMark: 1}, {FWMark: 1, IPv6: true},
	}
	routers    = []string{"a", "b"}
	links      = []string{"eth0", "eth1"}
	schedulers = []string{"rr", "wlc"}
)

func server(k director.ServiceKey, i int) netip.AddrPort {
	if k.Is6() {
		return netip.MustParseAddrPort(fmt.Sprintf("[2001:db8::10%d]:80", i))
	}
	return netip.MustParseAddrPort(fmt.Sprintf("10.0.0.%d:80", i))
}

// start begins a new process.
func (w *world) start() {
	w.process = w.kernel.Process()
	w.claimed = nil
	w.d = director.New(director.Options{
		Addresses:     w.process.Addresses(),
		IPVS:          w.process.IPVS(),
		ServiceLedger: w.process.ServiceLedger(),
		AddressLedger: w.process.AddressLedger(),
		Announcer:     w,
		Roles:         func() map[string]director.RoleState { return w.roles },
		Health:        func(c health.Check) health.Status { return health.Status{State: w.health[c.Target]} },
	})
	w.d.Set(w.config)
}

// Set is the announcer's.
func (w *world) Set(claims map[garp.Target]garp.Claim) { w.claimed = claims }

func drawConfig(t *rapid.T) director.Config {
	c := director.Config{Exclusive: rapid.IntRange(0, 5).Draw(t, "exclusive") == 0}
	taken := map[director.AddrKey]bool{}
	for _, name := range routers {
		if rapid.Bool().Draw(t, "router") {
			r := director.VirtualRouter{Name: name, Link: rapid.SampledFrom(links).Draw(t, "link"), Announce: garp.Schedule{Count: 1}}
			for _, a := range rapid.SliceOfNDistinct(rapid.SampledFrom(addresses), 1, 3, rapid.ID[string]).Draw(t, "addresses") {
				k := director.AddrKey{Link: r.Link, Prefix: netip.MustParsePrefix(a)}
				if !taken[k] {
					r.Addresses = append(r.Addresses, k.Prefix)
				}
				taken[k] = true
			}
			c.Routers = append(c.Routers, r)
		}
	}
	for i, k := range services {
		if !rapid.Bool().Draw(t, "service") {
			continue
		}
		s := director.Service{Name: fmt.Sprint("s", i), Key: k, Spec: director.ServiceSpec{
			Scheduler:   rapid.SampledFrom(schedulers).Draw(t, "scheduler"),
			Persistence: time.Duration(rapid.IntRange(0, 2).Draw(t, "persistence")) * time.Second,
		}}
		for i := range 3 {
			if !rapid.Bool().Draw(t, "server") {
				continue
			}
			check := health.Check{Type: health.TypeTCP, Target: server(k, i)}
			if rapid.IntRange(0, 3).Draw(t, "unchecked") == 0 {
				check = health.Check{Type: health.TypeNone}
			}
			s.Servers = append(s.Servers, director.Server{
				Address: server(k, i), Check: check,
				Spec: director.ServerSpec{Weight: rapid.IntRange(0, 2).Draw(t, "weight"), Forward: director.DR},
			})
		}
		c.Services = append(c.Services, s)
	}
	return c
}

func (w *world) drawWorld(t *rapid.T) {
	w.roles = map[string]director.RoleState{}
	for _, name := range routers {
		w.roles[name] = director.RoleState{
			Role:  director.Role(rapid.IntRange(0, 3).Draw(t, "role")),
			Epoch: uint64(rapid.IntRange(0, 2).Draw(t, "epoch")),
		}
	}
	w.health = map[netip.AddrPort]health.State{}
	for _, k := range services {
		for i := range 3 {
			w.health[server(k, i)] = health.State(rapid.IntRange(0, 2).Draw(t, "health"))
		}
	}
}

// drawHands lets an operator do things. What he deletes he may delete
// from us; what he adds may be in our way.
func (w *world) drawHands(t *rapid.T) {
	w.kernel.ByHand(func(h directortest.Hand) {
		for range rapid.IntRange(0, 4).Draw(t, "hands") {
			k := director.AddrKey{
				Link:   rapid.SampledFrom(links).Draw(t, "link"),
				Prefix: netip.MustParsePrefix(rapid.SampledFrom(addresses).Draw(t, "address")),
			}
			s := rapid.SampledFrom(services).Draw(t, "service")
			e := director.Key{Service: s, Server: server(s, rapid.IntRange(0, 4).Draw(t, "server"))}
			switch rapid.IntRange(0, 6).Draw(t, "hand") {
			case 0:
				// Without tags nobody can tell that it is another address
				// than the one that we created.
				if w.tags || !w.mine[k] {
					_ = h.Address(k)
				}
			case 1:
				_ = h.DeleteAddress(k)
			case 2:
				_ = h.Service(s, director.ServiceSpec{Scheduler: "lc", Mask: 24, Persistence: time.Hour})
			case 3:
				_ = h.Server(e, director.ServerSpec{Weight: 9})
			case 4:
				_ = h.Delete(director.Key{Service: s})
			case 5:
				_ = h.Delete(e)
			case 6:
				_ = h.Set(e, director.Spec{Server: director.ServerSpec{Weight: 8}})
			}
		}
	})
}

// verdicts returns what may be, what must be, and with which content, said
// once more and without the code under test.
func (w *world) verdictOnAddress(k director.AddrKey) (must, may bool) {
	for _, r := range w.config.Routers {
		if r.Link != k.Link || !slices.Contains(r.Addresses, k.Prefix) {
			continue
		}
		switch w.roles[r.Name].Role {
		case director.RoleMaster:
			return true, true
		case director.RoleUnknown:
			return false, true
		}
	}
	return false, false
}

func (w *world) verdictOnEntry(k director.Key) (spec director.Spec, must, may bool) {
	for _, s := range w.config.Services {
		if s.Key != k.Service {
			continue
		}
		if k.IsService() {
			spec := s.Spec
			spec.Mask = 32
			if k.Service.Is6() {
				spec.Mask = 128
			}
			return director.Spec{Service: spec}, true, true
		}
		for _, r := range s.Servers {
			if r.Address == k.Server {
				spec := director.Spec{Server: r.Spec}
				if r.Check.Type == health.TypeNone {
					return spec, true, true
				}
				switch w.health[r.Check.Target] {
				case health.Up:
					return spec, true, true
				case health.Unknown:
					return spec, false, true
				}
			}
		}
	}
	return director.Spec{}, false, false
}

// ours reports whether a service may be touched at all.
func (w *world) ours(k director.ServiceKey) bool {
	return w.config.Exclusive || w.named[k] || slices.ContainsFunc(w.config.Services, func(s director.Service) bool { return s.Key == k })
}

// judge looks at what was done since the last time.
func (w *world) judge(t *rapid.T) {
	for _, c := range w.kernel.AddressJournal() {
		must, may := w.verdictOnAddress(c.Key)
		switch {
		case c.Op == director.Create && !must:
			t.Fatalf("created the address %v, which must not be", c.Key)
		case c.Op == director.Create:
			w.mine[c.Key] = true
		case c.Op == director.Update:
			t.Fatalf("took over the address %v", c.Key)
		case may:
			t.Fatalf("deleted the address %v, which may stay", c.Key)
		case w.tags && !c.Old.Ours || !w.tags && !w.mine[c.Key]:
			t.Fatalf("deleted the address %v, which is not ours", c.Key)
		}
	}
	for _, c := range w.kernel.EntryJournal() {
		spec, must, may := w.verdictOnEntry(c.Key)
		if c.Op == director.Create {
			w.written[c.Key.Service] = true
		}
		switch {
		case !w.ours(c.Key.Service):
			t.Fatalf("%v: it is not ours", c)
		case c.Op == director.Create && !must:
			t.Fatalf("%v: it must not be", c)
		case c.Op != director.Delete && c.New != spec:
			t.Fatalf("%v: want %v", c, spec)
		case c.Op == director.Delete && may:
			t.Fatalf("%v: it may stay", c)
		}
	}
}

// settled checks the kernel against the verdicts, and that nothing is done any
// more.
func (w *world) settled(t *rapid.T, before map[director.Key]director.Spec) {
	held := w.kernel.Addresses()
	for k, spec := range held {
		_, may := w.verdictOnAddress(k)
		if ours := w.tags && spec.Ours || !w.tags && w.mine[k]; ours && !may {
			t.Fatalf("the address %v is left:\n%v", k, w.kernel)
		}
	}
	claims := map[garp.Target]bool{}
	for _, r := range w.config.Routers {
		for _, p := range r.Addresses {
			k := director.AddrKey{Link: r.Link, Prefix: p}
			_, there := held[k]
			must, _ := w.verdictOnAddress(k)
			if must && !there {
				t.Fatalf("the address %v is missing:\n%v", k, w.kernel)
			}
			if must {
				claims[garp.Target{Link: r.Link, Address: p.Addr()}] = true
			}
		}
	}
	claimed := map[garp.Target]bool{}
	for target := range w.claimed {
		claimed[target] = true
	}
	if d := cmp.Diff(claims, claimed, equal...); d != "" {
		t.Fatalf("others are announced than held and wanted (-want +got):\n%s", d)
	}

	table := w.kernel.Entries()
	keys := maps.Clone(table)
	for k := range director.Plan(w.config, w.roles, func(health.Check) health.Status { return health.Status{State: health.Up} }).Entries {
		keys[k] = director.Spec{}
	}
	maps.Copy(keys, before)
	for k := range keys {
		have, there := table[k]
		spec, must, may := w.verdictOnEntry(k)
		old, was := before[k]
		switch {
		case !w.ours(k.Service):
			if there != was || have != old {
				t.Fatalf("the foreign entry %v has changed from %v to %v", k, old, have)
			}
		case must && !there:
			t.Fatalf("%v is missing:\n%v", k, w.kernel)
		case there && !may && (w.written[k.Service] || w.config.Exclusive):
			t.Fatalf("%v is left:\n%v", k, w.kernel)
		case there && may && have != spec:
			t.Fatalf("%v is %v, want %v", k, have, spec)
		}
	}

	// With nothing left to do, the ledgers name what is there and wanted.
	clear(w.named)
	clear(w.written)
	for _, s := range w.config.Services {
		w.named[s.Key], w.written[s.Key] = true, true
	}
	maps.DeleteFunc(w.mine, func(k director.AddrKey, _ bool) bool {
		_, there := held[k]
		return !there
	})

	epochs := maps.Clone(w.claimed)
	w.passes(t, 1, true)
	if a, e := w.kernel.AddressJournal(), w.kernel.EntryJournal(); len(a)+len(e) > 0 {
		t.Fatalf("a second pass changes %v %v", a, e)
	}
	if d := cmp.Diff(epochs, w.claimed, equal...); d != "" {
		t.Fatalf("a second pass announces again:\n%s", d)
	}
}

// passes makes passes of both lanes; must says that none may fail.
func (w *world) passes(t *rapid.T, n int, must bool) {
	for range n {
		err := w.d.PassAddresses(context.Background())
		if err != nil && must {
			t.Fatalf("pass: %v", err)
		}
		if err = w.d.PassEntries(context.Background()); err != nil && must {
			t.Fatalf("pass: %v", err)
		}
		for _, s := range w.config.Services {
			w.named[s.Key] = true
			if err == nil {
				w.written[s.Key] = true
			}
		}
	}
}

// TestConverges runs a director in worlds of every kind: operators, faults and
// kills come between and within its passes.
func TestConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{
			tags:  rapid.Bool().Draw(t, "tags"),
			named: map[director.ServiceKey]bool{}, written: map[director.ServiceKey]bool{},
			mine: map[director.AddrKey]bool{},
		}
		w.kernel = directortest.NewKernel(w.tags)
		w.drawHands(t)
		w.config = drawConfig(t)
		w.drawWorld(t)
		w.start()
		for range rapid.IntRange(1, 5).Draw(t, "rounds") {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				w.config = drawConfig(t)
				w.d.Set(w.config)
			case 1:
				w.drawWorld(t)
			case 2:
				w.drawHands(t)
			}
			before := w.kernel.Entries()
			if rapid.Bool().Draw(t, "faults") {
				w.kernel.Fault(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(2, 8).Draw(t, "one in"))
				w.passes(t, 3, false)
				w.judge(t)
				w.kernel.Fault(0, 0)
			}
			if rapid.Bool().Draw(t, "kill") {
				w.process.KillAfter(rapid.IntRange(0, 12).Draw(t, "after"))
				w.passes(t, 2, false)
				w.judge(t)
				before = w.kernel.Entries() // an exclusive configuration owned all until now
				w.start()
				if rapid.Bool().Draw(t, "other config") {
					w.config = drawConfig(t)
					w.d.Set(w.config)
				}
			}
			w.passes(t, 2, true)
			w.judge(t)
			w.settled(t, before)
		}
		before := w.kernel.Entries()
		if err := w.d.WithdrawAddresses(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := w.d.WithdrawEntries(context.Background()); err != nil {
			t.Fatal(err)
		}
		for k, spec := range w.kernel.Addresses() {
			if w.tags && spec.Ours || !w.tags && w.mine[k] {
				t.Fatalf("the address %v is left at the end", k)
			}
		}
		for k, spec := range before {
			left, ok := w.kernel.Entries()[k]
			if ours := w.ours(k.Service); ours == ok || !ours && left != spec {
				t.Fatalf("at the end %v is there: %v; ours: %v", k, ok, ours)
			}
		}
	})
}
