package director

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/health"
)

func TestQuorum(t *testing.T) {
	for _, tt := range []struct {
		name     string
		policy   Policy
		from     Quorum
		live     int
		maybe    int
		unjudged bool
		kept     bool
		want     Quorum
	}{
		{name: "nothing known", policy: Policy{Quorum: 1}, unjudged: true, want: QuorumUnknown},
		{name: "enough although not all known", policy: Policy{Quorum: 2}, live: 2, unjudged: true, want: QuorumKept},
		{name: "all known and none", policy: Policy{Quorum: 1}, want: QuorumLost},
		{name: "no quorum given means 1", want: QuorumLost},
		{name: "no quorum given, one", live: 1, want: QuorumKept},
		{name: "kept on the edge", policy: Policy{Quorum: 10, Hysteresis: 3}, from: QuorumKept, live: 7, want: QuorumKept},
		{name: "lost below", policy: Policy{Quorum: 10, Hysteresis: 3}, from: QuorumKept, live: 6, want: QuorumLost},
		{name: "lost until above", policy: Policy{Quorum: 10, Hysteresis: 3}, from: QuorumLost, live: 12, want: QuorumLost},
		{name: "gained above", policy: Policy{Quorum: 10, Hysteresis: 3}, from: QuorumLost, live: 13, want: QuorumKept},
		{name: "kept before, on the edge", policy: Policy{Quorum: 10, Hysteresis: 3}, kept: true, live: 7, want: QuorumKept},
		{name: "kept before, lost below", policy: Policy{Quorum: 10, Hysteresis: 3}, kept: true, live: 6, want: QuorumLost},
		{name: "kept before, not all known", policy: Policy{Quorum: 10, Hysteresis: 3}, kept: true, live: 6, unjudged: true, want: QuorumUnknown},
		{name: "kept until judged", policy: Policy{Quorum: 10}, from: QuorumKept, live: 7, maybe: 3, unjudged: true, want: QuorumKept},
		{name: "lost whatever the verdict", policy: Policy{Quorum: 10}, from: QuorumKept, live: 7, maybe: 2, unjudged: true, want: QuorumLost},
		{name: "not gained before it is judged", policy: Policy{Quorum: 10}, from: QuorumLost, live: 7, maybe: 9, unjudged: true, want: QuorumLost},
		{name: "nothing is never a quorum", policy: Policy{Quorum: 1, Hysteresis: 9}, from: QuorumKept, want: QuorumLost},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, tt.from.next(tt.live, tt.maybe, tt.unjudged, tt.kept, tt.policy)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestNobodyIsSorryBeforeTheServersAreJudged(t *testing.T) {
	b := newBench(t, Policy{Quorum: 10, Sorry: Server{Address: one(9), Spec: ServerSpec{Weight: 1}}, Alpha: true, ZeroWhileDown: true})
	for i := 1; i <= 3; i++ {
		b.is(i, health.Unknown)
	}
	b.want("1:0 2:0 3:0")
	for i := 1; i <= 3; i++ {
		b.is(i, health.Down)
	}
	b.want("1:0 2:0 3:0 9:1")
}

func TestSorryServerThatDrainsIsNotGivenWeightByARestart(t *testing.T) {
	b := newBench(t, Policy{Quorum: 30, Sorry: Server{Address: one(9), Spec: ServerSpec{Weight: 1}}, Drain: time.Minute})
	b.is(1, health.Down)
	b.want("9:1")
	b.conns[one(9)] = 1
	b.is(1, health.Up)
	b.want("1:10 2:10 3:10 9:0")
	b.restart()
	b.is(1, health.Unknown)
	b.want("1:10 2:10 3:10 9:0")
}

func TestSorryServer(t *testing.T) {
	sorry := Server{Address: one(9), Spec: ServerSpec{Weight: 1, Forward: NAT}}
	b := newBench(t, Policy{Quorum: 20, Hysteresis: 5, Sorry: sorry})
	b.is(1, health.Unknown)
	b.is(2, health.Unknown)
	b.is(3, health.Unknown)
	b.want("") // nothing is known: nobody is to be sorry
	b.is(1, health.Up)
	b.want("1:10")
	b.is(2, health.Up)
	b.is(3, health.Up)
	b.want("1:10 2:10 3:10")
	b.is(3, health.Down)
	b.want("1:10 2:10")
	b.is(2, health.Down) // 10 are less than 20 - 5
	b.want("9:1")
	if b.pool.quorum != QuorumLost || b.pool.verdictOn(one(1)).Reason != ReasonNoQuorum {
		t.Errorf("quorum %v, verdict %+v", b.pool.quorum, b.pool.verdictOn(one(1)))
	}
	b.is(2, health.Up) // 20 are less than 20 + 5
	b.want("9:1")
	b.restart()
	for i := 1; i <= 3; i++ {
		b.is(i, health.Unknown)
	}
	b.want("9:1")
	for i := 1; i <= 3; i++ {
		b.is(i, health.Up)
	}
	b.want("1:10 2:10 3:10")
}

// TestHysteresisOutlivesARestart: between the two edges the quorum is what it
// was, and only the kernel's table knows that after a restart.
func TestHysteresisOutlivesARestart(t *testing.T) {
	b := newBench(t, Policy{Quorum: 20, Hysteresis: 5, Sorry: Server{Address: one(9), Spec: ServerSpec{Weight: 1}}})
	b.want("1:10 2:10 3:10")
	b.orders[one(2)] = Order{Weighted: true, Weight: 6}
	b.is(3, health.Down)
	b.want("1:10 2:6")
	restart := func() {
		b.restart()
		for i := 1; i <= 3; i++ {
			b.is(i, health.Unknown)
		}
	}
	restart()
	b.want("1:10 2:6")
	b.is(3, health.Down)
	b.is(1, health.Up)
	b.want("1:10 2:6")
	b.is(2, health.Up)
	b.want("1:10 2:6") // 16 are not less than 20 - 5
	b.is(1, health.Down)
	b.want("9:1")
	delete(b.orders, one(2))
	restart()
	b.want("9:1")
	b.is(1, health.Up)
	b.want("9:1")
	b.is(2, health.Up)
	b.is(3, health.Down)
	b.want("9:1") // 20 are less than 20 + 5
	b.is(3, health.Up)
	b.want("1:10 2:10 3:10")
}

// TestQuorumWaitsForWhatAReloadBrings: a server takes the place of another, and
// nothing is known of it yet.
func TestQuorumWaitsForWhatAReloadBrings(t *testing.T) {
	for _, p := range []Policy{{}, {Alpha: true}, {ZeroWhileDown: true, Alpha: true}} {
		p.Quorum, p.Sorry = 30, Server{Address: one(9), Spec: ServerSpec{Weight: 1}}
		b := newBench(t, p)
		b.want("1:10 2:10 3:10")
		old, changed := b.pool, *b.pool.service
		changed.Servers = slices.Clone(changed.Servers)
		changed.Servers[2].Address, changed.Servers[2].Check.Target = one(4), one(4)
		b.pool = newPool(&changed)
		b.pool.inherit(old)
		want := "1:10 2:10"
		if p.ZeroWhileDown {
			want += " 4:0"
		}
		b.want(want)
		b.is(4, health.Up)
		b.want("1:10 2:10 4:10")
		b.is(4, health.Down)
		if b.settle(); b.pool.quorum != QuorumLost {
			t.Errorf("quorum %v without a server that it needs", b.pool.quorum)
		}
	}
}

func TestSorryServerDrains(t *testing.T) {
	sorry := Server{Address: one(9), Spec: ServerSpec{Weight: 1}}
	b := newBench(t, Policy{Quorum: 30, Sorry: sorry, Drain: time.Minute})
	b.want("1:10 2:10 3:10")
	b.conns[one(2)] = 1
	b.is(1, health.Down)
	b.want("2:0 3:0 9:1")
	b.after(time.Second).want("2:0 3:0 9:1")
	b.after(time.Second).want("2:0 9:1")
	b.conns[one(9)] = 1
	b.is(1, health.Up)
	b.want("1:10 2:10 3:10 9:0")
	b.after(time.Minute).want("1:10 2:10 3:10")
}

func TestWithoutSorryServerTheLiveOnesStay(t *testing.T) {
	b := newBench(t, Policy{Quorum: 30})
	b.is(1, health.Down)
	b.want("2:10 3:10")
	if b.pool.quorum != QuorumLost {
		t.Errorf("quorum %v", b.pool.quorum)
	}
}

func TestEachDrainHasItsTime(t *testing.T) {
	b := newBench(t, Policy{Quorum: 30, Sorry: Server{Address: one(9), Spec: ServerSpec{Weight: 1}}, Drain: time.Minute})
	b.want("1:10 2:10 3:10")
	b.conns[one(2)], b.conns[one(3)] = 1, 1
	b.is(1, health.Down)
	b.want("2:0 3:0 9:1")
	b.is(1, health.Up)
	b.after(50 * time.Second).want("1:10 2:10 3:10 9:0")
	b.is(1, health.Down)
	b.after(20 * time.Second).want("2:0 3:0 9:1")
	b.after(50 * time.Second).want("2:0 3:0 9:1")
	b.after(10 * time.Second).want("9:1")
}
