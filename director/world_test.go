package director_test

import (
	"fmt"
	"net/netip"
	"slices"
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
		s := director.Service{Name: fmt.Sprint("s", i), Keys: []director.ServiceKey{k}, Spec: director.ServiceSpec{
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
		if s.Keys[0] != k.Service {
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

// waits reports whether k is a server of a service whose own can perhaps serve,
// but none for sure.
func (w *world) waits(k director.Key) bool {
	perhaps := false
	for _, s := range w.config.Services {
		for _, r := range s.Servers {
			if k.IsService() || s.Keys[0] != k.Service || r.Spec.Weight == 0 {
				continue
			}
			_, must, may := w.verdictOnEntry(director.Key{Service: k.Service, Server: r.Address})
			if must {
				return false
			}
			perhaps = perhaps || may
		}
	}
	return perhaps
}

// good reports whether have will do for spec: while nothing is known of a server
// its weight may stay 0.
func (w *world) good(k director.Key, have, spec director.Spec) bool {
	if _, must, _ := w.verdictOnEntry(k); !must && have.Server.Weight == 0 {
		spec.Server.Weight = 0
	}
	return have == spec
}

// ours reports whether a service may be touched at all.
func (w *world) ours(k director.ServiceKey) bool {
	return w.config.Exclusive || w.named[k] || slices.ContainsFunc(w.config.Services, func(s director.Service) bool { return s.Keys[0] == k })
}
