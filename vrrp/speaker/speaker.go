package speaker

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/understudy-ha/understudy/director/link"
	"github.com/understudy-ha/understudy/vrrp"
	"github.com/understudy-ha/understudy/vrrp/reign"
)

// Router is what a Speaker is told of one virtual router. It is a value; the
// slices are never written after Set.
type Router struct {
	// Config is complete but for Primary, which the Speaker chooses.
	vrrp.Config
	// UnicastPeers are the other directors, unmapped and without zone. With
	// peers the router neither sends nor receives multicast.
	UnicastPeers []netip.Addr
	// Source, if valid, is the primary address, and has to be on the link. If
	// not, it is the first address of the family on the link, of IPv6 the first
	// link-local one, that no virtual router of the Speaker has among its
	// Addresses; for the owner of the addresses (vrrp.PriorityOwner), simply the
	// first.
	Source netip.Addr
	// PeerTTL is the lowest TTL of what a unicast peer sends; 0 stands for 255.
	PeerTTL uint8
	// Strict drops an advertisement whose addresses do not match (vrrp.Config.Matches).
	Strict bool
	// VirtualMAC, unless it is zero, is the Ethernet source of what is sent to the
	// multicast group (RFC 9568 section 7.3), once SetPlumbed has named the router. The
	// link need not have it.
	VirtualMAC [6]byte
	// Fault, unless it is vrrp.ReasonNone, keeps the router from taking part.
	Fault vrrp.Reason
	// Group, unless it is nil, is the group that it is in, as the member with the
	// number Place.
	Group *Group
	Place int
	// Standby keeps it from taking part, though it listens, until the process that
	// drives it now has told its state.
	Standby bool
	// Adopt is that state, as vrrp.Router.AppendState has written it, with times that
	// count from AdoptAt; it goes on from there. Empty: it starts.
	Adopt   string
	AdoptAt time.Time
	// Handovers is how often it was asked to hand over. It does when the number
	// grows.
	Handovers uint64
}

// Options are what a Speaker needs of its surroundings.
type Options struct {
	// Log receives one record per transition and per change of an error. It may
	// block without any effect on the election; what it misses is counted.
	Log *slog.Logger
	// Reigns, unless it is nil, keeps what the process after this one must know to
	// go on as master, and knows what the one before it has left.
	Reigns *reign.Log
	// Transition is called from Run with every change of state of a virtual router, in
	// order. It must not block. Nil means nobody listens.
	Transition func(Transition)
	// Bell is called after Status has changed in name, state, reason, epoch or
	// Settled, and after what follows from that has been sent. It must not
	// block. Nil means nobody listens.
	Bell func()
	// IPv6 makes it speak IPv6 instead of IPv4. A link with virtual routers of both
	// families has two Speakers, which know nothing of each other: their VRIDs are
	// of two spaces.
	IPv6 bool
}

// Transition is a change of state of one virtual router.
type Transition struct {
	Router   string
	VRID     uint8
	Link     string
	From, To vrrp.State
	Reason   vrrp.Reason
	Priority uint8
	At       time.Time
}

// Speaker drives the virtual routers of one link and one address family.
type Speaker struct {
	link string
	family
	log    *slog.Logger
	bell   func()
	told   func(Transition)
	reigns *reign.Log
	open   func(index int) (conn, error)
	wake   chan struct{} // capacity one; used while there is no socket

	published atomic.Pointer[[]*instance] // in the order of Set

	mu    sync.Mutex
	want  desired
	over  bool // Run has returned: nothing departs any more
	stale bool // want was written since the loop last read it
	conn  conn // the loop's, to be woken by; nil while it has none
}

// desired is what the loop is told. The slices in it are never written.
type desired struct {
	routers []Router
	link    link.State
	told    bool // link comes from SetLink

	freeze   chan<- []Frozen // where to leave the states of all routers; nil: go on
	departed []chan struct{} // to be closed when every router that is not there any more has left
}

// New returns a Speaker for the interface called name, which need not exist.
// Until the first SetLink every virtual router stays in vrrp.StateInit.
func New(name string, opts Options) *Speaker {
	s := &Speaker{
		link:   name,
		family: inet,
		log:    opts.Log.With("interface", name),
		bell:   opts.Bell,
		told:   opts.Transition,
		reigns: opts.Reigns,
		open:   open4,
		wake:   make(chan struct{}, 1),
	}
	if opts.IPv6 {
		s.family, s.open, s.log = inet6, open6, s.log.With("family", "ipv6")
	}
	if s.told == nil {
		s.told = func(Transition) {}
	}
	if s.bell == nil {
		s.bell = func() {}
	}
	s.published.Store(new([]*instance))
	return s
}

