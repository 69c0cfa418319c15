package director

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/health"
)

// bench is one service, the kernel that holds it, and a clock.
type bench struct {
	t      *testing.T
	pool   *pool
	have   holdings
	now    time.Time
	health map[netip.AddrPort]health.Status
	orders map[netip.AddrPort]Order
	conns  map[netip.AddrPort]int
}

var webKey = ServiceKey{Protocol: TCP, Address: netip.MustParseAddrPort("192.0.2.1:80")}

func one(i int) netip.AddrPort { return netip.MustParseAddrPort(fmt.Sprintf("10.0.0.%d:80", i)) }

// newBench has a service of three servers of weight 10, all up.
func newBench(t *testing.T, p Policy) *bench {
	b := &bench{
		t: t, have: holdings{}, now: time.Unix(1000, 0),
		health: map[netip.AddrPort]health.Status{}, orders: map[netip.AddrPort]Order{}, conns: map[netip.AddrPort]int{},
	}
	s := &Service{Name: "web", Keys: []ServiceKey{webKey}, Spec: ServiceSpec{Scheduler: "wlc"}, Policy: p}
	for i := 1; i <= 3; i++ {
		s.Servers = append(s.Servers, Server{
			Address: one(i), Spec: ServerSpec{Weight: 10, Forward: DR},
			Check: health.Check{Type: health.TypeTCP, Target: one(i)},
		})
		b.is(i, health.Up)
	}
	b.pool = newPool(s)
	return b
}

func (b *bench) is(i int, s health.State) { b.health[one(i)] = health.Status{State: s} }

// settle has the kernel follow, and returns what it holds: "1:10 2:0" for
// server 1 with weight 10 and server 2 with weight 0.
func (b *bench) settle() string {
	have := make([]*holding, len(b.pool.service.Keys))
	for i, k := range b.pool.service.Keys {
		have[i] = b.have[k]
	}
	if b.pool.drains() {
		b.pool.counts = b.conns
	}
	final := b.pool.settle(b.now, circumstances{
		health: func(c health.Check) health.Status { return b.health[c.Target] },
		order:  func(n ServerName) Order { return b.orders[n.Server] },
	}, have)
	for i, k := range b.pool.service.Keys {
		h := &holding{there: true, spec: final[i].spec, servers: map[netip.AddrPort]ServerSpec{}}
		for _, p := range final[i].servers {
			h.servers[p.addr] = p.spec
		}
		b.have[k] = h
	}
	return b.shows(b.pool.service.Keys[0])
}

