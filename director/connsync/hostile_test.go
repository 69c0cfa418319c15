package connsync

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testSession returns a session that nothing runs.
func testSession(o Options, now time.Time) *session {
	s := New(o)
	c := testConfig("a")
	w := &session{
		s: s, config: c, log: s.log, node: newNode("a", 7, 100, now),
		arrived: make(chan struct{}), recount: make(chan struct{}, 1), serve: make(chan struct{}, 1),
	}
	s.config, s.session = &c, w
	return w
}

// TestFlood: what a packet costs does not grow with the virtual routers: there
// may be many packets, and the election holds what tells the roles.
func TestFlood(t *testing.T) {
	asked := 0
	now := time.Now()
	w := testSession(Options{Master: func(string) bool { asked++; return false }}, now)
	w.transmit(now)
	asked = 0
	for i := range 1000 {
		v := Beacon{Name: fmt.Sprint("x", i), Incarnation: uint64(1000 + i), Sequence: 1}
		w.heard(now.Add(time.Duration(i)*100*time.Microsecond), netip.Addr{}, v.Append(nil, w.config.Secret), DropNone)
	}
	if asked > 2 {
		t.Errorf("roles asked for %d times in a tenth of a second", asked)
	}
	if n := len(w.node.peers); n > maxPeers {
		t.Errorf("%d peers", n)
	}
}

// TestDeaf: a director that hears us no more is not believed any longer, though
// it is heard.
func TestDeaf(t *testing.T) {
	w := newWorld(t, "a", "b")
	w.run(5 * time.Second)
	w.lose = func(from, _ int) bool { return from == 0 }
	w.run(5 * time.Second)
	if p := w.peer(0, "b"); !p.alive(w.now) {
		t.Error("five lost beacons are taken for more")
	}
	w.run(10 * time.Second)
	if p := w.peer(0, "b"); p.confirmed || p.alive(w.now) || w.nodes[0].oneWay == 0 {
		t.Errorf("confirmed %t, alive %t, one way %d", p.confirmed, p.alive(w.now), w.nodes[0].oneWay)
	}
	w.lose = func(int, int) bool { return false }
	w.run(2 * time.Second)
	if p := w.peer(0, "b"); !p.alive(w.now) {
		t.Error("b has not met us again")
	}
	if w.nodes[0].drops != [NumDrops]uint64{} {
		t.Errorf("a dropped %v", w.nodes[0].drops)
	}
}

// TestServeRest: however many ask, the table is read and sent for a part of the
// time only.
func TestServeRest(t *testing.T) {
	const takes = 10 * time.Second
	var s serving
	now := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	begin, busy := now, time.Duration(0)
	for i := uint32(1); now.Sub(begin) < 10*time.Minute; i++ {
		for j := range maxPeers {
			s.hear(now, 100, &peer{name: fmt.Sprint("x", i, j), beacon: Beacon{Incarnation: uint64(i), Ask: Ask{Of: 100, Number: i}}})
		}
		if s.begin(now) {
			now, busy = now.Add(takes), busy+takes
			s.end(now, nil)
		} else {
			now = now.Add(100 * time.Millisecond)
		}
	}
	if busy > 3*time.Minute || busy < time.Minute {
		t.Errorf("sent for %v of ten minutes", busy)
	}
}

// TestResyncOfLargeTable: a peer that reads a large table has nothing to tell for
// a while, and is waited for; one that never gets done is not waited for always.
func TestResyncOfLargeTable(t *testing.T) {
	start := func() *world {
		w := newWorld(t, "a", "b")
		w.nodes[0].counts.Lasting = 1000
		w.locals[0].flags |= FlagMaster
		w.run(500 * time.Millisecond)
		if !w.nodes[0].serving.begin(w.now) {
			t.Fatal("a does not serve")
		}
		return w
	}
	w := start()
	w.run(3 * resyncPatience)
	w.nodes[0].serving.advance(1000, 0)
	w.nodes[0].serving.end(w.now, nil)
	w.nodes[1].counts.Lasting = 1000
	w.run(2 * time.Second)
	if r := w.nodes[1].resync; r.state != ResyncDone || r.number != 1 {
		t.Errorf("%v, asked %d times", r.state, r.number)
	}
	w = start()
	for i := range uint32((bulkTime + 3*resyncPatience) / time.Second) {
		w.nodes[0].serving.advance(i, 0)
		w.run(time.Second)
	}
	if r := w.nodes[1].resync; r.number == 1 && r.state != ResyncFailed {
		t.Errorf("%v for ever", r.state)
	}
}

// TestAloneIsForNow: to have heard nobody makes nobody ready for good; a peer
// that appears later may have what is to be learnt.
func TestAloneIsForNow(t *testing.T) {
	now := time.Now()
	w := testSession(Options{}, now)
	w.node.local = local{judged: true, loaded: true}
	w.node.listening = now.Add(-time.Minute)
	if ok, reason := w.s.Ready(time.Hour); !ok || reason != ReadyAlone {
		t.Fatalf("alone: %t, %v", ok, reason)
	}
	w.node.peers["b"] = &peer{name: "b", confirmed: true, heard: time.Now(), beacon: Beacon{Counts: Counts{Lasting: 100}}}
	if ok, reason := w.s.Ready(time.Hour); ok || reason != WaitBehind {
		t.Errorf("with a peer that has more: %t, %v", ok, reason)
	}
}

// endless is a table without an end.
type endless struct{}

func (endless) Read(b []byte) (int, error) {
	return copy(b, "TCP C0A80001 8001 C0A80002 0050 C0A80003 0050 ESTABLISHED     899\n"), nil
}

