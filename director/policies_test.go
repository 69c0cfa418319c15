package director_test

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/directortest"
	"github.com/understudy-ha/understudy/health"
)

// site is a kernel and a running director whose services have policies. Time is
// that of a bubble.
type site struct {
	t       *rapid.T
	kernel  *directortest.Kernel
	process *directortest.Process
	orders  *director.Orders
	d       *director.Director
	stop    func() error
	config  director.Config

	mu     sync.Mutex
	health map[netip.AddrPort]health.State

	slow      time.Duration // of a listing
	resync    time.Duration
	disturbed bool // by hands, faults or kills
}

var (
	siteKeys = []director.ServiceKey{
		directortest.Service(director.TCP, "192.0.2.1:80"), directortest.Service(director.TCP, "192.0.2.1:81"),
		directortest.Service(director.UDP, "192.0.2.1:80"), {FWMark: 1},
	}
	siteNames = []string{"a", "b"}
	foreign   = director.ServiceKey{FWMark: 99}
	sorry     = netip.MustParseAddrPort("10.0.0.9:80")
	settling  = 2 * time.Minute // longer than any drain or slow start after a listing
)

func siteServer(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 80)
}

func (w *site) start() {
	w.process = w.kernel.Process()
	w.d = director.New(director.Options{
		Addresses: w.process.Addresses(), IPVS: &troubled{Balancer: w.process.IPVS(), slow: w.slow},
		ServiceLedger: w.process.ServiceLedger(), Orders: w.orders.Lookup, Resync: w.resync,
		Health: func(c health.Check) health.Status {
			w.mu.Lock()
			defer w.mu.Unlock()
			return health.Status{State: w.health[c.Target]}
		},
	})
	w.d.Set(w.config)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.d.Run(ctx) }()
	w.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
}

func drawSeconds(t *rapid.T, label string, of ...int) time.Duration {
	return time.Duration(rapid.SampledFrom(of).Draw(t, label)) * time.Second
}

func drawSite(t *rapid.T) director.Config {
	c := director.Config{Exclusive: rapid.IntRange(0, 5).Draw(t, "exclusive") == 0}
	keys := rapid.Permutation(siteKeys).Draw(t, "keys")
	for _, name := range siteNames {
		n := rapid.IntRange(0, 2).Draw(t, "number of keys")
		if n == 0 {
			continue
		}
		s := director.Service{Name: name, Keys: keys[:n], Spec: director.ServiceSpec{Scheduler: rapid.SampledFrom(schedulers).Draw(t, "scheduler")}}
		keys = keys[n:]
		s.Policy = director.Policy{
			Quorum: rapid.IntRange(0, 30).Draw(t, "quorum"), Hysteresis: rapid.IntRange(0, 9).Draw(t, "hysteresis"),
			ZeroWhileDown: rapid.Bool().Draw(t, "weight zero"), Alpha: rapid.Bool().Draw(t, "alpha"),
			Drain: drawSeconds(t, "drain", 0, 2, 20), SlowStart: drawSeconds(t, "slow start", 0, 3, 30),
			KeepAtStop: rapid.Bool().Draw(t, "omega"),
		}
		if rapid.Bool().Draw(t, "sorry") {
			s.Policy.Sorry = director.Server{Address: sorry, Spec: director.ServerSpec{Weight: 1}}
		}
		for i := range 3 {
			if rapid.IntRange(0, 3).Draw(t, "server") == 0 {
				continue
			}
			server := director.Server{
				Address: siteServer(i), Check: health.Check{Type: health.TypeTCP, Target: siteServer(i)},
				Spec: director.ServerSpec{Weight: rapid.SampledFrom([]int{0, 1, 10, 65535}).Draw(t, "weight"), Forward: director.DR},
			}
			if rapid.IntRange(0, 4).Draw(t, "unchecked") == 0 {
				server.Check = health.Check{Type: health.TypeNone}
			}
			s.Servers = append(s.Servers, server)
		}
		c.Services = append(c.Services, s)
	}
	return c
}

