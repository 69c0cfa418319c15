package vrrp

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// t0 is when every test begins.
var t0 = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

var (
	lower  = netip.MustParseAddr("192.0.2.1")
	own    = netip.MustParseAddr("192.0.2.9")
	higher = netip.MustParseAddr("192.0.2.10") // greater than own as a number, not as a text
)

const (
	ms    = time.Millisecond
	never = time.Duration(-1)
)

// v3 and v2 are the routers that the tests are about: priority 100, 1s.
func v3(change ...func(*Config)) Config {
	c := Config{
		Name: "test", VRID: 51, Version: V3, Priority: 100, Interval: time.Second, Preempt: true,
		Primary: own, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.100")},
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

func v2(change ...func(*Config)) Config {
	c := v3(change...)
	c.Version = V2
	return c
}

func priority(p uint8) func(*Config)         { return func(c *Config) { c.Priority = p } }
func interval(d time.Duration) func(*Config) { return func(c *Config) { c.Interval = d } }
func delay(d time.Duration) func(*Config)    { return func(c *Config) { c.PreemptDelay = d } }
func noPreempt(c *Config)                    { c.Preempt = false }
func owner(c *Config)                        { c.Priority = PriorityOwner }

// heard is an advertisement for the router that c describes.
func heard(c Config, src netip.Addr, priority uint8, interval time.Duration) Received {
	return Received{Src: src, Advert: Advertisement{
		Version: c.Version, VRID: c.VRID, Priority: priority, Interval: interval, Addresses: c.Addresses,
	}}
}

func set(c Config) Reconfigure { return Reconfigure{Config: c} }

// to and from describe transitions.
func transition(from, to State, reason Reason) Output {
	return Output{Transition: true, From: from, To: to, Reason: reason}
}

func (o Output) advertising(priority uint8) Output {
	o.Advertise, o.Priority = true, priority
	return o
}

func (o Output) dropping(d Drop) Output {
	o.Drop = d
	return o
}

var (
	nothing  = Output{}
	toBackup = transition(StateInit, StateBackup, ReasonStartup)
)

func toMaster(reason Reason, priority uint8) Output {
	return transition(StateBackup, StateMaster, reason).advertising(priority)
}

// step is an event, what must come of it, and the deadline afterwards.
type step struct {
	at       time.Duration
	event    Event
	want     Output
	deadline time.Duration
}

// run takes a router through steps.
func run(t *testing.T, c Config, steps []step) *Router {
	t.Helper()
	r := New(c)
	for i, s := range steps {
		got := r.Step(t0.Add(s.at), s.event)
		if diff := cmp.Diff(s.want, got); diff != "" {
			t.Errorf("step %d, %T at %v: (-want +got)\n%s", i, s.event, s.at, diff)
		}
		deadline := never
		if d := r.Deadline(); !d.IsZero() {
			deadline = d.Sub(t0)
		}
		if deadline != s.deadline {
			t.Errorf("step %d, %T at %v: deadline %v, want %v", i, s.event, s.at, deadline, s.deadline)
		}
	}
	return r
}

// asBackup and asMaster are how a router with priority 100 and 1s gets there.
// Skew_Time is 156/256 s = 609.375ms.
const (
	skew100 = 609375 * time.Microsecond
	down100 = 3*time.Second + skew100
)

func asBackup(steps ...step) []step {
	return append([]step{{0, Start{}, toBackup, down100}}, steps...)
}

func asMaster(steps ...step) []step {
	return append([]step{
		{0, Start{}, toBackup, down100},
		{down100, Tick{}, toMaster(ReasonMasterDown, 100), down100 + time.Second},
	}, steps...)
}

type routerTest struct {
	name   string
	config Config
	steps  []step
}

func runAll(t *testing.T, tests []routerTest) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { run(t, tt.config, tt.steps) })
	}
}

