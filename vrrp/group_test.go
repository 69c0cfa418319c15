package vrrp

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Members of a group as they may report themselves.
var (
	faulty   = Member{Known: true, State: StateFault}
	fresh    = Member{Known: true, Ready: true}
	idle     = Member{Known: true, Ready: true, State: StateBackup}
	told     = Member{Known: true, Ready: true, State: StateBackup, Farewell: true}
	wanting  = Member{Known: true, Ready: true, State: StateBackup, Wants: true}
	leads    = Member{Known: true, Ready: true, State: StateMaster}
	departs  = Member{Known: true, Ready: true, State: StateMaster, Leaving: true}
	failing  = Member{Known: true, State: StateMaster, Leaving: true} // for a fault of its own
	untested = Member{Ready: true}
)

// TestGroup takes groups through what their members report.
func TestGroup(t *testing.T) {
	const (
		none, hold, wait    = AdviceNone, AdviceHold, AdviceWait
		lead, concede       = AdviceLead, AdviceConcede
		expect, leaveAdvice = AdviceExpect, AdviceLeave
	)
	type report struct {
		member int
		is     Member
		want   []Advice
	}
	// Two members that are master.
	reign := func(then ...report) []report {
		return append([]report{
			{0, idle, []Advice{hold, none}},
			{1, idle, []Advice{none, none}},
			{0, wanting, []Advice{none, none}},
			{1, wanting, []Advice{lead, lead}},
			{0, leads, []Advice{none, lead}},
			{1, leads, []Advice{none, none}},
		}, then...)
	}
	tests := []struct {
		name  string
		steps []report
	}{
		{"nobody begins before it is known that all can", []report{
			{0, fresh, []Advice{hold, none, none}},
			{1, fresh, []Advice{hold, hold, none}},
			{1, fresh, []Advice{hold, hold, none}}, // the same again
			{2, fresh, []Advice{none, none, none}}, // who was held must look again
		}},
		{"nobody takes part while one cannot", []report{
			{0, fresh, []Advice{hold, none}},
			{1, faulty, []Advice{wait, none}},
			{0, Member{Known: true, Ready: true, State: StateFault}, []Advice{wait, none}},
			{1, fresh, []Advice{none, none}},
		}},
		{"one that is ready and not known to be is held", []report{
			{0, untested, []Advice{hold, none}},
		}},
		{"all become master when all would", reign()},
		{"a group of one needs nobody", []report{
			{0, idle, []Advice{none}},
			{0, wanting, []Advice{lead}},
			{0, leads, []Advice{none}},
		}},
		{"one that has heard a master again leads with the others all the same", []report{
			{0, idle, []Advice{hold, none}},
			{1, wanting, []Advice{none, none}},
			{0, wanting, []Advice{lead, lead}},
			{0, leads, []Advice{none, lead}},
			{1, idle, []Advice{none, lead}},
		}},
		{"all give way when one does", reign(
			report{1, idle, []Advice{concede, none}},
			report{0, idle, []Advice{none, none}},
			report{0, wanting, []Advice{none, none}},
			report{1, wanting, []Advice{lead, lead}}, // another reign
		)},
		{"all leave when one has a fault", reign(
			report{0, failing, []Advice{none, wait}},
			report{1, departs, []Advice{none, wait}},
			report{0, faulty, []Advice{none, wait}},
		)},
		{"a fault that is over before anybody has come", reign(
			report{0, failing, []Advice{none, wait}},
			report{1, departs, []Advice{none, wait}},
			report{0, departs, []Advice{none, none}}, // each stays by Start
			report{0, leads, []Advice{none, none}},
			report{1, leads, []Advice{none, none}},
		)},
		{"a fault that is over too late", reign(
			report{0, faulty, []Advice{none, wait}},
			report{1, departs, []Advice{none, wait}},
			report{0, idle, []Advice{none, none}},
			report{1, leads, []Advice{none, concede}}, // its own report is news to it
		)},
		{"all leave when one hands over", reign(
			report{0, departs, []Advice{none, leaveAdvice}},
			report{1, departs, []Advice{none, none}},
			report{0, idle, []Advice{none, none}}, // it has heard its successor, and the other one will
			report{1, idle, []Advice{none, none}},
		)},
		{"all stay when nobody wants them", reign(
			report{0, departs, []Advice{none, leaveAdvice}},
			report{1, departs, []Advice{none, none}},
			report{0, leads, []Advice{none, none}}, // once is enough
			report{1, leads, []Advice{none, none}},
			report{1, departs, []Advice{leaveAdvice, none}}, // and again, later
		)},
		{"one that has not left yet when the successor comes", reign(
			report{0, departs, []Advice{none, leaveAdvice}},
			report{0, idle, []Advice{none, concede}},
		)},
		{"one farewell is for all", []report{
			{0, idle, []Advice{hold, none}},
			{1, told, []Advice{expect, none}},
			{1, wanting, []Advice{none, none}},
			{0, wanting, []Advice{lead, lead}},
		}},
		{"two that have heard it expect nothing of each other", []report{
			{0, told, []Advice{hold, none}},
			{1, told, []Advice{none, none}},
			{0, idle, []Advice{expect, none}}, // its master lives
			{1, idle, []Advice{none, none}},
		}},
		{"several resume", []report{
			{0, fresh, []Advice{hold, none}},
			{1, fresh, []Advice{none, none}},
			{0, leads, []Advice{none, none}}, // the other one may be master in a moment
			{1, leads, []Advice{none, none}},
		}},
		{"one resumes and another has been away for too long", []report{
			{0, fresh, []Advice{hold, none}},
			{1, fresh, []Advice{none, none}},
			{0, leads, []Advice{none, none}},
			{1, idle, []Advice{concede, none}},
		}},
		{"a director that is not heard on one link takes nothing on the others", []report{
			{0, idle, []Advice{hold, none}},
			{1, wanting, []Advice{none, none}},
			{0, told, []Advice{none, none}},
			{0, idle, []Advice{none, none}}, // heard again, and so on for ever
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var g Group
			before := make([]Advice, len(tt.steps[0].want))
			g.Size(len(before))
			for i, s := range tt.steps {
				same := g.members[s.member].Member == s.is
				news := g.Report(s.member, s.is)
				var got []Advice
				needed := false // somebody has to look
				for j := range s.want {
					got = append(got, g.Advise(j))
					needed = needed || got[j] != before[j] || got[j] != AdviceNone
				}
				before = got
				if diff := cmp.Diff(s.want, got); diff != "" {
					t.Errorf("step %d: advice (-want +got)\n%s", i, diff)
				}
				if want := needed && !same; news != want {
					t.Errorf("step %d: news %t, want %t", i, news, want)
				}
			}
		})
	}
}

