package speaker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/director/link"
	"github.com/understudy-ha/understudy/vrrp"
)

// lan joins fake sockets. Use it inside a synctest bubble.
type lan struct {
	mu    sync.Mutex
	hosts []*host
	log   []sent
}

// sent is a packet that a socket was asked to send, decoded.
type sent struct {
	at       time.Time
	from     string
	src, dst netip.Addr
	advert   vrrp.Advertisement
}

// host is a Speaker on a lan, with what surrounds it.
type host struct {
	*Speaker
	name string
	lan  *lan
	logs *syncBuffer

	// Guarded by lan.mu.
	addrs    []netip.Addr
	sockets  []*fakeConn
	openErr  error
	sendErr  error
	recvErr  error     // once
	admitErr error     // once
	frozen   time.Time // the process does not run before
	cut      bool
	sends    int // calls
	bells    []bell

	cancel context.CancelFunc
	ended  chan error
}

// bell is what was known when the bell rang.
type bell struct {
	at     time.Time
	status []Status
	sent   int // packets on the lan before
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) count(text string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.b.String(), text)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func up1(addrs ...string) link.State {
	s := link.State{Index: 1, Up: true}
	for _, a := range addrs {
		s.Addresses = append(s.Addresses, netip.PrefixFrom(addr(a), 24))
	}
	return s
}

// join adds a host that has not been started.
func (l *lan) join(name string, addrs ...string) *host {
	h := &host{name: name, lan: l, logs: new(syncBuffer), ended: make(chan error, 1)}
	h.Speaker = New("eth0", Options{
		Log: slog.New(slog.NewTextHandler(h.logs, nil)),
		Bell: func() {
			status := h.Status()
			l.mu.Lock()
			defer l.mu.Unlock()
			h.bells = append(h.bells, bell{at: time.Now(), status: status, sent: len(l.log)})
		},
	})
	h.open = func(int) (conn, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if h.openErr != nil {
			return nil, h.openErr
		}
		c := &fakeConn{h: h, notify: make(chan struct{}, 1)}
		h.sockets = append(h.sockets, c)
		return c, nil
	}
	for _, a := range addrs {
		h.addrs = append(h.addrs, addr(a))
	}
	l.hosts = append(l.hosts, h)
	h.SetLink(up1(addrs...))
	return h
}

// start runs the host until stop or the end of the test.
func (h *host) start(t *testing.T) *host {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel = cancel
	go func() { h.ended <- h.Run(ctx) }()
	t.Cleanup(func() { h.stop(t) })
	synctest.Wait()
	return h
}

// stop ends Run and waits for it.
func (h *host) stop(t *testing.T) {
	t.Helper()
	if h.cancel == nil {
		return
	}
	h.cancel()
	h.cancel = nil
	if err := <-h.ended; err != nil {
		t.Errorf("Run of %s: %v", h.name, err)
	}
}

// with changes the surroundings of the host.
func (h *host) with(f func()) {
	h.lan.mu.Lock()
	defer h.lan.mu.Unlock()
	f()
}

// one returns the status of the only virtual router.
func (h *host) one(t *testing.T) Status {
	t.Helper()
	all := h.Status()
	if len(all) != 1 {
		t.Fatalf("%s has %d virtual routers, want 1", h.name, len(all))
	}
	return all[0]
}

// expect waits for everything to come to rest and compares the state.
func (h *host) expect(t *testing.T, state vrrp.State, reason vrrp.Reason) Status {
	t.Helper()
	synctest.Wait()
	s := h.one(t)
	if s.State != state || s.Reason != reason {
		t.Errorf("%s is %v (%v), want %v (%v)", h.name, s.State, s.Reason, state, reason)
	}
	return s
}

// packets returns what was sent by the host called from since the index.
func (l *lan) packets(from string, since int) []sent {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []sent
	for _, p := range l.log[since:] {
		if p.from == from {
			out = append(out, p)
		}
	}
	return out
}

func (l *lan) mark() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.log)
}

// fakeConn behaves as a socket of Go does: a read deadline that has passed hides
// what is queued.
type fakeConn struct {
	h      *host
	notify chan struct{}

	// Guarded by lan.mu.
	admission
	queue    []packet
	deadline time.Time
	closed   bool
}

func (c *fakeConn) group() netip.Addr { return group4 }

func (c *fakeConn) admit(a admission) error {
	c.h.lan.mu.Lock()
	defer c.h.lan.mu.Unlock()
	if err := c.h.admitErr; err != nil {
		c.h.admitErr = nil
		return err
	}
	c.admission = a
	return nil
}

