package connsync

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// world is directors and a medium, in a time of its own.
type world struct {
	t      *testing.T
	now    time.Time
	nodes  []*node
	locals []local
	lose   func(from, to int) bool
	sent   []Beacon // all, in order
}

func newWorld(t *testing.T, names ...string) *world {
	w := &world{t: t, now: time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC), lose: func(int, int) bool { return false }}
	for i, name := range names {
		w.nodes = append(w.nodes, newNode(name, 7, uint64(100+i), w.now))
		w.locals = append(w.locals, local{flags: FlagSending | FlagReceiving, judged: true, loaded: true})
	}
	return w
}

// run lets d pass in steps of a tenth of a second.
func (w *world) run(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); w.now = w.now.Add(100 * time.Millisecond) {
		for i, n := range w.nodes {
			n.step(w.now, w.locals[i])
			n.counted(w.now, n.counts, nil)
			v, ok := n.say(w.now)
			if !ok {
				continue
			}
			w.sent = append(w.sent, v)
			// Over the wire and back.
			parsed, drop := ParseBeacon(v.Append(nil, "s"), "s")
			if drop != DropNone {
				w.t.Fatalf("%s says what is dropped: %v", n.name, drop)
			}
			for j, m := range w.nodes {
				if j != i && !w.lose(i, j) {
					m.hear(w.now, netip.AddrFrom4([4]byte{10, 0, 0, byte(1 + i)}), parsed)
				}
			}
		}
	}
}

func (w *world) peer(i int, name string) *peer {
	w.t.Helper()
	p := w.nodes[i].peers[name]
	if p == nil {
		w.t.Fatalf("%s does not know %s", w.nodes[i].name, name)
	}
	return p
}

// restart replaces a director by another process of its name.
func (w *world) restart(i int, incarnation uint64) {
	w.nodes[i] = newNode(w.nodes[i].name, 7, incarnation, w.now)
}

func TestDirectorsMeet(t *testing.T) {
	w := newWorld(t, "a", "b", "c")
	w.run(500 * time.Millisecond)
	for i, n := range w.nodes {
		if len(n.peers) != 2 {
			t.Fatalf("%s knows %d others", n.name, len(n.peers))
		}
		for _, p := range n.peers {
			if !p.alive(w.now) || p.address != netip.AddrFrom4([4]byte{10, 0, 0, 1 + p.name[0] - 'a'}) {
				t.Errorf("%d has not met %s: %+v", i, p.name, p)
			}
		}
	}
	before := len(w.sent)
	w.run(60 * time.Second)
	if n := len(w.sent) - before; n != 3*60 {
		t.Errorf("%d beacons of 3 directors in a minute", n)
	}
	for _, n := range w.nodes {
		if n.drops != [NumDrops]uint64{} {
			t.Errorf("%s dropped %v", n.name, n.drops)
		}
	}
	// One falls silent, and is forgotten in the end.
	w.lose = func(from, _ int) bool { return from == 2 }
	w.run(4 * time.Second)
	if w.peer(0, "c").alive(w.now) || !w.peer(0, "b").alive(w.now) {
		t.Error("c lives on, or b does not")
	}
	w.run(forgetAfter)
	if len(w.nodes[0].peers) != 1 {
		t.Errorf("a knows %d others", len(w.nodes[0].peers))
	}
}

// TestRestart: another process of a director is taken for one at once, and
// nobody can play the old one again.
func TestRestart(t *testing.T) {
	w := newWorld(t, "a", "b")
	w.run(5 * time.Second)
	recorded := slices.Clone(w.sent)
	w.restart(1, 777)
	w.run(300 * time.Millisecond)
	if p := w.peer(0, "b"); !p.alive(w.now) || p.beacon.Incarnation != 777 {
		t.Errorf("a still takes b for %d", p.beacon.Incarnation)
	}
	if p := w.peer(1, "a"); !p.alive(w.now) {
		t.Error("b has not met a")
	}
	drops := w.nodes[0].drops
	if drops != [NumDrops]uint64{} {
		t.Errorf("a dropped %v", drops)
	}
	for _, v := range recorded {
		if v.Name != "b" {
			continue
		}
		if drop := w.nodes[0].hear(w.now, netip.Addr{}, v); drop != DropReplay {
			t.Fatalf("a recording of b is %v", drop)
		}
	}
	// Nor does a director that has started itself believe one.
	w.restart(0, 888)
	a := w.nodes[0]
	for _, v := range recorded {
		if v.Name == "b" {
			a.hear(w.now, netip.Addr{}, v)
		}
	}
	if p := w.peer(0, "b"); p.confirmed {
		t.Error("a believes a recording")
	}
	w.run(300 * time.Millisecond)
	if p := w.peer(0, "b"); !p.alive(w.now) || p.beacon.Incarnation != 777 {
		t.Errorf("a has not met b after a recording of it: %+v", p.beacon)
	}
}

