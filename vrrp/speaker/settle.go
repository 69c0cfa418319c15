package speaker

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/understudy-ha/understudy/director/link"
	"github.com/understudy-ha/understudy/vrrp"
	"github.com/understudy-ha/understudy/vrrp/reign"
)

const (
	// The pause before a socket is opened again doubles from the first to the
	// last; one that lived for longer than steady starts from the beginning.
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
	steady     = time.Second
)

// socket is the part of the loop that is about having one.
type socket struct {
	conn     conn       // nil while there is none
	link     link.State // conn is bound to link.Index
	admitted admission  // to conn
	opened   time.Time
	retry    time.Time // when to open it after a failure; zero: there was none
	pause    time.Duration
	failure  string // the last error; "" while conn works
}

// settle works out the difference between what there is and what is wanted.
func (l *loop) settle(now time.Time, want desired) {
	l.reconcile(now, want.routers)
	l.told = want.told
	if !want.told {
		return
	}
	l.connect(now, want.link)

	virtual := make(map[netip.Addr]bool)
	for _, in := range l.order {
		for _, a := range in.want.Addresses {
			virtual[a] = true
		}
	}
	for _, in := range l.order {
		addr := primary(in.want, l.s.family, want.link.Addresses, virtual)
		reason := vrrp.ReasonNone
		switch {
		case !up(want.link):
			reason = vrrp.ReasonLinkDown
		case l.conn == nil:
			reason = vrrp.ReasonSocket
		case !addr.IsValid():
			reason = vrrp.ReasonNoAddress
		default:
			reason = in.want.Fault
		}
		in.own = reason
		l.report(in)
		l.align(now, in, addr)
	}
}

// report tells the group of in, if it has one, how it is.
func (l *loop) report(in *instance) {
	if in.want.Group == nil {
		return
	}
	s := in.router.Status()
	in.want.Group.report(in.want.Place, vrrp.Member{
		Known: l.told && !in.want.Standby, Ready: l.told && !in.want.Standby && in.own == vrrp.ReasonNone,
		State: s.State, Wants: s.Wants, Leaving: s.Leaving, Farewell: s.Farewell,
		Patience: in.config.Patience(),
	}, l.s.wakeUp)
}

// reconcile makes the instances those of routers.
func (l *loop) reconcile(now time.Time, routers []Router) {
	order := make([]*instance, 0, len(routers))
	for _, r := range routers {
		if in := l.byVRID[r.VRID]; in != nil && same(in.want, r) { // perhaps about to leave
			order = append(order, in)
		} else {
			in := newInstance(r)
			in.reign = l.s.reigns.Slot(l.reignKey(in))
			order = append(order, in)
		}
	}
	for _, in := range l.order {
		if slices.Contains(order, in) {
			continue
		}
		if slices.ContainsFunc(order, func(o *instance) bool { return o.want.VRID == in.want.VRID }) {
			// Its successor may be the other one; who hears whom could not be told.
			l.step(now, in, vrrp.Stop{Reason: vrrp.ReasonRemoved})
		} else {
			l.halt(now, in, vrrp.ReasonRemoved)
		}
		in.want.Group = nil // its place is another one's now, perhaps
		l.leaving = append(l.leaving, in)
	}
	for _, in := range order {
		if i := slices.Index(l.leaving, in); i >= 0 {
			l.leaving = slices.Delete(l.leaving, i, i+1)
		}
	}
	l.flush(now) // while the socket is sure to be there
	for i, in := range order {
		if in.unicast() != (len(routers[i].UnicastPeers) > 0) {
			l.change(in)
		}
		if in.fresh {
			in.handed, in.fresh = routers[i].Handovers, false
		}
		in.want = routers[i]
		l.byVRID[in.want.VRID] = in
	}
	if !slices.Equal(l.order, order) {
		l.ring = true
		l.order = order
		l.s.published.Store(&order)
	}
}

// connect opens and closes the socket as the link and the routers demand.
func (l *loop) connect(now time.Time, state link.State) {
	if state.Index != l.link.Index || state.Up != l.link.Up {
		l.retry, l.pause = time.Time{}, 0
	}
	needed := up(state) && len(l.order)+len(l.leaving) > 0
	if l.conn != nil && (!needed || state.Index != l.link.Index) {
		// An interface that was replaced under its name was gone in between.
		for _, in := range slices.Concat(l.order, l.leaving) {
			l.halt(now, in, vrrp.ReasonLinkDown)
		}
		l.disconnect()
	}
	l.link = state
	if !needed {
		l.retry = time.Time{}
		return
	}
	if l.conn == nil {
		if now.Before(l.retry) {
			return
		}
		c, err := l.s.open(state.Index)
		if err != nil {
			l.failed(now, err)
			return
		}
		l.conn, l.opened, l.admitted = c, now, admission{}
		l.s.attach(c)
	}
	l.admit(now)
}