func (c *fakeConn) nudge() {
	select {
	case c.notify <- struct{}{}:
	default:
	}
}

func (c *fakeConn) receive(ps []packet, wait bool) (int, error) {
	for {
		n, until, err := c.poll(ps, wait)
		if n > 0 || err != nil || !wait && until.IsZero() {
			return n, err
		}
		var due <-chan time.Time
		if !until.IsZero() {
			due = time.After(time.Until(until))
		}
		select {
		case <-c.notify:
		case <-due:
		}
	}
}

// poll looks once, and says until when there is nothing to look for.
func (c *fakeConn) poll(ps []packet, wait bool) (n int, until time.Time, err error) {
	c.h.lan.mu.Lock()
	defer c.h.lan.mu.Unlock()
	now := time.Now()
	if now.Before(c.h.frozen) {
		return 0, c.h.frozen, nil
	}
	if c.closed {
		return 0, until, net.ErrClosed
	}
	if err := c.h.recvErr; err != nil {
		c.h.recvErr = nil
		return 0, until, err
	}
	if !wait {
		c.deadline = time.Time{}
	} else if !c.deadline.IsZero() && !now.Before(c.deadline) {
		return 0, until, os.ErrDeadlineExceeded
	}
	n = copy(ps, c.queue)
	c.queue = slices.Delete(c.queue, 0, n)
	return n, c.deadline, nil
}

func (c *fakeConn) send(ps []packet) (int, error) {
	c.h.lan.mu.Lock()
	defer c.h.lan.mu.Unlock()
	c.h.sends++
	if c.h.sendErr != nil {
		return 0, c.h.sendErr
	}
	for i, p := range ps {
		if !slices.Contains(c.h.addrs, p.src) {
			return i, errors.New("source is not on the host")
		}
		c.h.lan.deliver(c.h, p)
	}
	return len(ps), nil
}

// deliver hands a packet to everybody else. lan.mu is held.
func (l *lan) deliver(from *host, p packet) {
	advert, drop := vrrp.Parse(p.message, p.src, p.dst)
	if drop != vrrp.DropNone {
		panic("a Speaker sent what does not parse: " + drop.String())
	}
	l.log = append(l.log, sent{at: time.Now(), from: from.name, src: p.src, dst: p.dst, advert: advert})
	p.ttl, p.message = wantTTL, bytes.Clone(p.message)
	if from.cut {
		return
	}
	for _, h := range l.hosts {
		if h != from && !h.cut {
			h.inject(p)
		}
	}
}

// inject queues a packet at the socket if it would get there. lan.mu is held.
func (h *host) inject(p packet) {
	if len(h.sockets) == 0 {
		return
	}
	c := h.sockets[len(h.sockets)-1]
	mine := slices.Contains(h.addrs, p.dst) || p.dst == group4 && c.multicast
	if c.closed || !mine || len(p.message) > 1 && !c.ids.has(p.message[1]) && !c.ours(p.message) {
		return
	}
	c.queue = append(c.queue, p)
	c.nudge()
}

// ours reports whether the first address of an advertisement is one of c.first.
func (c *fakeConn) ours(message []byte) bool {
	return len(message) >= 12 && slices.Contains(c.first, netip.AddrFrom4([4]byte(message[8:12])))
}

func (c *fakeConn) setReadDeadline(t time.Time) error {
	c.h.lan.mu.Lock()
	defer c.h.lan.mu.Unlock()
	c.deadline = t
	c.nudge()
	return nil
}

func (c *fakeConn) Close() error {
	c.h.lan.mu.Lock()
	defer c.h.lan.mu.Unlock()
	c.closed = true
	c.nudge()
	return nil
}

// web is a virtual router for tests.
func web(priority uint8, interval time.Duration) Router {
	return Router{Config: vrrp.Config{
		Name: "web", VRID: 51, Version: vrrp.V3, Priority: priority, Interval: interval, Preempt: true,
		Addresses: []netip.Addr{addr("192.0.2.200")},
	}}
}

// advertisement is a message as it lies in a packet.
func advertisement(t testing.TB, r Router, priority uint8, src, dst netip.Addr) []byte {
	t.Helper()
	b, err := vrrp.New(r.Config).Advertisement(priority).Append(nil, src, dst)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// blocked is a log that takes nothing until it is released.
type blocked struct{ release chan struct{} }

func (b blocked) Write(p []byte) (int, error) {
	<-b.release
	return len(p), nil
}

var _ io.Writer = blocked{}
