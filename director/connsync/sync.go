package connsync

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// Options are what a Sync needs of its surroundings. The functions report the
// present state without blocking, from any goroutine; nil ones report true for
// Judged and Loaded, and false for Master.
type Options struct {
	Log *slog.Logger // nil: discarded

	Master func(router string) bool // this director is master of it; of any, for ""
	Judged func() bool              // every server that is checked has been judged
	Loaded func() bool              // the IPVS table holds what it should
	// Services calls add with every service that is configured and all its servers,
	// those that are down included, for their forwarding methods; nil: with none.
	Services func(add func(*genl.Service, []genl.Destination))
}

// Sync synchronises the connections of this director with those of its peers.
type Sync struct {
	options Options
	log     *slog.Logger

	mu      sync.Mutex
	config  *Config // nil: there is nothing to do
	changed chan struct{}
	session *session // at work; nil: none
	keeper  keeperStatus
	latch   latch

	bell   chan struct{}
	forget func() // removes the service of the synthetic connections
}

// New returns a Sync that does nothing until Run, and then nothing until Set.
func New(o Options) *Sync {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Master == nil {
		o.Master = func(string) bool { return false }
	}
	if o.Judged == nil {
		o.Judged = func() bool { return true }
	}
	if o.Loaded == nil {
		o.Loaded = func() bool { return true }
	}
	if o.Services == nil {
		o.Services = func(func(*genl.Service, []genl.Destination)) {}
	}
	s := &Sync{options: o, log: o.Log, latch: latch{since: time.Now()}, changed: make(chan struct{}), bell: make(chan struct{}, 1)}
	s.forget = s.removeProbe
	return s
}

// Set replaces the configuration; nil ends the synchronisation. It may be called
// from any goroutine, before Run too.
func (s *Sync) Set(c *Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c != nil && s.config != nil && *c == *s.config || c == nil && s.config == nil {
		return
	}
	if c != nil {
		own := *c
		c = &own
	}
	s.config = c
	close(s.changed)
	s.changed = make(chan struct{})
}

// Ring tells that a role may have changed. It does not block.
func (s *Sync) Ring() {
	select {
	case s.bell <- struct{}{}:
	default:
	}
}

// Ready reports whether this director may take over from one that serves well,
// and why. After limit it is whatever it lacks; 0 is no limit. What was ready
// once stays so until no peer is heard any more.
func (s *Sync) Ready(limit time.Duration) (bool, Reason) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	var in ReadyInput
	if s.session != nil && s.config != nil { // it ends a little after its configuration
		in = s.session.node.readiness(now)
	} else {
		in = ReadyInput{Judged: s.options.Judged(), Loaded: s.options.Loaded(), Synced: s.config != nil}
	}
	return s.latch.ready(now, in, limit)
}

// Run synchronises until ctx ends. Then, or when a configuration has none of it
// any more, the kernel's daemons that are ours and our service go.
func (s *Sync) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { s.keep(ctx) })
	defer wg.Wait()
	for ctx.Err() == nil {
		s.mu.Lock()
		config, changed := s.config, s.changed
		s.mu.Unlock()
		if config == nil {
			select {
			case <-ctx.Done():
			case <-changed:
			}
			continue
		}
		working, stop := context.WithCancel(ctx)
		wg.Go(func() {
			select {
			case <-changed:
				stop()
			case <-working.Done():
			}
		})
		s.work(working, *config)
		stop()
		s.mu.Lock()
		over := s.config == nil
		s.mu.Unlock()
		if over || ctx.Err() != nil {
			s.forget()
		}
	}
	return nil
}

// session is the work with one configuration.
type session struct {
	s      *Sync
	config Config
	log    *slog.Logger

	// Guarded by s.mu.
	node      *node
	radio     *radio // nil: there is none, for
	radioErr  string
	sendErr   string // why the last beacon was not sent
	sendSaid  string // the last of them that was logged
	countErr  string
	probeErr  string
	serveErr  string
	arrived   chan struct{} // closed and replaced when a synthetic connection has arrived somewhere
	odd       int           // lines of the table that are not understood
	countTook time.Duration

	recount chan struct{}
	serve   chan struct{}
	probing sync.Mutex // one synthetic connection at a time
	closed  bool       // and none any more; guarded by probing
}