func TestOddBeacons(t *testing.T) {
	w := newWorld(t, "a", "b")
	w.run(3 * time.Second)
	a := w.nodes[0]
	from := netip.MustParseAddr("10.0.0.9")
	if drop := a.hear(w.now, from, Beacon{Name: "a", Incarnation: a.incarnation, Sequence: 99}); drop != DropOwn {
		t.Errorf("our own: %v", drop)
	}
	if drop := a.hear(w.now, from, Beacon{Name: "a", Incarnation: 5, Sequence: 99}); drop != DropName {
		t.Errorf("our name: %v", drop)
	}
	for i := range 2 * maxPeers {
		a.hear(w.now, from, Beacon{Name: fmt.Sprint("x", i), Incarnation: uint64(1000 + i), Sequence: 1})
	}
	if len(a.peers) > maxPeers || !w.peer(0, "b").alive(w.now) {
		t.Errorf("%d peers; b lives: %t", len(a.peers), w.peer(0, "b").alive(w.now))
	}
	// Where all live there is no room for one more.
	full := newWorld(t, "a", "b", "c", "d", "e", "f", "g", "h", "i", "j")
	full.run(5 * time.Second)
	if n := full.nodes[0]; len(n.peers) != maxPeers || n.drops[DropCrowd] == 0 {
		t.Errorf("%d peers, dropped %v", len(n.peers), n.drops)
	}
}

// TestOneWay: who is heard but does not hear us is not believed, and says so.
func TestOneWay(t *testing.T) {
	w := newWorld(t, "a", "b")
	w.lose = func(from, _ int) bool { return from == 0 }
	w.nodes[1].counts.Lasting = 100
	w.run(10 * time.Second)
	if p := w.peer(0, "b"); p.confirmed || w.nodes[0].oneWay < 9 {
		t.Errorf("confirmed %t, one way %d", p.confirmed, w.nodes[0].oneWay)
	}
	if len(w.nodes[1].peers) != 0 {
		t.Error("b has heard a")
	}
	if in := w.nodes[0].readiness(w.now); len(in.Peers) != 0 {
		t.Errorf("readiness counts %v", in.Peers)
	}
}

// TestProbe: the lag is from the making of a connection until the peer's kernel
// has it, by our clock, whatever the beacons take.
func TestProbe(t *testing.T) {
	w := newWorld(t, "a", "b")
	w.run(2 * time.Second)
	client := end("127.200.1.2:30000")
	made := w.now
	w.nodes[0].probing(w.now, client)
	w.run(2700 * time.Millisecond)
	if !w.nodes[1].looking(w.now) || w.nodes[0].probesArrived() != 0 {
		t.Fatal("b does not look, or has it already")
	}
	w.nodes[1].counted(w.now, Counts{}, map[netip.AddrPort]bool{client: true})
	lag := w.now.Sub(made)
	w.run(500 * time.Millisecond)
	if got := w.peer(0, "b").probed; got.Client != client || got.Lag < lag || got.Lag > lag+200*time.Millisecond {
		t.Errorf("lag %v, want %v", got, lag)
	}
	if w.nodes[1].looking(w.now) {
		t.Error("b still looks")
	}
	list, all := w.nodes[0].probeState(w.now, client, time.Second)
	if !all || len(list) != 1 || !list[0].Arrived {
		t.Errorf("%+v, all %t", list, all)
	}
	// Two that do not arrive are two missed.
	for i := range 3 {
		w.nodes[0].probing(w.now, netip.AddrPortFrom(client.Addr(), uint16(31000+i)))
		w.run(10 * time.Second)
	}
	if got := w.peer(0, "b").missed; got != 2 {
		t.Errorf("%d missed, want 2", got)
	}
	w.run(lookFor)
	if w.nodes[1].looking(w.now) {
		t.Error("b looks for ever")
	}
}

// TestAnswered: only a beacon that has heard one of our last thirty answers us.
func TestAnswered(t *testing.T) {
	n := newNode("a", 7, 100, time.Time{})
	n.sequence = 1000
	for _, tt := range []struct {
		name string
		in   []Heard
		want bool
	}{
		{"nobody", nil, false},
		{"another one", []Heard{{Incarnation: 99, Sequence: 1000}}, false},
		{"the last", []Heard{{Incarnation: 99, Sequence: 1}, {Incarnation: 100, Sequence: 1000}}, true},
		{"the thirtieth", []Heard{{Incarnation: 100, Sequence: 971}}, true},
		{"an older one", []Heard{{Incarnation: 100, Sequence: 970}}, false},
		{"one that is still to come", []Heard{{Incarnation: 100, Sequence: 1001}}, false},
		{"as large as they go", []Heard{{Incarnation: 100, Sequence: 1<<64 - 1}}, false},
	} {
		if got := n.answered(Beacon{Heard: tt.in}); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
}