func (b *bench) shows(k ServiceKey) string {
	var list []string
	for addr, s := range b.have[k].servers {
		name := addr.Addr().String()
		list = append(list, fmt.Sprintf("%s:%d", name[strings.LastIndexByte(name, '.')+1:], s.Weight))
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func (b *bench) want(want string) {
	b.t.Helper()
	if got := b.settle(); got != want {
		b.t.Fatalf("the kernel holds %q, want %q", got, want)
	}
}

func (b *bench) after(d time.Duration) *bench {
	b.now = b.now.Add(d)
	return b
}

func (b *bench) restart() {
	b.pool = newPool(b.pool.service)
}

func TestServersFollowTheirHealth(t *testing.T) {
	b := newBench(t, Policy{})
	b.is(2, health.Unknown)
	b.want("1:10 3:10")
	b.is(2, health.Up)
	b.want("1:10 2:10 3:10")
	b.is(1, health.Down)
	b.want("2:10 3:10")
	b.restart()
	b.is(2, health.Unknown)
	b.is(3, health.Unknown)
	b.want("2:10 3:10") // what is there stays until it is proved unfit
	b.is(3, health.Down)
	b.want("2:10")
	if !b.pool.next.IsZero() {
		t.Error("wants to look again although nothing runs out")
	}
}

func TestAlpha(t *testing.T) {
	b := newBench(t, Policy{Alpha: true})
	b.want("1:10 2:10 3:10")
	b.restart()
	b.is(1, health.Unknown)
	b.want("2:10 3:10")
}

// TestAlphaIsForTheStart: a reload that changes the check of servers that serve
// leaves them without a result for a moment.
func TestAlphaIsForTheStart(t *testing.T) {
	for _, zero := range []bool{false, true} {
		b := newBench(t, Policy{Alpha: true, ZeroWhileDown: zero})
		b.pool.service.Servers[2].Check = health.Check{Type: health.TypeNone}
		b.is(2, health.Down)
		b.settle()
		b.is(1, health.Unknown)
		b.is(2, health.Unknown)
		b.is(3, health.Unknown)
		old, changed := b.pool, *b.pool.service
		changed.Servers = slices.Clone(changed.Servers)
		changed.Servers[2].Check = health.Check{Type: health.TypeTCP, Target: one(3)}
		b.pool = newPool(&changed)
		b.pool.inherit(old)
		want := "1:10 3:10"
		if zero {
			want = "1:10 2:0 3:10"
		}
		b.want(want)
	}
}

func TestWeightZeroWhileDown(t *testing.T) {
	b := newBench(t, Policy{ZeroWhileDown: true})
	b.want("1:10 2:10 3:10")
	b.is(1, health.Down)
	b.want("1:0 2:10 3:10")
	b.restart()
	b.is(1, health.Unknown)
	b.want("1:0 2:10 3:10") // not given traffic because nobody remembers
	b.is(1, health.Up)
	b.want("1:10 2:10 3:10")
}

func TestWeightOfTheCheck(t *testing.T) {
	b := newBench(t, Policy{})
	b.health[one(1)] = health.Status{State: health.Up, Weight: health.Weight{Set: true, Value: 7}}
	b.health[one(2)] = health.Status{State: health.Up, Weight: health.Weight{Set: true, Percent: true, Value: 25}}
	b.health[one(3)] = health.Status{State: health.Up, Weight: health.Weight{Set: true, Value: 1 << 20}}
	b.want("1:7 2:2 3:65535")
	b.orders[one(1)] = Order{Weighted: true, Weight: 0}
	b.want("1:0 2:2 3:65535")
}

// TestWeightOfTheCheckOutlivesARestart: a server that wants little must not get
// all that is configured until it has been asked again.
func TestWeightOfTheCheckOutlivesARestart(t *testing.T) {
	for _, slow := range []time.Duration{0, 10 * time.Second} {
		b := newBench(t, Policy{SlowStart: slow, Quorum: 100, Sorry: Server{Address: one(9), Spec: ServerSpec{Weight: 1}}})
		for i := range b.pool.service.Servers {
			b.pool.service.Servers[i].Check.WeightHeader = "X-Weight"
		}
		b.health[one(1)] = health.Status{State: health.Up, Weight: health.Weight{Set: true, Value: 2}}
		b.health[one(2)] = health.Status{State: health.Up, Weight: health.Weight{Set: true, Value: 200}}
		b.want("1:2 2:200 3:10")
		b.restart()
		b.is(1, health.Unknown)
		b.is(2, health.Unknown)
		b.want("1:2 2:200 3:10")
		if b.pool.quorum != QuorumKept {
			t.Errorf("quorum %v", b.pool.quorum)
		}
		b.orders[one(1)] = Order{Weighted: true, Weight: 1}
		b.want("1:1 2:200 3:10")
	}
}

func TestDrainByHand(t *testing.T) {
	b := newBench(t, Policy{})
	b.want("1:10 2:10 3:10")
	b.orders[one(2)] = Order{Drain: true}
	b.conns[one(2)] = 1
	b.want("1:10 2:0 3:10")
	b.after(time.Hour).want("1:10 2:0 3:10")
	if b.pool.next.IsZero() || b.pool.next.Sub(b.now) > time.Second {
		t.Errorf("looks again %v after %v", b.pool.next, b.now)
	}
	b.conns[one(2)] = 0
	b.after(time.Second).want("1:10 2:0 3:10") // a handshake may be under way
	b.after(500 * time.Millisecond).want("1:10 2:0 3:10")
	b.after(500 * time.Millisecond).want("1:10 3:10")
	if !b.pool.next.IsZero() {
		t.Error("wants to look again although it is gone")
	}
	b.restart()
	b.want("1:10 3:10")
	delete(b.orders, one(2))
	b.want("1:10 2:10 3:10")
}

func TestDrainByHandHasALimit(t *testing.T) {
	b := newBench(t, Policy{})
	b.want("1:10 2:10 3:10")
	b.orders[one(2)] = Order{Drain: true, Deadline: b.now.Add(300 * time.Millisecond)}
	b.conns[one(2)] = 1
	b.want("1:10 2:0 3:10")
	if got := b.pool.next.Sub(b.now); got != 300*time.Millisecond {
		t.Errorf("looks again after %v", got)
	}
	b.after(300 * time.Millisecond).want("1:10 3:10")
}

func TestNotCountedIsNotIdle(t *testing.T) {
	b := newBench(t, Policy{})
	b.want("1:10 2:10 3:10")
	b.orders[one(2)] = Order{Drain: true}
	b.conns = nil // the kernel does not say
	for range 10 {
		b.after(time.Second).want("1:10 2:0 3:10")
	}
}

func TestServersThatAreNotConfigured(t *testing.T) {
	for _, tt := range []struct {
		name  string
		drain time.Duration
		want  []string // each second
	}{
		{name: "no drain", want: []string{"1:10 2:10"}},
		{name: "drain", drain: 3 * time.Second, want: []string{"1:10 2:10 3:0", "1:10 2:10 3:0", "1:10 2:10 3:0", "1:10 2:10"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, Policy{Drain: tt.drain})
			b.want("1:10 2:10 3:10")
			b.conns[one(3)] = 4
			old, less := b.pool, *b.pool.service
			less.Servers = less.Servers[:2]
			b.pool = newPool(&less)
			b.pool.inherit(old)
			for _, want := range tt.want {
				b.want(want)
				if v := b.pool.verdictOn(one(3)); b.have[webKey].servers[one(3)] != (ServerSpec{}) && v.Reason != ReasonDropped {
					t.Errorf("verdict = %+v", v)
				}
				b.after(time.Second)
			}
		})
	}
}

// TestServersThatAreReplacedAtOnce gives a service other servers, of which nothing
// is known yet: the old ones serve until that is so no more.
func TestServersThatAreReplacedAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name    string
		policy  Policy
		verdict health.State // on the first of the new ones
		want    []string     // at once, and after the verdict
	}{
		{"one passes", Policy{}, health.Up, []string{"1:10 2:10 3:10", "4:10"}},
		{"one passes, with a drain", Policy{Drain: time.Minute}, health.Up, []string{"1:10 2:10 3:10", "1:0 2:0 3:0 4:10"}},
		{"one passes, with alpha", Policy{Alpha: true}, health.Up, []string{"1:10 2:10 3:10", "4:10"}},
		{"nobody else is left", Policy{}, health.Down, []string{"1:10 2:10 3:10", ""}},
		{"somebody is sorry", Policy{Sorry: Server{Address: one(9), Spec: ServerSpec{Weight: 1}}}, health.Down, []string{"1:10 2:10 3:10", "9:1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, tt.policy)
			b.want("1:10 2:10 3:10")
			for i := 1; i <= 3; i++ {
				b.conns[one(i)] = 1
			}
			old, other := b.pool, *b.pool.service
			other.Servers = []Server{{
				Address: one(4), Spec: ServerSpec{Weight: 10, Forward: DR}, Check: health.Check{Type: health.TypeTCP, Target: one(4)},
			}}
			b.pool = newPool(&other)
			b.pool.inherit(old)
			b.is(4, health.Unknown)
			b.want(tt.want[0])
			if v := b.pool.verdictOn(one(1)); v.Reason != ReasonReplaced {
				t.Errorf("verdict = %+v", v)
			}
			b.orders[one(1)] = Order{Drain: true}
			b.want(strings.Replace(tt.want[0], "1:10", "1:0", 1))
			delete(b.orders, one(1))
			b.have[webKey].servers[one(1)] = ServerSpec{Weight: 10, Forward: DR}
			b.is(4, tt.verdict)
			b.want(tt.want[1])
		})
	}
}