// work runs a session until ctx ends.
func (s *Sync) work(ctx context.Context, c Config) {
	w := &session{
		s: s, config: c, log: s.log.With("interface", c.Interface),
		node:    newNode(c.Name, c.ID, incarnation(), time.Now()),
		arrived: make(chan struct{}),
		recount: make(chan struct{}, 1),
		serve:   make(chan struct{}, 1),
	}
	s.mu.Lock()
	s.session = w
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, f := range []func(context.Context){w.listen, w.beat, w.count, w.probe, w.serveRequests} {
		wg.Go(func() { f(ctx) })
	}
	wg.Wait()
	w.probing.Lock()
	w.closed = true // for who asked for one from elsewhere
	w.probing.Unlock()
	s.mu.Lock()
	s.session = nil
	s.mu.Unlock()
}

// incarnation draws a number that no other process has.
func incarnation() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // does not fail
	return binary.BigEndian.Uint64(b[:]) | 1
}

// The pause before something is tried again doubles from the first to the last.
const (
	firstPause = 500 * time.Millisecond
	lastPause  = 5 * time.Second
)

// sleep waits for d, and reports whether ctx goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// listen has a socket, as long as there is the interface, and hears what comes.
//
// It does not wait longer and longer for it: who starts an election on it again
// has to have heard of the peers before that is over.
func (w *session) listen(ctx context.Context) {
	for ctx.Err() == nil {
		r, err := openRadio(w.config)
		if err == nil {
			w.tune(r, "")
			err = w.receive(ctx, r)
			w.tune(nil, "")
			r.close()
		}
		if ctx.Err() != nil {
			return
		}
		w.tune(nil, err.Error())
		if !sleep(ctx, firstPause) {
			return
		}
	}
}

// tune makes r the socket that beacons are sent by, and logs a change of the error.
func (w *session) tune(r *radio, problem string) {
	w.s.mu.Lock()
	before := w.radioErr
	w.radio, w.radioErr = r, problem
	w.s.mu.Unlock()
	flags := net.Flags(0)
	if r != nil {
		flags = r.link.Flags
	}
	w.listening(flags)
	switch {
	case problem != "" && problem != before:
		w.log.Error("directors cannot hear each other, trying again", "err", problem)
	case r != nil && before != "":
		w.log.Info("directors can hear each other again")
	}
}

// listening notes since when others can be heard: a link that is up has no
// carrier while it is being negotiated. When it comes back after it was away,
// the virtual routers on it start anew, and not to have heard anybody means
// nothing at first.
func (w *session) listening(f net.Flags) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	switch {
	case f&net.FlagRunning == 0:
		w.node.listening = time.Time{}
	case w.node.listening.IsZero():
		w.node.listening = time.Now()
	}
}

var errReplaced = errors.New("the interface was replaced by another one of its name")

// receive hears beacons until the interface is gone.
func (w *session) receive(ctx context.Context, r *radio) error {
	stop := context.AfterFunc(ctx, r.close)
	defer stop()
	b := make([]byte, maxBeacon+1)
	checked := time.Now()
	for {
		n, from, drop, err := r.receive(b, time.Now().Add(time.Second))
		now := time.Now()
		if err == nil {
			w.heard(now, from, b[:n], drop)
		} else if !isTimeout(err) {
			return err
		}
		if now.Sub(checked) >= time.Second {
			checked = now
			flags, err := sameLink(w.config.Interface, r.link.Index)
			if err != nil {
				return err
			}
			w.listening(flags)
		}
	}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// heard takes one packet.
func (w *session) heard(now time.Time, from netip.Addr, b []byte, drop Drop) {
	var v Beacon
	if drop == DropNone {
		v, drop = ParseBeacon(b, w.config.Secret)
	}
	w.s.mu.Lock()
	n := w.node
	known, probed := n.met(), n.probesArrived()
	if drop == DropNone {
		drop = n.hear(now, from, v)
	} else {
		n.drop(now, drop)
	}
	first := drop != DropNone && n.drops[drop] == 1
	if n.probesArrived() != probed {
		close(w.arrived)
		w.arrived = make(chan struct{})
	}
	looking, granted, due := n.looking(now), n.serving.granted, n.due(now)
	news := n.met() > known
	w.s.mu.Unlock()
	if first && drop != DropOwn {
		w.log.Warn("beacon dropped, the first for this reason", "drop", drop.String(), "source", from.String())
	}
	if news {
		w.log.Info("another director is there", "router_id", v.Name, "address", from.String())
	}
	if looking {
		wake(w.recount)
	}
	if granted {
		wake(w.serve)
	}
	if due { // not for every packet: what transmit asks for is not free
		w.transmit(now)
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