// TestScreen sends what is not for this virtual router, to a backup and to a
// master. Nothing changes but the counter.
func TestScreen(t *testing.T) {
	password := func(c *Config) { c.Password = "secret" }
	change := func(c Config, f func(rx *Received)) Received {
		rx := heard(c, higher, 200, c.Interval)
		rx.Advert.Password = c.Password
		if c.Password != "" {
			rx.Advert.AuthType = AuthSimple
		}
		f(&rx)
		return rx
	}
	tests := []struct {
		name   string
		config Config
		change func(rx *Received)
		want   Drop
	}{
		{"version 2", v3(), func(rx *Received) { rx.Advert.Version = V2 }, DropVersion},
		{"version 3", v2(), func(rx *Received) { rx.Advert.Version = V3 }, DropVersion},
		{"vrid", v3(), func(rx *Received) { rx.Advert.VRID = 52 }, DropVRID},
		{"family", v3(), func(rx *Received) { rx.Src = src6 }, DropFamily},
		{"mapped", v3(), func(rx *Received) { rx.Src = netip.AddrFrom16(higher.As16()) }, DropFamily},
		{"no source", v3(), func(rx *Received) { rx.Src = netip.Addr{} }, DropFamily},
		{"own address", v3(), func(rx *Received) { rx.Src = own }, DropOwnAddress},
		{"interval 0", v3(), func(rx *Received) { rx.Advert.Interval = 0 }, DropInterval},
		{"v2 interval", v2(), func(rx *Received) { rx.Advert.Interval = 2 * time.Second }, DropInterval},
		{"v2 unwanted password", v2(), func(rx *Received) { rx.Advert.AuthType = AuthSimple }, DropAuthType},
		{"v2 unknown authentication", v2(), func(rx *Received) { rx.Advert.AuthType = 2 }, DropAuthType},
		{"v2 no password", v2(password), func(rx *Received) { rx.Advert.AuthType, rx.Advert.Password = AuthNone, "" }, DropAuthType},
		{"v2 wrong password", v2(password), func(rx *Received) { rx.Advert.Password = "Secret" }, DropPassword},
		{"v2 no match of a prefix", v2(password), func(rx *Received) { rx.Advert.Password = "secre" }, DropPassword},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bad := change(tt.config, tt.change)
			if got := New(tt.config).Step(t0, bad); got.Drop != DropNotRunning {
				t.Errorf("before start: got %v", got)
			}
			run(t, tt.config, asBackup(step{time.Second, bad, nothing.dropping(tt.want), down100}))
			run(t, tt.config, asMaster(step{down100 + 500*ms, bad, nothing.dropping(tt.want), down100 + time.Second}))
			// The control: unchanged, it is acted upon.
			if got := run(t, tt.config, asBackup()).Step(t0, change(tt.config, func(*Received) {})); got != nothing {
				t.Errorf("a good one: got %v", got)
			}
		})
	}
}

func TestPreemptDelay(t *testing.T) {
	c := v3(delay(10 * time.Second))
	sec := func(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }
	low := heard(c, lower, 50, time.Second)
	other := heard(c, higher, 60, time.Second)
	good := heard(c, higher, 150, time.Second)
	discarded := nothing.dropping(DropPriority)
	runAll(t, []routerTest{
		{"from start", c, asBackup(
			step{sec(1), low, nothing, sec(1) + down100},
			step{sec(4), low, nothing, sec(4) + down100},
			step{sec(7), low, nothing, sec(7) + down100},
			step{sec(9.999), low, nothing, sec(9.999) + down100},
			step{sec(10), low, discarded, sec(9.999) + down100},
			step{sec(9.999) + down100, Tick{}, toMaster(ReasonPreempt, 100), sec(10.999) + down100},
		)},
		{"a dead master is not waited for", c, asBackup(
			step{sec(1), low, nothing, sec(1) + down100},
			step{sec(1) + down100, Tick{}, toMaster(ReasonMasterDown, 100), sec(2) + down100},
		)},
		{"a farewell is not waited for", c, asBackup(
			step{sec(1), low, nothing, sec(1) + down100},
			step{sec(2), heard(c, lower, 0, time.Second), nothing, sec(2) + skew100},
			step{sec(2) + skew100, Tick{}, toMaster(ReasonFarewell, 100), sec(3) + skew100},
		)},
		{"anew for a master that appears later", c, asBackup(
			step{sec(1), good, nothing, sec(1) + down100},
			step{sec(20), low, nothing, sec(20) + down100},
			step{sec(29.999), low, nothing, sec(29.999) + down100},
			step{sec(30), low, discarded, sec(29.999) + down100},
		)},
		{"not anew for another lower one", c, asBackup(
			step{sec(1), low, nothing, sec(1) + down100},
			step{sec(5), other, nothing, sec(5) + down100},
			step{sec(9), low, nothing, sec(9) + down100},
			step{sec(10), other, discarded, sec(9) + down100},
			step{sec(11), low, discarded, sec(9) + down100},
		)},
		{"anew after being master", c, asMaster(
			step{sec(4), good, transition(StateMaster, StateBackup, ReasonHigherPriority), sec(4) + down100},
			step{sec(20), low, nothing, sec(20) + down100},
			step{sec(30), low, discarded, sec(20) + down100},
		)},
		{"ended by a reconfiguration", c, asBackup(
			step{sec(1), low, nothing, sec(1) + down100},
			step{sec(2), set(v3(delay(2 * time.Second))), nothing, sec(1) + down100},
			step{sec(2), low, discarded, sec(1) + down100},
		)},
		{"from when our priority rose", v3(priority(40), delay(5*time.Second)), []step{
			{0, Start{}, toBackup, 3*time.Second + 843750*time.Microsecond},
			{sec(1), low, nothing, sec(4) + 843750*time.Microsecond},
			{sec(9), set(v3(delay(5 * time.Second))), nothing, sec(1) + down100},
			{sec(9), low, nothing, sec(9) + down100},
			{sec(13.999), low, nothing, sec(13.999) + down100},
			{sec(14), low, discarded, sec(13.999) + down100},
		}},
		{"none for an owner that lost a tie", v3(delay(10*time.Second), owner), []step{
			{0, Start{}, transition(StateInit, StateMaster, ReasonOwner).advertising(255), sec(1)},
			{0, heard(c, higher, 255, sec(1)), transition(StateMaster, StateBackup, ReasonTie), sec(3) + 3906250},
			{sec(1), heard(c, lower, 254, sec(1)), discarded, sec(3) + 3906250},
		}},
		{"none for a new owner", v3(delay(10*time.Second), priority(200)), []step{
			{0, Start{}, toBackup, sec(3.21875)},
			{sec(1), set(v3(delay(10*time.Second), owner)), toMaster(ReasonOwner, 255), sec(2)},
		}},
	})
}