// TestUndrainedLate drops a server that has been drained by hand for long: the
// service's own drain begins then.
func TestUndrainedLate(t *testing.T) {
	b := newBench(t, Policy{Drain: time.Minute})
	b.want("1:10 2:10 3:10")
	b.conns[one(3)] = 1
	b.orders[one(3)] = Order{Drain: true}
	b.want("1:10 2:10 3:0")
	b.after(time.Hour).want("1:10 2:10 3:0")
	old, less := b.pool, *b.pool.service
	less.Servers = less.Servers[:2]
	b.pool = newPool(&less)
	b.pool.inherit(old)
	b.want("1:10 2:10 3:0")
	delete(b.orders, one(3))
	b.want("1:10 2:10 3:0")
	b.after(59 * time.Second).want("1:10 2:10 3:0")
	b.after(time.Second).want("1:10 2:10")
}

func TestSlowStart(t *testing.T) {
	b := newBench(t, Policy{SlowStart: 10 * time.Second})
	b.is(1, health.Down)
	b.want("2:10 3:10") // the first ones have nobody to spare
	b.is(1, health.Up)
	b.after(10 * time.Second).want("1:1 2:10 3:10")
	if got := b.pool.next.Sub(b.now); got != 2*time.Second {
		t.Errorf("looks again after %v", got)
	}
	b.after(4 * time.Second).want("1:4 2:10 3:10")
	b.restart()
	b.is(1, health.Unknown)
	b.want("1:4 2:10 3:10")
	b.is(1, health.Up)
	b.want("1:4 2:10 3:10")
	b.after(3 * time.Second).want("1:7 2:10 3:10")
	b.after(3 * time.Second).want("1:10 2:10 3:10")
	if !b.pool.next.IsZero() {
		t.Error("wants to look again although all have grown")
	}
	b.orders[one(1)] = Order{Drain: true}
	b.want("1:0 2:10 3:10")
	delete(b.orders, one(1))
	b.want("1:1 2:10 3:10")
}