// admit tells the socket which virtual routers there are.
func (l *loop) admit(now time.Time) {
	var a admission
	for _, in := range slices.Concat(l.order, l.leaving) {
		a.ids.add(in.want.VRID)
		a.multicast = a.multicast || !in.unicast()
		if len(in.want.Addresses) > 0 && !slices.Contains(a.first, in.want.Addresses[0]) {
			a.first = append(a.first, in.want.Addresses[0])
		}
	}
	if !a.equal(l.admitted) {
		if err := l.conn.admit(a); err != nil {
			l.broken(now, err)
			return
		}
		l.admitted = a
	}
	if l.failure != "" {
		l.failure = ""
		l.log.add(now, slog.LevelInfo, "socket works again")
	}
}

// broken gives up the socket. One that worked for a while is replaced at once,
// without a fault; otherwise there is a pause.
func (l *loop) broken(now time.Time, err error) {
	young := now.Sub(l.opened) < steady
	l.disconnect()
	l.failed(now, err)
	if !young {
		l.retry, l.pause = now, 0
	}
}

func (l *loop) failed(now time.Time, err error) {
	l.pause = min(max(2*l.pause, firstPause), lastPause)
	l.retry = now.Add(l.pause)
	if text := err.Error(); text != l.failure {
		l.failure = text
		l.log.add(now, slog.LevelError, "socket does not work, trying again", slog.String("err", text))
	}
}

func (l *loop) disconnect() {
	if l.conn == nil {
		return
	}
	l.s.attach(nil)
	_ = l.conn.Close() // nothing depends on how it ends
	l.conn = nil
}

// align makes in run with addr as its primary address, or not run for its own
// reason or for that of its group.
func (l *loop) align(now time.Time, in *instance, addr netip.Addr) {
	reason, advice := in.own, vrrp.AdviceNone
	if in.want.Group != nil {
		if advice = in.want.Group.advise(in.want.Place); advice == vrrp.AdviceWait {
			reason = vrrp.ReasonGroupFault
		}
	}
	if reason != vrrp.ReasonNone {
		l.halt(now, in, reason)
	}
	config := in.want.Config
	config.Primary = addr
	if !equal(config, in.config) {
		in.config = config
		l.change(in)
		l.step(now, in, vrrp.Reconfigure{Config: config})
	}
	switch {
	case reason != vrrp.ReasonNone:
	case !in.running && (advice == vrrp.AdviceHold || in.want.Standby):
	case !in.running:
		in.running = true
		l.begin(now, in)
	case advice == vrrp.AdviceLead:
		l.step(now, in, vrrp.Lead{})
	case advice == vrrp.AdviceConcede:
		l.step(now, in, vrrp.Concede{})
	case advice == vrrp.AdviceExpect:
		l.step(now, in, vrrp.Expect{})
	case advice == vrrp.AdviceLeave:
		l.leaveFor(now, in, vrrp.ReasonHandover)
	}
	if in.want.Handovers > in.handed {
		in.handed = in.want.Handovers
		l.leaveFor(now, in, vrrp.ReasonHandover)
	}
}

// begin lets a router take part. For the first time it may be master at once: if the
// process before this one was, and has said so less than three intervals ago, no
// backup can have taken over (RFC 9568 section 6.1).
func (l *loop) begin(now time.Time, in *instance) {
	if !in.began {
		in.began = true
		last, ok := l.s.reigns.Take(l.reignKey(in))
		if l.adopt(now, in) {
			return
		}
		if ok && now.Sub(last.Sent) < 3*last.Interval {
			l.step(now, in, vrrp.Resume{})
		}
	}
	l.step(now, in, vrrp.Start{})
}

func (l *loop) reignKey(in *instance) reign.Key {
	return reign.Key{Link: l.s.link, VRID: in.want.VRID, Version: uint8(in.want.Version), IPv6: l.s.ipv6}
}

// halt ends taking part of one router, unless it does not for that reason.
func (l *loop) halt(now time.Time, in *instance, reason vrrp.Reason) {
	s := in.router.Status()
	if !in.running && !s.Leaving && s.Reason == reason {
		return
	}
	in.running = false
	if reason.Mute() || l.conn == nil || !up(l.link) {
		l.step(now, in, vrrp.Stop{Reason: reason})
	} else {
		l.leaveFor(now, in, reason)
	}
}

// leaveFor has a router leave, with the others of its group if it has one.
func (l *loop) leaveFor(now time.Time, in *instance, reason vrrp.Reason) {
	ev := vrrp.Leave{Reason: reason}
	if in.want.Group != nil {
		ev.Wait = in.want.Group.patience()
	}
	l.step(now, in, ev)
}

func up(s link.State) bool { return s.Up && s.Index > 0 }

// primary returns the primary address of r on a link with those addresses (RFC
// 9568 section 1.7), or the zero Addr if there is none. One of the virtual
// addresses will not do, since it is on every master in turn. With IPv6 it is a
// link-local one (RFC 9568 section 5.1.2.1).
func primary(r Router, f family, addresses []netip.Prefix, virtual map[netip.Addr]bool) netip.Addr {
	for _, p := range addresses {
		a := p.Addr()
		switch {
		case a.Is4() == f.ipv6:
		case r.Source.IsValid():
			if a == r.Source {
				return a
			}
		case f.ipv6 && !a.IsLinkLocalUnicast():
		case r.Priority == vrrp.PriorityOwner || !virtual[a]:
			return a
		}
	}
	return netip.Addr{}
}
