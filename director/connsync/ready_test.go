package connsync

import (
	"testing"
	"time"
)

func TestReady(t *testing.T) {
	good := ReadyInput{Up: time.Minute, Heard: time.Minute, Judged: true, Loaded: true, Synced: true, Counted: true}
	with := func(f func(*ReadyInput)) ReadyInput {
		in := good
		f(&in)
		return in
	}
	peers := func(own uint32, state ResyncState, theirs ...uint32) ReadyInput {
		return with(func(in *ReadyInput) {
			in.Own, in.Resync = own, state
			for _, n := range theirs {
				in.Peers = append(in.Peers, PeerInput{Counted: true, Lasting: n})
			}
		})
	}
	for _, tt := range []struct {
		name   string
		in     ReadyInput
		ready  bool
		reason Reason
	}{
		{"servers unknown", with(func(in *ReadyInput) { in.Judged = false }), false, WaitServers},
		{"table not loaded", with(func(in *ReadyInput) { in.Loaded = false }), false, WaitTable},
		{"without synchronisation", with(func(in *ReadyInput) { in.Synced, in.Heard = false, 0 }), true, ReadyUnsynced},
		{"just started", with(func(in *ReadyInput) { in.Heard = 3 * time.Second }), false, WaitPeers},
		{"cannot listen yet", with(func(in *ReadyInput) { in.Heard = 0 }), false, WaitPeers},
		{"alone", good, true, ReadyAlone},
		{"a peer without connections", peers(0, ResyncNone, 0), true, ReadySynced},
		{"a peer with one", peers(0, ResyncNone, 1), false, WaitBehind},
		{"a peer that has not counted yet", with(func(in *ReadyInput) { in.Peers = []PeerInput{{}} }), false, WaitBehind},
		{"asked", peers(0, ResyncAsked, 1), false, WaitResync},
		{"running", peers(1000, ResyncRunning, 1), false, WaitResync},
		{"failed", peers(0, ResyncFailed, 1), false, WaitBehind},
		{"all of one", peers(1, ResyncDone, 1), true, ReadySynced},
		{"one too few of three after a resync", peers(2, ResyncDone, 3), true, ReadySynced},
		{"all but three of ten after a resync", peers(7, ResyncDone, 10), true, ReadySynced},
		{"all but four of ten after a resync", peers(6, ResyncDone, 10), false, WaitBehind},
		{"nine tenths without a resync", peers(900, ResyncNone, 1000), true, ReadySynced},
		{"less", peers(899, ResyncNone, 1000), false, WaitBehind},
		{"half of the connections after a resync", peers(500, ResyncDone, 1000), false, WaitBehind},
		{"more than the peer", peers(2000, ResyncNone, 1000), true, ReadySynced},
		{"the second peer has more", peers(1000, ResyncDone, 1000, 2000), false, WaitBehind},
		{"not counted yet", with(func(in *ReadyInput) {
			in.Own, in.Counted, in.Peers = 10, false, []PeerInput{{Counted: true, Lasting: 10}}
		}), false, WaitBehind},
		{"limit not reached", with(func(in *ReadyInput) { in.Judged, in.Limit = false, time.Minute+1 }), false, WaitServers},
		{"limit reached", with(func(in *ReadyInput) { in.Judged, in.Limit = false, time.Minute }), true, ReadyLimit},
		{"ready before the limit", with(func(in *ReadyInput) { in.Limit = time.Second }), true, ReadyAlone},
		{"counts as large as they go", peers(0, ResyncDone, 1<<32-1), false, WaitBehind},
	} {
		if ready, reason := Ready(tt.in); ready != tt.ready || reason != tt.reason {
			t.Errorf("%s: %t, %v; want %t, %v", tt.name, ready, reason, tt.ready, tt.reason)
		}
	}
}

// TestNames: every word has one, and they differ.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	check := func(s string) {
		if s == "" || seen[s] {
			t.Errorf("%q is no name, or there twice", s)
		}
		seen[s] = true
	}
	for r := range Reason(NumReasons) {
		check(r.String())
	}
	clear(seen)
	for d := range Drop(NumDrops) {
		check(d.String())
	}
	clear(seen)
	for o := range Omission(numOmissions) {
		check(o.String())
	}
}