func TestGroup(t *testing.T) {
	b := newBench(t, Policy{})
	other := ServiceKey{FWMark: 4}
	b.pool.service.Keys = append(b.pool.service.Keys, other)
	b.want("1:10 2:10 3:10")
	if got := b.shows(other); got != "1:10 2:10 3:10" {
		t.Errorf("the second key has %q", got)
	}
	delete(b.have[other].servers, one(2))
	b.is(2, health.Unknown)
	b.want("1:10 2:10 3:10")
	if got := b.shows(other); got != "1:10 3:10" {
		t.Errorf("the second key got a server of which nothing is known: %q", got)
	}
}

func TestReloadDoesNotOverruleWhoDrainsByHand(t *testing.T) {
	b := newBench(t, Policy{})
	b.want("1:10 2:10 3:10")
	b.orders[one(3)] = Order{Drain: true}
	b.conns[one(3)] = 1
	b.want("1:10 2:10 3:0")
	old, less := b.pool, *b.pool.service
	less.Servers = less.Servers[:2]
	b.pool = newPool(&less)
	b.pool.inherit(old)
	b.after(time.Hour).want("1:10 2:10 3:0")
	b.conns[one(3)] = 0
	b.after(time.Second).want("1:10 2:10 3:0")
	b.after(time.Second).want("1:10 2:10")
}

// TestSlowStartWhenAllIsNew: the first verdicts on the servers of a service come
// one after the other, and the first of them must not carry all the load.
func TestSlowStartWhenAllIsNew(t *testing.T) {
	b := newBench(t, Policy{SlowStart: 10 * time.Second})
	b.is(2, health.Unknown)
	b.is(3, health.Unknown)
	b.want("1:10")
	b.is(2, health.Up)
	b.after(time.Second).want("1:10 2:10")
	b.is(3, health.Up)
	b.after(10 * time.Second).want("1:10 2:10 3:1")
	b.is(2, health.Down)
	b.want("1:10 3:1")
	b.is(2, health.Up)
	b.want("1:10 2:1 3:1")
}

// TestSlowStartAfterAnOutage: servers that come back together from an outage of
// all of them share the load at once.
func TestSlowStartAfterAnOutage(t *testing.T) {
	for _, p := range []Policy{{}, {Alpha: true}, {ZeroWhileDown: true}} {
		p.SlowStart = 10 * time.Second
		b := newBench(t, p)
		out := func(s health.State) {
			for i := 1; i <= 3; i++ {
				b.is(i, s)
			}
			b.after(time.Hour).settle()
		}
		comeBack := func() {
			b.is(1, health.Up)
			b.settle()
			b.is(2, health.Up)
			b.after(300 * time.Millisecond).settle()
			b.is(3, health.Up)
			b.after(2 * time.Second).want("1:10 2:10 3:10")
			b.is(2, health.Down)
			b.settle()
			b.is(2, health.Up)
			b.want("1:10 2:1 3:10") // it has had its share
		}
		out(health.Unknown)
		comeBack()
		out(health.Down)
		comeBack()
		b.is(3, health.Down)
		b.after(time.Hour).settle()
		b.is(3, health.Up)
		b.want("1:10 2:10 3:1")
	}
}
