package vrrp

import "time"

// Member is what a Group must know of one of its virtual routers. The Config of
// each says Grouped, and all have the same priority.
type Member struct {
	Known    bool // it has been found out whether it is
	Ready    bool // to take part: nothing of its own is wrong with it
	State    State
	Wants    bool
	Leaving  bool
	Farewell bool
	Patience time.Duration // Config.Patience
}

// Advice is what a Group tells one of its members to do.
type Advice uint8

// The advices.
const (
	AdviceNone    Advice = iota
	AdviceHold           // not to begin to take part: of another member it is not known whether it can
	AdviceWait           // not to take part, since another member cannot: a Stop or a Leave for ReasonGroupFault
	AdviceLead           // Lead
	AdviceConcede        // Concede
	AdviceExpect         // Expect
	AdviceLeave          // Leave for ReasonHandover
)

// Group makes virtual routers of one director change state together: all of them
// become master when all of them would, all give way when one does, and none takes
// part while one cannot. A member becomes master with the others only, so that a
// director that is unreachable on one link does not take the others from a living
// master, lose them, and take them again for ever.
//
// It is pure, as a Router is. The zero value is a group that has never been master.
// A Group is owned by its caller, who tells it everything that changes.
type Group struct {
	members []groupMember
	reign   uint64 // grows with each time that all became master
	leading bool   // the members are to be master
}

type groupMember struct {
	Member
	joined uint64 // the last reign in which it was master
	advice Advice // before what is reported
	left   bool   // it has said farewell since the last time that none of them was leaving
}

// Size makes the group one of n members, which are not Ready. It forgets everything
// else, unless that was their number before.
func (g *Group) Size(n int) {
	if len(g.members) != n {
		*g = Group{members: make([]groupMember, n)}
	}
}

// Report tells the state of a member, counted from 0. It returns whether a member, which
// may be that one, has to look at its advice again.
func (g *Group) Report(i int, m Member) (news bool) {
	if g.members[i].Member == m {
		return false
	}
	for j := range g.members {
		g.members[j].advice = g.Advise(j)
	}
	g.members[i].Member = m
	g.decide()
	for j := range g.members {
		now := g.Advise(j)
		news = news || now != g.members[j].advice || now != AdviceNone
	}
	return news
}

// decide follows the states of the members.
func (g *Group) decide() {
	all, given := true, false
	leaving := g.leaving()
	for i := range g.members {
		m := &g.members[i]
		if g.leading && m.State == StateMaster {
			m.joined = g.reign
		}
		m.left = leaving && (m.left || m.Leaving)
		given = given || m.joined == g.reign && m.State != StateMaster
		all = all && m.Ready && (m.Wants || m.State == StateMaster && !m.Leaving)
	}
	switch {
	case g.leading && (given || !g.ready()):
		g.leading = false
	case !g.leading && all:
		g.leading = true
		g.reign++
		for i := range g.members {
			if g.members[i].State == StateMaster {
				g.members[i].joined = g.reign
			}
		}
	}
}

func (g *Group) ready() bool {
	for i := range g.members {
		if !g.members[i].Ready {
			return false
		}
	}
	return true
}

// Advise returns what a member, counted from 0, has to do now.
func (g *Group) Advise(i int) Advice {
	m := g.members[i]
	switch {
	case !m.Ready:
		return AdviceNone // its own fault is what it stops for
	case !g.ready():
		for j := range g.members {
			if g.members[j].Known && !g.members[j].Ready {
				return AdviceWait
			}
		}
		return AdviceHold
	case m.State == StateBackup && g.leading && m.joined < g.reign:
		return AdviceLead
	case m.State == StateMaster && !m.Leaving && !g.leading && !g.pending():
		return AdviceConcede
	case m.State == StateMaster && !m.Leaving && !m.left && g.leading && g.leaving():
		return AdviceLeave
	case m.State == StateBackup && !m.Wants && !m.Farewell && g.farewell():
		return AdviceExpect
	}
	return AdviceNone
}

// pending reports whether it is still open whether all members are master: one has to
// begin, which may be master at once by Resume, or to end a Leave.
func (g *Group) pending() bool {
	for i := range g.members {
		if g.members[i].State == StateInit {
			return true
		}
	}
	return g.leaving() && !g.given()
}

// given reports whether a member is not master any more.
func (g *Group) given() bool {
	for i := range g.members {
		if g.members[i].State == StateBackup {
			return true
		}
	}
	return false
}

// leaving reports whether a member has said farewell and serves until it is succeeded.
func (g *Group) leaving() bool {
	for i := range g.members {
		if g.members[i].Leaving {
			return true
		}
	}
	return false
}

// farewell reports whether a member waits for its skew time alone.
func (g *Group) farewell() bool {
	for i := range g.members {
		if g.members[i].State == StateBackup && g.members[i].Farewell {
			return true
		}
	}
	return false
}

// Patience is how long a member that leaves waits for its successor: as the members
// of the other director become master together, it comes with the last of them.
func (g *Group) Patience() time.Duration {
	longest := time.Duration(0)
	for i := range g.members {
		longest = max(longest, g.members[i].Patience)
	}
	return longest
}

// State returns the state of the group as a whole: fault if a member is in fault,
// init while one is, master when all are, otherwise backup.
func (g *Group) State() State {
	var count [StateFault + 1]int
	for i := range g.members {
		count[g.members[i].State]++
	}
	switch {
	case count[StateFault] > 0:
		return StateFault
	case count[StateInit] > 0:
		return StateInit
	case count[StateBackup] > 0:
		return StateBackup
	}
	return StateMaster
}