func TestReconfigure(t *testing.T) {
	sec := time.Second
	good := heard(v3(), higher, 150, 2*sec)
	runAll(t, []routerTest{
		{"before start", v3(), []step{
			{0, set(v3(owner)), nothing, never},
			{1, Start{}, transition(StateInit, StateMaster, ReasonOwner).advertising(255), sec + 1},
		}},
		{"priority of a backup", v3(), asBackup(
			step{2 * sec, set(v3(priority(200))), nothing, 3*sec + 218750*time.Microsecond},
			step{2 * sec, set(v3(priority(1))), nothing, 3*sec + 996093750},
		)},
		{"priority of a backup again and again postpones nothing", v3(), asBackup(
			step{1 * sec, set(v3()), nothing, down100},
			step{2 * sec, set(v3()), nothing, down100},
			step{3 * sec, set(v3()), nothing, down100},
		)},
		{"priority of a backup after a farewell", v3(), asBackup(
			step{1 * sec, heard(v3(), higher, 0, sec), nothing, sec + skew100},
			step{1 * sec, set(v3(priority(254))), nothing, sec + 7812500},
		)},
		{"priority of a backup with a learnt interval", v3(), asBackup(
			step{1 * sec, good, nothing, 7*sec + 2*skew100},
			step{2 * sec, set(v3(priority(128))), nothing, 8 * sec},
		)},
		{"interval of a backup that has learnt one", v3(), asBackup(
			step{1 * sec, good, nothing, 7*sec + 2*skew100},
			step{1 * sec, set(v3(interval(100 * ms))), nothing, 7*sec + 2*skew100},
		)},
		{"interval of a backup that has not", v3(), asBackup(
			step{1 * sec, set(v3(interval(2 * sec))), nothing, 2 * down100},
		)},
		{"interval of a v2 backup", v2(), asBackup(
			step{1 * sec, set(v2(interval(2 * sec))), nothing, 6*sec + skew100},
			step{1 * sec, heard(v2(), higher, 150, sec), nothing.dropping(DropInterval), 6*sec + skew100},
		)},
		{"version of a backup that has learnt an interval", v3(), asBackup(
			step{1 * sec, good, nothing, 7*sec + 2*skew100},
			step{1 * sec, set(v2()), nothing, sec + down100},
		)},
		{"preempt", v3(noPreempt), asBackup(
			step{1 * sec, heard(v3(), lower, 50, sec), nothing, sec + down100},
			step{2 * sec, set(v3()), nothing, sec + down100},
			step{2 * sec, heard(v3(), lower, 50, sec), nothing.dropping(DropPriority), sec + down100},
		)},
		{"longer interval of a master", v3(), asMaster(
			step{4 * sec, set(v3(interval(5 * sec))), nothing.advertising(100), down100 + sec},
			step{down100 + sec, Tick{}, nothing.advertising(100), down100 + 6*sec},
		)},
		{"shorter interval of a master", v3(), asMaster(
			step{4 * sec, set(v3(interval(100 * ms))), nothing.advertising(100), 4*sec + 100*ms},
			step{4*sec + 100*ms, Tick{}, nothing.advertising(100), 4*sec + 200*ms},
		)},
		{"priority and addresses of a master", v3(), asMaster(
			step{4 * sec, set(v3(priority(20), func(c *Config) { c.Addresses = nil })), nothing, down100 + sec},
			step{down100 + sec, Tick{}, nothing.advertising(20), down100 + 2*sec},
		)},
		{"owner from backup", v3(), asBackup(
			step{1 * sec, set(v3(owner)), toMaster(ReasonOwner, 255), 2 * sec},
			step{1 * sec, set(v3(owner)), nothing, 2 * sec},
		)},
		{"owner from master", v3(), asMaster(
			step{4 * sec, set(v3(owner)), nothing, down100 + sec},
			step{down100 + sec, Tick{}, nothing.advertising(255), down100 + 2*sec},
		)},
		{"owner no more", v3(owner), []step{
			{0, Start{}, transition(StateInit, StateMaster, ReasonOwner).advertising(255), sec},
			{0, set(v3()), nothing, sec},
			{sec, Tick{}, nothing.advertising(100), 2 * sec},
			{sec, heard(v3(), higher, 150, sec), transition(StateMaster, StateBackup, ReasonHigherPriority), sec + down100},
		}},
		{"primary", v3(), asMaster(
			step{4 * sec, set(v3(func(c *Config) { c.Primary = higher })), nothing, down100 + sec},
			step{4 * sec, heard(v3(), higher, 100, sec), nothing.dropping(DropOwnAddress), down100 + sec},
			step{4 * sec, heard(v3(), own, 100, sec), nothing.advertising(100).dropping(DropPriority), down100 + sec},
		)},
		{"interval 0 is not a loop", v3(interval(0)), []step{
			{0, Start{}, toBackup, 36*ms + 93750},
			{sec, Tick{}, toMaster(ReasonMasterDown, 100), sec + 10*ms},
			{sec, set(v3(interval(-1))), nothing, sec + 10*ms},
		}},
	})
}