// Set replaces the virtual routers, which differ in VRID. One that is no longer
// there says farewell if it is master; one that is unchanged is not touched; one
// that changed goes on in its state, unless VRID or version changed: that is
// another virtual router. Of two with the same VRID the first counts. Set
// returns at once and may be called from any goroutine. What it returns is closed
// when those that are no longer there have been succeeded, or when Run returns.
func (s *Speaker) Set(routers []Router) (departed <-chan struct{}) {
	unique := make([]Router, 0, len(routers))
	var seen vrids
	for _, r := range routers {
		if r.VRID == 0 || seen.has(r.VRID) {
			s.log.Error("virtual router ignored, its VRID is 0 or taken", "vrrp", r.Name, "vrid", r.VRID)
			continue
		}
		seen.add(r.VRID)
		unique = append(unique, r)
	}
	done := make(chan struct{})
	s.change(func(w *desired) {
		w.routers = unique
		if s.over {
			close(done)
			return
		}
		w.departed = append(w.departed, done)
	})
	return done
}

// SetPlumbed tells which virtual routers have their addresses in place, by name. Until
// then one with a virtual MAC sends from that of the link. It may be called from any
// goroutine and holds up nothing.
func (s *Speaker) SetPlumbed(names map[string]bool) {
	for _, in := range *s.published.Load() {
		in.plumbed.Store(names[in.public.Load().Config.Name])
	}
}

// SetLink tells the state of the interface. It returns at once and may be called
// from any goroutine.
func (s *Speaker) SetLink(state link.State) {
	s.change(func(w *desired) { w.link, w.told = state, true })
}

// change writes what the loop is told, and wakes it.
func (s *Speaker) change(f func(*desired)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.want)
	s.rouse()
}

// rouse makes the loop look at want. s.mu is held.
func (s *Speaker) rouse() {
	s.stale = true
	if s.conn != nil {
		// An error means that the socket is broken, which the loop finds out.
		_ = s.conn.setReadDeadline(time.Unix(1, 0))
		return
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// wakeUp makes the loop look at everything again. It may be called from any
// goroutine.
func (s *Speaker) wakeUp() { s.change(func(*desired) {}) }

// take returns what the loop is told, and whether it may be news.
func (s *Speaker) take() (want desired, news bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	news, s.stale = s.stale, false
	want = s.want
	s.want.departed = nil
	return want, news
}

// attach makes c, or nothing, the socket that wakes the loop.
func (s *Speaker) attach(c conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = c
}

// arm sets the read deadline, unless the loop has been woken since take.
func (s *Speaker) arm(c conn, deadline time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.stale && c.setReadDeadline(deadline) == nil
}

// idle blocks until the loop is woken, or until retry unless that is zero.
func (s *Speaker) idle(retry time.Time) {
	s.mu.Lock()
	stale := s.stale
	s.mu.Unlock()
	if stale {
		return
	}
	var due <-chan time.Time
	if !retry.IsZero() {
		due = time.After(time.Until(retry))
	}
	select {
	case <-s.wake:
	case <-due:
	}
}

// Status returns the state of every virtual router, in the order of Set. It may
// be called from any goroutine and holds up nothing.
func (s *Speaker) Status() []Status {
	instances := *s.published.Load()
	all := make([]Status, len(instances))
	for i, in := range instances {
		all[i] = in.snapshot()
		all[i].Link = s.link
	}
	return all
}

// Trace returns the last steps of the virtual router called name in the text
// form of vrrp.Trace, or "" if there is no such router.
func (s *Speaker) Trace(name string) string {
	instances := *s.published.Load()
	i := slices.IndexFunc(instances, func(in *instance) bool { return in.public.Load().Config.Name == name })
	if i < 0 {
		return ""
	}
	text, err := instances[i].trace().AppendText(nil)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Run takes part in the elections until ctx is done. Then every master says
// farewell, and Run returns nil when each has heard its successor or waited long
// enough for one (vrrp.Leave). Faults of the link and of the socket are states, not
// errors.
func (s *Speaker) Run(ctx context.Context) error {
	log := newJournal(s.log)
	var writer sync.WaitGroup
	writer.Go(log.write)
	defer writer.Wait()
	defer log.close()

	// Waiting for the callback makes sure that it finds the Speaker as it is.
	roused := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(roused)
		s.change(func(*desired) {})
	})
	defer func() {
		if !stop() {
			<-roused
		}
	}()

	l := &loop{s: s, log: log, packets: make([]packet, batch)}
	defer l.end()
	now := time.Now()
	for {
		want, news := s.take()
		l.departed = append(l.departed, want.departed...)
		switch {
		case want.freeze != nil:
			want.freeze <- l.frozen()
			return nil
		case ctx.Err() != nil:
			// The end of ctx is news, so that it is looked at once more.
			if l.leave(now) {
				return nil
			}
		case news || l.conn == nil:
			l.settle(now, want)
			l.part(now)
			l.finish(now)
		}
		now = l.sleep()
		l.tick(now)
		l.part(now)
		l.finish(now)
	}
}
