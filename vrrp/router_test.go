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
		if d := r.timer(); !d.IsZero() {
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