// TestReadingEnds: to read the table takes the kernel long, and a stop does not
// wait for it.
func TestReadingEnds(t *testing.T) {
	ctx, stop := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	n := 0
	_, err := scan(reading(ctx, endless{}), false, func(*Entry) error {
		if n++; n == 10_000 {
			stop(gone)
		}
		return nil
	})
	if !errors.Is(err, gone) || n > 20_000 {
		t.Errorf("%d entries, %v", n, err)
	}
}

// TestPauses: the kernel is not busy with our reading for more than a fifth of
// the time, however large the table is.
func TestPauses(t *testing.T) {
	for _, took := range []time.Duration{0, time.Millisecond, 100 * time.Millisecond, time.Second, 10 * time.Second, 5 * time.Minute} {
		pause, search := pauses(took)
		if pause < countEvery || search < searchEvery || search > pause || search < 4*took || pause > max(time.Minute, 4*took) {
			t.Errorf("after %v: %v, %v", took, pause, search)
		}
	}
}

// TestCarrier: to listen on a cable that is not there yet is not to listen.
func TestCarrier(t *testing.T) {
	w := testSession(Options{}, time.Now())
	r := &radio{link: net.Interface{Flags: net.FlagUp}}
	w.tune(r, "")
	if !w.node.listening.IsZero() {
		t.Error("listens without a carrier")
	}
	w.listening(net.FlagUp | net.FlagRunning)
	first := w.node.listening
	if first.IsZero() {
		t.Error("does not listen with a carrier")
	}
	w.listening(net.FlagUp | net.FlagRunning)
	if w.node.listening != first {
		t.Error("listens anew although it has heard all the time")
	}
	w.listening(net.FlagUp)
	if !w.node.listening.IsZero() {
		t.Error("listens although the carrier is lost")
	}
	r.link.Flags |= net.FlagRunning
	w.tune(r, "")
	if w.node.listening.IsZero() {
		t.Error("does not listen when the link is back")
	}
	w.tune(nil, "interface eth0 is down")
	if !w.node.listening.IsZero() {
		t.Error("listens on an interface that is down")
	}
}

// TestLinkReturns: who was ready is not, when its link comes back, before the
// peers had time to be heard: they were master meanwhile. A link that goes and
// comes does not put off the limit.
func TestLinkReturns(t *testing.T) {
	now := time.Unix(1000, 0)
	l := latch{since: now}
	peer := ReadyInput{Judged: true, Loaded: true, Synced: true, Counted: true, Heard: time.Hour, Own: 100, Peers: []PeerInput{{Counted: true, Lasting: 100}}}
	at := func(heard time.Duration) ReadyInput {
		in := peer
		in.Heard, in.Peers = heard, nil
		return in
	}
	behind := peer
	behind.Peers = []PeerInput{{Counted: true, Lasting: 1000}}
	for _, tt := range []struct {
		name   string
		after  time.Duration
		in     ReadyInput
		ok     bool
		reason Reason
	}{
		{"synchronised", time.Second, peer, true, ReadySynced},
		{"the link is gone", 4 * time.Second, at(0), false, WaitPeers},
		{"for long", time.Minute, at(0), true, ReadyLimit},
		{"it is back", time.Hour, at(100 * time.Millisecond), false, WaitPeers},
		{"the peer is heard", time.Second, behind, false, WaitBehind},
		{"the link is gone again", 30 * time.Second, at(0), false, WaitPeers},
		{"and back", time.Second, at(100 * time.Millisecond), false, WaitPeers},
		{"with the peer", time.Second, behind, false, WaitBehind},
		{"at the limit", 29 * time.Second, behind, true, ReadyLimit},
	} {
		now = now.Add(tt.after)
		if ok, reason := l.ready(now, tt.in, time.Minute); ok != tt.ok || reason != tt.reason {
			t.Errorf("%s: %t, %v; want %t, %v", tt.name, ok, reason, tt.ok, tt.reason)
		}
	}
}

// TestNotSent: what keeps beacons from leaving is said, once.
func TestNotSent(t *testing.T) {
	var log bytes.Buffer
	w := testSession(Options{Log: slog.New(slog.NewTextHandler(&log, nil))}, time.Now())
	for range 10 {
		w.sent(&net.OpError{Op: "write", Net: "udp4", Err: os.NewSyscallError("sendto", unix.EPERM)})
		if got := w.s.Status().SocketErr; !strings.Contains(got, "operation not permitted") || !strings.Contains(got, "filter on this director") {
			t.Fatalf("status: %q", got)
		}
		w.sent(nil)
	}
	if got := w.s.Status().SocketErr; got != "" {
		t.Errorf("in the end: %q", got)
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d lines in the log:\n%s", n, &log)
	}
}

// TestProbeServiceGoes: the service of the synthetic connections goes with the
// synchronisation, not only with the daemon, and is not made again behind it.
func TestProbeServiceGoes(t *testing.T) {
	s := New(Options{})
	var removed atomic.Int32
	s.forget = func() { removed.Add(1) }
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	at := func(c *Config) (w *session) {
		s.Set(c)
		wait(t, "a session", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			w = s.session
			return w != nil && w.config == *c
		})
		return w
	}
	c := testConfig("a")
	c.Interface = "none0"
	other := c
	other.Secret = "other"
	at(&c)
	w := at(&other)
	if n := removed.Load(); n != 0 {
		t.Errorf("removed %d times at a change", n)
	}
	s.Set(nil)
	wait(t, "the removal", func() bool { return removed.Load() == 1 })
	if _, err := w.makeProbe(t.Context()); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("after the end: %v", err)
	}
	at(&c)
	stop()
	if err := <-ended; err != nil || removed.Load() != 2 {
		t.Errorf("at the stop: removed %d times, %v", removed.Load(), err)
	}
}
