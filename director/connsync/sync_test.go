package connsync

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// wait waits for what holds.
func wait(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not within 10 s: ", what)
		}
	}
}

// TestSyncWithoutLink: an interface that does not exist is said, does not end
// anything, and is nobody's readiness; a Sync ends when it is told to, and
// leaves nothing behind.
func TestSyncWithoutLink(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	judged := make(chan struct{})
	s := New(Options{Judged: func() bool {
		select {
		case <-judged:
			return true
		default:
			return false
		}
	}})
	if ok, reason := s.Ready(time.Hour); ok || reason != WaitServers {
		t.Errorf("at first: %t, %v", ok, reason)
	}
	if _, err := s.Probe(t.Context()); !errors.Is(err, ErrDisabled) {
		t.Errorf("probe: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	c := testConfig("a")
	c.Interface = "none0"
	s.Set(&c)
	wait(t, "an error of the socket", func() bool { return strings.Contains(s.Status().SocketErr, "none0") })
	wait(t, "an error of the daemons", func() bool { return s.Status().DaemonErr != "" })
	if _, err := s.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "master daemon does not run") {
		t.Errorf("probe: %v", err)
	}
	if n, err := s.Push(t.Context(), nil); n != 0 || err != nil {
		t.Errorf("pushed %d, %v", n, err)
	}
	close(judged)
	wait(t, "to wait for peers", func() bool {
		ok, reason := s.Ready(time.Hour)
		return !ok && reason == WaitPeers
	})
	if ok, reason := s.Ready(time.Nanosecond); !ok || reason != ReadyLimit {
		t.Errorf("past the limit: %t, %v", ok, reason)
	}
	if ok, _ := s.Ready(time.Hour); ok {
		t.Error("one limit that has passed makes all ready")
	}
	s.Set(nil)
	wait(t, "the end of the session", func() bool { return !s.Status().Enabled && s.Status().SocketErr == "" })
	if ok, reason := s.Ready(time.Hour); !ok || reason != ReadyUnsynced {
		t.Errorf("without synchronisation: %t, %v", ok, reason)
	}
	s.Set(&c) // what was ready once stays so
	if ok, reason := s.Ready(time.Hour); !ok || reason != ReadyUnsynced {
		t.Errorf("ready once: %t, %v", ok, reason)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestBulk: messages are sent whole and in order, in bursts, and what goes wrong
// ends it.
func TestBulk(t *testing.T) {
	var sent []string
	bursts := 0
	o := &bulk{ctx: t.Context(), after: func(uint32) { bursts++ }, write: func(b []byte) (int, error) {
		sent = append(sent, string(b))
		return len(b), nil
	}}
	message := func(i int) []byte { return []byte{0, byte(i), 0, 0, 2, 1, 0, 0} }
	for i := range 20 {
		if err := o.add(message(i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(sent) != 0 {
		t.Errorf("%d sent before they are gathered", len(sent))
	}
	if err := o.flush(); err != nil || o.sent != 40 || bursts != 3 || len(sent) != 20 {
		t.Errorf("%d sent in %d messages and %d bursts, %v", o.sent, len(sent), bursts, err)
	}
	for i, b := range sent {
		if b != string(message(i)) {
			t.Errorf("message %d is % x", i, b)
		}
	}
	o.write = func([]byte) (int, error) { return 0, net.ErrClosed }
	_ = o.add(message(1))
	if err := o.flush(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed socket: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	slow := &bulk{ctx: ctx, after: func(uint32) {}, write: func(b []byte) (int, error) { return len(b), nil }}
	for i := range 20 {
		_ = slow.add(message(i))
	}
	if err := slow.flush(); !errors.Is(err, context.Canceled) || slow.sent != 2*bulkBurst {
		t.Errorf("after the end: %d sent, %v", slow.sent, err)
	}
}
