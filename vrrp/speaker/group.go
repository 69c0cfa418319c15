package speaker

import (
	"sync"
	"time"

	"github.com/understudy-ha/understudy/vrrp"
)

// Group joins virtual routers of one director, perhaps on several links and so in
// several Speakers, that change state together. It is shared by their loops, which
// hold its mutex for the time of a look only.
type Group struct {
	mu      sync.Mutex
	group   vrrp.Group
	wake    []func() // of the speaker that drives each member; nil: none does yet
	changed func(from, to vrrp.State)
}

// NewGroup returns a group of n virtual routers that is not led by anybody. It calls
// changed, which must not block, when the state of the group as a whole has changed,
// in order.
func NewGroup(n int, changed func(from, to vrrp.State)) *Group {
	g := &Group{wake: make([]func(), n), changed: changed}
	g.group.Size(n)
	return g
}

// State returns the state of the group as a whole.
func (g *Group) State() vrrp.State {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.group.State()
}

// report tells the state of a member, and wakes the speakers of the others if they
// have something to do. wake wakes the one that reports.
func (g *Group) report(place int, m vrrp.Member, wake func()) {
	g.mu.Lock()
	if place >= len(g.wake) {
		g.mu.Unlock()
		return
	}
	g.wake[place] = wake
	before := g.group.State()
	news := g.group.Report(place, m)
	if after := g.group.State(); after != before {
		g.changed(before, after)
	}
	var all []func()
	if news {
		all = append(all, g.wake...)
	}
	g.mu.Unlock()
	for _, f := range all {
		if f != nil {
			f()
		}
	}
}

func (g *Group) patience() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.group.Patience()
}

func (g *Group) advise(place int) vrrp.Advice {
	g.mu.Lock()
	defer g.mu.Unlock()
	if place >= len(g.wake) {
		return vrrp.AdviceNone
	}
	return g.group.Advise(place)
}
