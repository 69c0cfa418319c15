package vrrptest

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/vrrp"
)

// mutant is a router with one thing broken.
type mutant struct {
	*vrrp.Router
	step     func(r *vrrp.Router, now time.Time, ev vrrp.Event) vrrp.Output
	deadline func(r *vrrp.Router) time.Time
	status   func(s *vrrp.Status)
}

func (m *mutant) Status() vrrp.Status {
	s := m.Router.Status()
	if m.status != nil {
		m.status(&s)
	}
	return s
}

func (m *mutant) Step(now time.Time, ev vrrp.Event) vrrp.Output {
	if m.step == nil {
		return m.Router.Step(now, ev)
	}
	return m.step(m.Router, now, ev)
}

func (m *mutant) Deadline() time.Time {
	if m.deadline == nil {
		return m.Router.Deadline()
	}
	return m.deadline(m.Router)
}

// TestNoStorm lets two masters take each other for the worse one, as where their
// addresses are rewritten on the way. They answer each other, but not without
// end.
func TestNoStorm(t *testing.T) {
	worse := received(func(r *vrrp.Router, rx *vrrp.Received) bool {
		rx.Advert.Priority = 1
		return true
	})
	l := NewLAN(1, func(c vrrp.Config) Elector {
		m := worse()
		m.Router = vrrp.New(c)
		return m
	})
	l.SetNetwork(Network{Delay: time.Microsecond, Duplicate: 0.5})
	for i := range 2 {
		id := l.Add(vrrp.Config{
			VRID: 1, Version: vrrp.V3, Priority: 100, Interval: time.Second, Preempt: true,
			Primary: netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)}), Addresses: []netip.Addr{Group},
		})
		l.Start(id)
	}
	const seconds = 1000
	if err := l.RunUntil(seconds * time.Second); err != nil {
		t.Fatal(err)
	}
	for _, n := range l.nodes {
		if n.state != vrrp.StateMaster {
			t.Errorf("router %d is %v, so that this tests nothing", n.id, n.state)
		}
	}
	// One of its own an interval, and three answers.
	if got, limit := l.Stats.Advertisements, uint64(2*4*seconds); got > limit || got < limit/2 {
		t.Errorf("%d advertisements in %d intervals, want about %d", got, seconds, limit)
	}
}

// received makes a mutant that hears every advertisement as change leaves it,
// and not at all where change says false.
func received(change func(r *vrrp.Router, rx *vrrp.Received) bool) func() *mutant {
	return func() *mutant {
		return &mutant{step: func(r *vrrp.Router, now time.Time, ev vrrp.Event) vrrp.Output {
			if rx, ok := ev.(vrrp.Received); ok {
				if rx.Src != r.Config().Primary && !change(r, &rx) {
					return vrrp.Output{}
				}
				ev = rx
			}
			return r.Step(now, ev)
		}}
	}
}

// answered makes a mutant whose outputs are as change leaves them.
func answered(change func(ev vrrp.Event, out *vrrp.Output)) func() *mutant {
	return func() *mutant {
		return &mutant{step: func(r *vrrp.Router, now time.Time, ev vrrp.Event) vrrp.Output {
			out := r.Step(now, ev)
			change(ev, &out)
			return out
		}}
	}
}

// told makes a mutant that is told something else, or nothing.
func told(change func(r *vrrp.Router, now *time.Time, ev vrrp.Event) vrrp.Event) func() *mutant {
	return func() *mutant {
		return &mutant{step: func(r *vrrp.Router, now time.Time, ev vrrp.Event) vrrp.Output {
			if ev = change(r, &now, ev); ev == nil {
				return vrrp.Output{}
			}
			return r.Step(now, ev)
		}}
	}
}

// seen makes a mutant whose state others see differently.
func seen(change func(s *vrrp.Status)) func() *mutant {
	return func() *mutant { return &mutant{status: change} }
}

func isTick(ev vrrp.Event) bool { _, ok := ev.(vrrp.Tick); return ok }
func isStop(ev vrrp.Event) bool { _, ok := ev.(vrrp.Stop); return ok }

type mutation struct {
	name string
	new  func() *mutant
	want string // part of what is said of it
}