// TestReadyIsLetGo: what was ready stays so while connections come and go, but
// not when the peer was out of hearing; then the limit counts from its return.
func TestReadyIsLetGo(t *testing.T) {
	now := time.Unix(1000, 0)
	l := latch{since: now}
	peer := func(own, theirs uint32) ReadyInput {
		return ReadyInput{Judged: true, Loaded: true, Synced: true, Counted: true, Heard: time.Hour, Own: own, Peers: []PeerInput{{Counted: true, Lasting: theirs}}}
	}
	alone := ReadyInput{Judged: true, Loaded: true, Synced: true, Counted: true, Heard: time.Hour, Own: 100}
	stuck := alone
	stuck.Loaded = false
	for _, tt := range []struct {
		name   string
		after  time.Duration
		in     ReadyInput
		ok     bool
		reason Reason
	}{
		{"behind", time.Second, peer(10, 100), false, WaitBehind},
		{"caught up", time.Second, peer(100, 100), true, ReadySynced},
		{"a burst at the peer", time.Second, peer(100, 500), true, ReadySynced},
		{"the peer is gone", time.Hour, alone, true, ReadyAlone},
		{"alone for long", time.Hour, alone, true, ReadyAlone},
		{"it is back with more", time.Second, peer(100, 500), false, WaitBehind},
		{"within the limit", 59 * time.Second, peer(100, 500), false, WaitBehind},
		{"at the limit", time.Second, peer(100, 500), true, ReadyLimit},
		{"caught up again", time.Second, peer(500, 500), true, ReadySynced},
		{"alone, and the table is not loaded", time.Second, stuck, false, WaitTable},
		{"the same at the limit", time.Minute, stuck, true, ReadyLimit},
	} {
		now = now.Add(tt.after)
		if ok, reason := l.ready(now, tt.in, time.Minute); ok != tt.ok || reason != tt.reason {
			t.Errorf("%s: %t, %v; want %t, %v", tt.name, ok, reason, tt.ok, tt.reason)
		}
	}
}

// TestReadyLimitEnds: the limit ends the waiting, however often a peer comes and
// goes meanwhile; who has waited as long and is left by a peer waits anew.
func TestReadyLimitEnds(t *testing.T) {
	start := time.Unix(1000, 0)
	behind := ReadyInput{Judged: true, Loaded: true, Synced: true, Counted: true, Heard: time.Hour, Own: 1, Peers: []PeerInput{{Counted: true, Lasting: 100}}}
	alone := behind
	alone.Peers = nil
	l := latch{since: start}
	now := start
	for ; now.Sub(start) < time.Minute; now = now.Add(10 * time.Second) {
		in := behind
		if now.Sub(start)%(30*time.Second) == 20*time.Second {
			in = alone
		}
		l.ready(now, in, time.Second) // another virtual router is less patient
		if ok, reason := l.ready(now, in, time.Minute); ok && reason != ReadyAlone {
			t.Fatalf("after %v: %v", now.Sub(start), reason)
		}
	}
	if ok, reason := l.ready(now, behind, time.Minute); !ok || reason != ReadyLimit {
		t.Errorf("at the limit: %t, %v", ok, reason)
	}
	l.ready(now.Add(time.Hour), alone, time.Minute)
	now = now.Add(2 * time.Hour)
	if ok, reason := l.ready(now, behind, time.Minute); ok || reason != WaitBehind {
		t.Errorf("the peer is back: %t, %v", ok, reason)
	}
	if ok, reason := l.ready(now.Add(time.Minute), behind, time.Minute); !ok || reason != ReadyLimit {
		t.Errorf("at the limit after that: %t, %v", ok, reason)
	}
	// To have been alone for longer than the limit is to have waited, too.
	l = latch{since: start}
	l.ready(start, behind, time.Minute)
	for _, after := range []time.Duration{30 * time.Second, time.Hour} {
		if ok, reason := l.ready(start.Add(after), alone, time.Minute); !ok || reason != ReadyAlone {
			t.Errorf("alone after %v: %t, %v", after, ok, reason)
		}
	}
	if ok, reason := l.ready(start.Add(2*time.Hour), behind, time.Minute); ok || reason != WaitBehind {
		t.Errorf("back after hours: %t, %v", ok, reason)
	}
}
