package connsync

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// serve carries out what node i has granted: it sends, and peer j has the
// connections a while later.
func (w *world) serve(i, j int, lasting uint32) bool {
	if !w.nodes[i].serving.begin(w.now) {
		return false
	}
	w.nodes[i].serving.advance(lasting, 1)
	w.run(300 * time.Millisecond)
	w.nodes[i].serving.end(w.now, nil)
	w.nodes[i].kick = true
	w.nodes[j].counts.Lasting = lasting
	return true
}

func TestResync(t *testing.T) {
	w := newWorld(t, "a", "b")
	a, b := w.nodes[0], w.nodes[1]
	a.counts.Lasting = 1000
	w.locals[0].flags |= FlagMaster
	a.listening, b.listening = w.now, w.now
	w.run(500 * time.Millisecond)
	if b.resync.state != ResyncAsked || a.resync.state != ResyncNone {
		t.Fatalf("b %v, a %v", b.resync.state, a.resync.state)
	}
	if ready, reason := Ready(b.readiness(w.now)); ready || reason != WaitResync {
		t.Errorf("b: %t, %v", ready, reason)
	}
	if !w.serve(0, 1, 1000) {
		t.Fatal("a does not serve")
	}
	w.run(200 * time.Millisecond)
	if r := b.resync; r.state != ResyncDone || r.sent != 1000 || r.omitted != 1 || r.peer != "a" {
		t.Errorf("%+v", r)
	}
	// What was counted before the kernel has taken all in, says nothing.
	if ready, reason := Ready(b.readiness(w.now)); ready || reason != WaitBehind {
		t.Errorf("right after the resync: %t, %v", ready, reason)
	}
	w.run(resyncSettle)
	if ready, reason := Ready(b.readiness(w.now)); !ready || reason != ReadySynced {
		t.Errorf("after the resync: %t, %v", ready, reason)
	}
	w.run(time.Minute)
	if b.resync.number != 1 || a.serving.granted {
		t.Errorf("it is asked again: %+v", b.resync)
	}
}

func TestResyncAgain(t *testing.T) {
	w := newWorld(t, "a", "b")
	a, b := w.nodes[0], w.nodes[1]
	a.counts.Lasting = 1000
	w.locals[0].flags |= FlagMaster
	w.run(500 * time.Millisecond)
	if !a.serving.begin(w.now) {
		t.Fatal("a does not serve")
	}
	// It cannot, and says nothing more.
	a.serving.end(w.now, errors.New("no socket"))
	w.run(resyncPatience)
	if b.resync.state != ResyncFailed && b.resync.number == 1 {
		t.Errorf("%+v", b.resync)
	}
	asked := map[uint32]time.Time{}
	for range 600 {
		w.run(time.Second)
		if _, ok := asked[b.resync.number]; !ok {
			asked[b.resync.number] = w.now
		}
		if a.serving.begin(w.now) {
			a.serving.end(w.now, errors.New("no socket"))
		}
	}
	if n := len(asked); n < 4 || n > 8 {
		t.Errorf("asked %d times in ten minutes: %v", n, asked)
	}
}

// TestWhoAsks: a resync overwrites, so that not everybody may ask for one.
func TestWhoAsks(t *testing.T) {
	for _, tt := range []struct {
		name        string
		own, theirs uint32
		local       Flags // beside sending and receiving
		peer        Flags
		up          time.Duration
		ask         bool
	}{
		{"a backup that came back", 0, 100, 0, FlagMaster, time.Second, true},
		{"one connection", 0, 1, 0, FlagMaster, time.Second, true},
		{"the same", 100, 100, 0, FlagMaster, time.Second, false},
		{"a tenth less", 90, 100, 0, FlagMaster, time.Second, false},
		{"more than a tenth less", 89, 100, 0, FlagMaster, time.Second, true},
		{"a backup that missed something later", 50, 100, 0, FlagMaster, time.Hour, true},
		{"nobody is master", 0, 100, 0, 0, time.Second, true},
		{"nobody is master, later", 0, 100, 0, 0, time.Hour, false},
		{"a master that came back", 10, 100, FlagMaster, 0, time.Second, true},
		{"a master that has most", 60, 100, FlagMaster, 0, time.Second, false},
		{"a master later", 10, 100, FlagMaster, FlagMaster, time.Hour, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, "a", "b")
			a, b := w.nodes[0], w.nodes[1]
			a.started = w.now.Add(-tt.up)
			a.counts.Lasting, b.counts.Lasting = tt.own, tt.theirs
			w.locals[0].flags |= tt.local
			w.locals[1].flags |= tt.peer
			w.run(2 * time.Second)
			if got := a.resync.state != ResyncNone; got != tt.ask {
				t.Errorf("asks: %t", got)
			}
		})
	}
	// Whose kernel does not receive, or ignores the other's, has nothing of it.
	w := newWorld(t, "a", "b")
	w.nodes[1].counts.Lasting = 100
	w.locals[0].flags = 0
	w.run(2 * time.Second)
	if w.nodes[0].resync.state != ResyncNone {
		t.Error("asks without a backup daemon")
	}
	w = newWorld(t, "a", "b")
	w.nodes[1].counts.Lasting, w.nodes[1].id = 100, 8
	w.run(2 * time.Second)
	if w.nodes[0].resync.state != ResyncNone {
		t.Error("asks a peer of another sync id")
	}
	// Of several, the master is asked, and only that.
	w = newWorld(t, "a", "b", "c")
	w.nodes[1].counts.Lasting, w.nodes[2].counts.Lasting = 100, 90
	w.locals[2].flags |= FlagMaster
	w.run(2 * time.Second)
	if r := w.nodes[0].resync; r.peer != "c" || w.nodes[1].serving.granted || !w.nodes[2].serving.granted {
		t.Errorf("asks %q", r.peer)
	}
}