// TestMutants shows that the simulator finds what it is there to find.
func TestMutants(t *testing.T) {
	tests := []mutation{
		{"none", func() *mutant { return &mutant{} }, ""},
		{
			"no tie break",
			received(func(r *vrrp.Router, rx *vrrp.Received) bool {
				return rx.Advert.Priority != r.Config().Priority || r.Status().State != vrrp.StateMaster
			}),
			"both master",
		},
		{
			"priority 0 ignored",
			received(func(r *vrrp.Router, rx *vrrp.Received) bool { return rx.Advert.Priority != 0 }),
			"nobody took over",
		},
		{
			"no farewell",
			answered(func(ev vrrp.Event, out *vrrp.Output) {
				if isStop(ev) {
					out.Advertise = false
				}
			}),
			"nobody took over",
		},
		{
			"no skew after priority 0",
			func() *mutant {
				farewell := false
				return &mutant{
					step: func(r *vrrp.Router, now time.Time, ev vrrp.Event) vrrp.Output {
						if isTick(ev) && farewell {
							now = r.Deadline()
						}
						out := r.Step(now, ev)
						rx, ok := ev.(vrrp.Received)
						farewell = ok && rx.Advert.Priority == 0 && r.Status().State == vrrp.StateBackup
						return out
					},
					deadline: func(r *vrrp.Router) time.Time {
						if farewell {
							return origin
						}
						return r.Deadline()
					},
				}
			},
			"sooner than the skew time",
		},
		{
			"no skew by priority",
			func() *mutant {
				return &mutant{deadline: func(r *vrrp.Router) time.Time {
					d := r.Deadline()
					if r.Status().State == vrrp.StateBackup {
						d = d.Add(r.Config().Interval)
					}
					return d
				}}
			},
			"nobody took over",
		},
		{
			"preempt never",
			received(func(r *vrrp.Router, rx *vrrp.Received) bool {
				if r.Status().State == vrrp.StateBackup && rx.Advert.Priority != 0 {
					rx.Advert.Priority = max(rx.Advert.Priority, r.Config().Priority)
				}
				return true
			}),
			"is not",
		},
		{
			"hold ignored",
			func() *mutant {
				return &mutant{step: func(r *vrrp.Router, now time.Time, ev vrrp.Event) vrrp.Output {
					if rc, ok := ev.(vrrp.Reconfigure); ok {
						rc.Config.Hold = false
						ev = rc
					}
					return r.Step(now, ev)
				}}
			},
			"held back",
		},
		{
			"interval not learnt",
			received(func(r *vrrp.Router, rx *vrrp.Received) bool {
				if rx.Advert.Version == vrrp.V3 {
					rx.Advert.Interval = r.Config().Interval
				}
				return true
			}),
			"after everything had settled",
		},
		{
			"yields to worse",
			received(func(r *vrrp.Router, rx *vrrp.Received) bool {
				if r.Status().State == vrrp.StateMaster && rx.Advert.Priority != 0 {
					rx.Advert.Priority = vrrp.PriorityOwner
				}
				return true
			}),
			"nobody is master",
		},
		{
			"silent master",
			answered(func(ev vrrp.Event, out *vrrp.Output) {
				if isTick(ev) && !out.Transition {
					out.Advertise = false
				}
			}),
			"after everything had settled",
		},
		{
			"takes over too late",
			func() *mutant {
				return &mutant{deadline: func(r *vrrp.Router) time.Time {
					d := r.Deadline()
					if r.Status().State == vrrp.StateBackup {
						d = d.Add(time.Hour)
					}
					return d
				}}
			},
			"nobody is master",
		},
		{
			"takes over too soon",
			func() *mutant {
				return &mutant{
					step: func(r *vrrp.Router, now time.Time, ev vrrp.Event) vrrp.Output {
						if d := r.Deadline(); isTick(ev) && now.Before(d) {
							now = d
						}
						return r.Step(now, ev)
					},
					deadline: func(r *vrrp.Router) time.Time {
						d := r.Deadline()
						if r.Status().State == vrrp.StateBackup {
							d = d.Add(-r.Status().MasterInterval / 2)
						}
						return d
					},
				}
			},
			"took over before",
		},
		{
			"zero interval",
			func() *mutant {
				return &mutant{
					step: func(r *vrrp.Router, now time.Time, ev vrrp.Event) vrrp.Output {
						if isTick(ev) && r.Status().State == vrrp.StateMaster {
							now = r.Deadline()
						}
						return r.Step(now, ev)
					},
					deadline: func(r *vrrp.Router) time.Time {
						if r.Status().State == vrrp.StateMaster {
							return r.Status().Since
						}
						return r.Deadline()
					},
				}
			},
			"right after a tick",
		},
		{
			"answers without end",
			func() *mutant {
				return &mutant{step: func(r *vrrp.Router, now time.Time, ev vrrp.Event) vrrp.Output {
					if rx, ok := ev.(vrrp.Received); ok && r.Status().State == vrrp.StateMaster && rx.Src != r.Config().Primary {
						return vrrp.Output{Advertise: true, Priority: r.Config().Priority, Drop: vrrp.DropPriority}
					}
					return r.Step(now, ev)
				}}
			},
			"advertisements in",
		},
		{
			"answers as backup",
			answered(func(ev vrrp.Event, out *vrrp.Output) {
				if _, ok := ev.(vrrp.Received); ok && out.Drop == vrrp.DropNone && !out.Transition {
					out.Advertise, out.Priority = true, 7
				}
			}),
			"advertises priority 7",
		},
	}
	for _, tt := range slices.Concat(tests, handoverMutants) {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			build := func(c vrrp.Config) Elector {
				m := tt.new()
				m.Router = vrrp.New(c)
				return m
			}
			const seeds = 30
			said := make(map[string]bool)
			for seed := range uint64(seeds) {
				_, err := Run(seed, build)
				if err == nil {
					continue
				}
				if tt.name == "none" {
					t.Fatal(err)
				}
				line, _, _ := strings.Cut(err.Error(), "\n")
				said[line] = true
				if strings.Contains(line, tt.want) {
					return
				}
			}
			if tt.name != "none" {
				t.Errorf("none of %d seeds says %q, but %v", seeds, tt.want, said)
			}
		})
	}
}