func TestTime(t *testing.T) {
	sec := time.Second
	runAll(t, []routerTest{
		{"an early tick changes nothing", v3(), asMaster(
			step{down100 + sec - 1, Tick{}, nothing, down100 + sec},
			step{down100 + sec, Tick{}, nothing.advertising(100), down100 + 2*sec},
		)},
		{"a tick before start", v3(), []step{{0, Tick{}, nothing, never}}},
		{"a tick a little late does not shift the next", v3(), asMaster(
			step{down100 + sec + 300*ms, Tick{}, nothing.advertising(100), down100 + 2*sec},
			step{down100 + 2*sec, Tick{}, nothing.advertising(100), down100 + 3*sec},
		)},
		{"a tick more than half an interval late does", v3(), asMaster(
			step{down100 + sec + 600*ms, Tick{}, nothing.advertising(100), down100 + 2*sec + 600*ms},
		)},
		{"a tick much too late acts once", v3(), asMaster(
			step{10 * sec, Tick{}, nothing.advertising(100), 11 * sec},
			step{10 * sec, Tick{}, nothing, 11 * sec},
		)},
		{"a late tick of a backup", v3(), asBackup(
			step{1000 * sec, Tick{}, toMaster(ReasonMasterDown, 100), 1001 * sec},
		)},
		{"an advertisement before a late tick", v3(), asBackup(
			step{1000 * sec, heard(v3(), higher, 150, sec), nothing, 1000*sec + down100},
			step{1000 * sec, Tick{}, nothing, 1000*sec + down100},
		)},
		{"time going back stands still", v3(), asMaster(
			step{down100 + sec, Tick{}, nothing.advertising(100), down100 + 2*sec},
			step{-1000 * sec, Tick{}, nothing, down100 + 2*sec},
			step{0, heard(v3(), higher, 150, sec), transition(StateMaster, StateBackup, ReasonHigherPriority), 2*down100 + sec},
			step{down100 + 2*sec, Tick{}, nothing, 2*down100 + sec},
		)},
	})
}