// TestReadsFirst: of a peer that has just started, and has not read its table,
// nobody knows how much there is to learn.
func TestReadsFirst(t *testing.T) {
	w := newWorld(t, "a", "b")
	a, b := w.nodes[0], w.nodes[1]
	b.listening = w.now
	meet := func() (bool, Reason) {
		w.now = w.now.Add(time.Second)
		for _, pair := range [][2]*node{{a, b}, {b, a}, {a, b}} {
			pair[0].kick = true
			if v, ok := pair[0].say(w.now); ok {
				pair[1].hear(w.now, netip.Addr{}, v)
			}
			w.now = w.now.Add(beaconLeast)
		}
		b.step(w.now, w.locals[1])
		b.counted(w.now, Counts{}, nil)
		return Ready(b.readiness(w.now))
	}
	if ready, reason := meet(); ready || reason != WaitBehind || !w.peer(1, "a").alive(w.now) {
		t.Errorf("before a has read its table: %t, %v", ready, reason)
	}
	a.counted(w.now, Counts{}, nil)
	if ready, reason := meet(); !ready || reason != ReadySynced {
		t.Errorf("after that, with nothing in it: %t, %v", ready, reason)
	}
}

// TestChaos: whatever is lost or started again, in the end the directors know
// each other, have what there is, and nothing was taken for hostile.
func TestChaos(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		w := newWorld(t, "a", "b", "c")
		w.locals[0].flags |= FlagMaster
		w.nodes[0].counts.Lasting = 1000
		for range 60 {
			switch rng.IntN(4) {
			case 0:
				i := rng.IntN(3)
				w.restart(i, rng.Uint64()|1)
				if i == 0 {
					w.nodes[0].counts.Lasting = 1000
				}
			case 1:
				p := rng.Float64()
				w.lose = func(int, int) bool { return rng.Float64() < p }
			case 2:
				w.lose = func(int, int) bool { return false }
			case 3:
				for i := range w.nodes {
					if w.nodes[i].serving.begin(w.now) {
						w.nodes[i].serving.end(w.now, errors.New("not now"))
					}
				}
			}
			w.run(time.Duration(rng.IntN(50)) * 100 * time.Millisecond)
		}
		w.lose = func(int, int) bool { return false }
		for i := range w.nodes {
			w.nodes[i].resync.again = time.Time{} // however often it has asked in vain
		}
		for range 60 {
			w.run(time.Second)
			for j := 1; j < 3; j++ {
				if n := w.nodes[0]; n.serving.granted && n.serving.peer == string(rune('a'+j)) {
					w.serve(0, j, 1000)
				} else if n.serving.running {
					n.serving.end(w.now, nil)
				}
			}
		}
		for i, n := range w.nodes {
			for _, p := range n.peers {
				if !p.alive(w.now) {
					t.Fatalf("seed %d: %s has not met %s", seed, n.name, p.name)
				}
			}
			if len(n.peers) != 2 || n.counts.Lasting != 1000 {
				t.Fatalf("seed %d: %s knows %d others and has %d connections; %+v", seed, n.name, len(n.peers), n.counts.Lasting, n.resync)
			}
			if n.drops != [NumDrops]uint64{} {
				t.Fatalf("seed %d: director %d dropped %v", seed, i, n.drops)
			}
		}
	}
}