func TestGroupState(t *testing.T) {
	tests := []struct {
		name string
		a, b Member
		want State
	}{
		{"one in fault", faulty, leads, StateFault},
		{"one that has not begun", fresh, leads, StateInit},
		{"one that is not master", leads, idle, StateBackup},
		{"all master", leads, leads, StateMaster},
		{"one about to leave", departs, leads, StateMaster},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var g Group
			g.Size(2)
			g.Report(0, tt.a)
			g.Report(1, tt.b)
			if got := g.State(); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

// TestGroupSize: only another number of members makes it forget.
func TestGroupSize(t *testing.T) {
	var g Group
	g.Size(1)
	g.Report(0, leads)
	if g.Size(1); !g.leading {
		t.Error("it has forgotten")
	}
	if g.Size(2); g.leading || g.State() != StateInit {
		t.Errorf("it still knows of %v", g.State())
	}
}

// TestUnreachableLinkDoesNotFlap: a backup that does not hear the master on one of
// two links takes neither, however long that lasts.
func TestUnreachableLinkDoesNotFlap(t *testing.T) {
	c := v3(func(c *Config) { c.Grouped = true })
	deaf, hears := New(c), New(c)
	var g Group
	g.Size(2)
	now := t0
	for _, r := range []*Router{deaf, hears} {
		r.Step(now, Start{})
	}
	for range 1000 {
		now = now.Add(time.Second)
		hears.Step(now, heard(c, higher, 150, time.Second))
		for i, r := range []*Router{deaf, hears} {
			if d := r.Deadline(); !d.IsZero() && !now.Before(d) {
				r.Step(now, Tick{})
			}
			s := r.Status()
			g.Report(i, Member{Known: true, Ready: true, State: s.State, Wants: s.Wants, Leaving: s.Leaving, Farewell: s.Farewell})
			if a := g.Advise(i); a != AdviceNone && i > 0 {
				t.Fatalf("after %v member %d is advised %d", now.Sub(t0), i, a)
			}
		}
	}
	if !deaf.Status().Wants || hears.Status().Wants || g.leading {
		t.Errorf("%+v, %+v, leading %t", deaf.Status(), hears.Status(), g.leading)
	}
}
