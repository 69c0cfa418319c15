package vrrptest

import (
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/vrrp"
)

// handoverMutants break what a planned leave, a restart and a group keep.
var handoverMutants = []mutation{
	{
		"leaves at once",
		told(func(_ *vrrp.Router, _ *time.Time, ev vrrp.Event) vrrp.Event {
			if l, ok := ev.(vrrp.Leave); ok && l.Reason != vrrp.ReasonHandover {
				return vrrp.Stop{Reason: l.Reason}
			}
			return ev
		}),
		"nobody answers",
	},
	{
		"leaves too soon",
		func() *mutant {
			var end time.Time
			return &mutant{
				step: func(r *vrrp.Router, now time.Time, ev vrrp.Event) vrrp.Output {
					if _, ok := ev.(vrrp.Leave); ok {
						end = now.Add(r.Config().Interval / 10)
					}
					if isTick(ev) && r.Status().Leaving && !now.Before(end) {
						ev = vrrp.Stop{Reason: vrrp.ReasonRemoved}
					}
					return r.Step(now, ev)
				},
				deadline: func(r *vrrp.Router) time.Time {
					if r.Status().Leaving {
						return end
					}
					return r.Deadline()
				},
			}
		},
		"nobody answers",
	},
	{
		"leaves without a word",
		answered(func(ev vrrp.Event, out *vrrp.Output) {
			if _, ok := ev.(vrrp.Leave); ok {
				out.Advertise = false
			}
		}),
		"nobody answers",
	},
	{"does not linger", seen(func(s *vrrp.Status) { s.Lingering = false }), "nobody answers"},
	{"does not announce again", seen(func(s *vrrp.Status) { s.Repeats = 0 }), "has not announced"},
	{
		"speaks while it leaves",
		func() *mutant {
			return &mutant{step: func(r *vrrp.Router, now time.Time, ev vrrp.Event) vrrp.Output {
				out := r.Step(now, ev)
				if _, ok := ev.(vrrp.Received); ok && r.Status().Leaving {
					out.Advertise, out.Priority = true, r.Config().Priority
				}
				return out
			}}
		},
		"advertises priority",
	},
	{
		"does not resume",
		told(func(_ *vrrp.Router, _ *time.Time, ev vrrp.Event) vrrp.Event {
			if ev == (vrrp.Resume{}) {
				return nil
			}
			return ev
		}),
		"nobody answers",
	},
	{
		"resumes without a word",
		answered(func(ev vrrp.Event, out *vrrp.Output) {
			if ev == (vrrp.Resume{}) {
				out.Advertise = false
			}
		}),
		"because of a restart",
	},
	{
		"leads alone",
		func() *mutant {
			return &mutant{step: func(r *vrrp.Router, now time.Time, ev vrrp.Event) vrrp.Output {
				out := r.Step(now, ev)
				if isTick(ev) && r.Status().Wants {
					out = r.Step(now, vrrp.Lead{})
				}
				return out
			}}
		},
		"nobody is master",
	},
}

// TestGroupMutants breaks the advice that members of a group get.
func TestGroupMutants(t *testing.T) {
	tests := []struct {
		name  string
		given vrrp.Advice
		taken vrrp.Advice
		want  string
	}{
		{"none", vrrp.AdviceNone, vrrp.AdviceNone, ""},
		{"no lead", vrrp.AdviceLead, vrrp.AdviceNone, "nobody is master"},
		{"no concede", vrrp.AdviceConcede, vrrp.AdviceNone, "have been master alone"},
		{"no wait", vrrp.AdviceWait, vrrp.AdviceNone, "have been master alone"},
		{"no expect", vrrp.AdviceExpect, vrrp.AdviceNone, "nobody answers"},
		{"concedes instead of leaving", vrrp.AdviceLeave, vrrp.AdviceConcede, "nobody answers"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			said := make(map[string]bool)
			for seed := range uint64(200) {
				_, err := run(seed, nil, func(c *checker) {
					c.lan.advise = func(g *vrrp.Group, place int) vrrp.Advice {
						if a := g.Advise(place); a != tt.given {
							return a
						}
						return tt.taken
					}
				})
				if err == nil {
					continue
				}
				line, _, _ := strings.Cut(err.Error(), "\n")
				if said[line] = true; tt.want != "" && strings.Contains(line, tt.want) {
					return
				}
			}
			if tt.want != "" || len(said) > 0 {
				t.Errorf("nothing says %q, but %v", tt.want, said)
			}
		})
	}
}