func TestStatus(t *testing.T) {
	sec := time.Second
	tests := []struct {
		name   string
		config Config
		steps  []step
		want   Status
	}{
		{"new", v3(), nil, Status{}},
		{"started", v3(), asBackup(), Status{
			State: StateBackup, Since: t0, Reason: ReasonStartup, MasterInterval: sec,
		}},
		{
			"a better master", v3(),
			asBackup(step{sec, heard(v3(), higher, 150, 2*sec), nothing, 7*sec + 2*skew100}),
			Status{
				State: StateBackup, Since: t0, Reason: ReasonStartup, Settled: true,
				Master: higher, MasterPriority: 150, MasterInterval: 2 * sec,
			},
		},
		{
			"a worse master is seen, not accepted", v3(),
			asBackup(step{sec, heard(v3(), lower, 50, 2*sec), nothing.dropping(DropPriority), down100}),
			Status{
				State: StateBackup, Since: t0, Reason: ReasonStartup, Settled: false,
				Master: lower, MasterPriority: 50, MasterInterval: sec,
			},
		},
		{
			"after its farewell nobody is", v3(),
			asBackup(
				step{sec, heard(v3(), higher, 150, sec), nothing, sec + down100},
				step{2 * sec, heard(v3(), higher, 0, sec), nothing, 2*sec + skew100},
			),
			Status{State: StateBackup, Since: t0, Reason: ReasonStartup, Settled: true, MasterInterval: sec},
		},
		{
			"the farewell of another", v3(),
			asBackup(
				step{sec, heard(v3(), higher, 150, sec), nothing, sec + down100},
				step{2 * sec, heard(v3(), lower, 0, sec), nothing, 2*sec + skew100},
			),
			Status{
				State: StateBackup, Since: t0, Reason: ReasonStartup, Settled: true,
				Master: higher, MasterPriority: 150, MasterInterval: sec,
			},
		},
		{
			"a farewell to one who has heard nothing", v3(),
			asBackup(step{sec, heard(v3(), lower, 0, sec), nothing, sec + skew100}),
			Status{State: StateBackup, Since: t0, Reason: ReasonStartup, Settled: false, MasterInterval: sec},
		},
		{"master", v3(), asMaster(), Status{
			State: StateMaster, Since: t0.Add(down100), Reason: ReasonMasterDown, Settled: true, Epoch: 1,
			Master: own, MasterPriority: 100, MasterInterval: sec,
		}},
		{
			"master with another configuration", v3(),
			asMaster(step{down100, set(v3(priority(20))), nothing, down100 + sec}),
			Status{
				State: StateMaster, Since: t0.Add(down100), Reason: ReasonMasterDown, Settled: true, Epoch: 1,
				Master: own, MasterPriority: 20, MasterInterval: sec,
			},
		},
		{
			"yielded", v3(),
			asMaster(step{4 * sec, heard(v3(), higher, 150, sec), transition(StateMaster, StateBackup, ReasonHigherPriority), 4*sec + down100}),
			Status{
				State: StateBackup, Since: t0.Add(4 * sec), Reason: ReasonHigherPriority, Settled: true, Epoch: 1,
				Master: higher, MasterPriority: 150, MasterInterval: sec,
			},
		},
		{
			"fault, and another", v3(),
			asMaster(
				step{4 * sec, Stop{Reason: ReasonLinkDown}, transition(StateMaster, StateFault, ReasonLinkDown).advertising(0), never},
				step{5 * sec, Stop{Reason: ReasonNoAddress}, nothing, never},
			),
			Status{State: StateFault, Since: t0.Add(4 * sec), Reason: ReasonNoAddress, Epoch: 1},
		},
		{
			"master again", v3(),
			asMaster(
				step{4 * sec, Stop{Reason: ReasonLinkDown}, transition(StateMaster, StateFault, ReasonLinkDown).advertising(0), never},
				step{5 * sec, Start{}, transition(StateFault, StateBackup, ReasonStartup), 5*sec + down100},
				step{9 * sec, Tick{}, toMaster(ReasonMasterDown, 100), 10 * sec},
			),
			Status{
				State: StateMaster, Since: t0.Add(9 * sec), Reason: ReasonMasterDown, Settled: true, Epoch: 2,
				Master: own, MasterPriority: 100, MasterInterval: sec,
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := run(t, tt.config, tt.steps).Status()
			if diff := cmp.Diff(tt.want, got, equalAddrs); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