// act does one thing to the site.
func (w *site) act() {
	t := w.t
	what := rapid.IntRange(0, 8).Draw(t, "what")
	if w.resync > settling {
		what = min(what, 5) // the others are seen by listings only
	}
	switch what {
	case 0:
		w.reload()
	case 1, 2:
		addr := siteServer(rapid.IntRange(0, 2).Draw(t, "judged"))
		state := health.State(rapid.IntRange(0, 2).Draw(t, "health"))
		w.mu.Lock()
		w.health[addr] = state
		w.mu.Unlock()
		if w.resync > settling || rapid.IntRange(0, 5).Draw(t, "rung") > 0 {
			w.d.RingCheck(health.Check{Type: health.TypeTCP, Target: addr})
		}
	case 3, 4:
		w.give()
	case 5:
		w.kernel.ByHand(func(h directortest.Hand) {
			for _, key := range h.Servers() {
				h.Count(key, director.Counters{Active: rapid.IntRange(0, 1).Draw(t, "active"), Inactive: rapid.IntRange(0, 1).Draw(t, "inactive")})
			}
		})
	case 6:
		w.disturbed = true
		w.kernel.ByHand(func(h directortest.Hand) {
			k := rapid.SampledFrom(siteKeys).Draw(t, "key")
			e := director.Key{Service: k, Server: siteServer(rapid.IntRange(0, 4).Draw(t, "by hand"))}
			switch rapid.IntRange(0, 4).Draw(t, "hand") {
			case 0:
				_ = h.Delete(director.Key{Service: k})
			case 1:
				_ = h.Delete(e)
			case 2:
				_ = h.Server(e, director.ServerSpec{Weight: 7})
			case 3:
				_ = h.Set(e, director.Spec{Server: director.ServerSpec{Weight: 8}})
			case 4:
				h.Clear()
			}
		})
	case 7:
		w.disturbed = true
		w.kernel.Fault(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(0, 8).Draw(t, "one in"))
	case 8:
		w.disturbed = true
		w.process.KillAfter(rapid.IntRange(0, 5).Draw(t, "killed after"))
		time.Sleep(drawSeconds(t, "dead", 0, 3))
		w.process.KillAfter(0)
		_ = w.stop()
		w.start()
	}
	time.Sleep(time.Duration(rapid.SampledFrom([]int{0, 1, 300, 1000, 3500}).Draw(t, "pause")) * time.Millisecond)
	synctest.Wait()
}

// busy returns the servers in the table that have connections, by weight.
func (w *site) busy() map[director.Key]int {
	counters, err := w.kernel.Process().IPVS().Counters(context.Background())
	busy := map[director.Key]int{}
	if err != nil {
		return busy // a fault
	}
	for k, spec := range w.kernel.Entries() {
		open := counters[k].Active
		if k.Service.Protocol != director.TCP {
			open += counters[k].Inactive
		}
		if !k.IsService() && open > 0 {
			busy[k] = spec.Server.Weight
		}
	}
	return busy
}

// owners returns the services by their keys.
func owners(c director.Config) map[director.ServiceKey]director.Service {
	m := map[director.ServiceKey]director.Service{}
	for _, s := range c.Services {
		for _, k := range s.Keys {
			m[k] = s
		}
	}
	return m
}

// reload gives the director another configuration, and looks whether the servers
// that it drops are drained.
func (w *site) reload() {
	busy, was := w.busy(), owners(w.config)
	w.config = drawSite(w.t)
	w.d.Set(w.config)
	if w.disturbed || rapid.Bool().Draw(w.t, "hasty") {
		return
	}
	time.Sleep(19 * time.Second)
	synctest.Wait()
	table := w.kernel.Entries()
	for _, s := range w.config.Services {
		for key, weight := range busy {
			if s.Policy.Drain < 20*time.Second || weight == 0 || !slices.Contains(s.Keys, key.Service) || was[key.Service].Name != s.Name ||
				slices.ContainsFunc(s.Servers, func(r director.Server) bool { return r.Address == key.Server }) ||
				key.Server == s.Policy.Sorry.Address || w.orders.Lookup(director.ServerName{Service: s.Name, Server: key.Server}).Drain {
				continue
			}
			least, _, unjudged := w.liveOf(s)
			if spec, held := table[key]; !held || spec.Server.Weight > 0 && (least > 0 || !unjudged) {
				w.t.Fatalf("%v, which the configuration dropped 19 s ago and which has connections, is %v, %v", key, held, spec)
			}
		}
	}
}

// give gives an order, and looks at once whether the kernel follows.
func (w *site) give() {
	t := w.t
	n := director.ServerName{Service: rapid.SampledFrom(siteNames).Draw(t, "of"), Server: siteServer(rapid.IntRange(0, 2).Draw(t, "ordered"))}
	order := director.Order{Drain: rapid.Bool().Draw(t, "drained")}
	if limit := drawSeconds(t, "limit", 0, 5); order.Drain && limit > 0 {
		order.Deadline = time.Now().Add(limit)
	}
	if rapid.IntRange(0, 3).Draw(t, "weighted") == 0 {
		order.Weighted, order.Weight = true, rapid.IntRange(0, 3).Draw(t, "ordered weight")
	}
	busy := w.busy()
	if _, err := w.orders.Change(n, func(director.Order) director.Order { return order }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := w.d.Attend(ctx, n.Service)
	if w.disturbed {
		return
	}
	if err != nil {
		t.Fatalf("Attend: %v", err)
	}
	for _, s := range w.config.Services {
		for _, k := range s.Keys {
			spec, held := w.kernel.Entries()[director.Key{Service: k, Server: n.Server}]
			if s.Name == n.Service && order.Drain && held && spec.Server.Weight > 0 {
				t.Fatalf("%v is drained, and has weight %d when the command has returned", n, spec.Server.Weight)
			}
		}
	}
	if !order.Drain || !order.Deadline.IsZero() || rapid.Bool().Draw(t, "hasty") {
		return
	}
	time.Sleep(19 * time.Second)
	synctest.Wait()
	for _, s := range w.config.Services {
		for _, k := range s.Keys {
			key := director.Key{Service: k, Server: n.Server}
			if _, held := w.kernel.Entries()[key]; s.Name == n.Service && busy[key] > 0 && !held {
				t.Fatalf("%v was drained by hand, and is gone though it has connections", key)
			}
		}
	}
}
