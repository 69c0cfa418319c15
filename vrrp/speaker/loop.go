package speaker

import (
	"cmp"
	"container/heap"
	"log/slog"
	"runtime"
	"slices"
	"time"

	"github.com/understudy-ha/understudy/vrrp"
)

const (
	// batch is how many packets one system call receives.
	batch = 64
	// drainReads bounds how often the queue is looked at before a takeover:
	// batch*drainReads packets, some for each of 255 virtual routers. A flood
	// must not put off a takeover for ever.
	drainReads = 16
	// stall is how late a deadline is met when something kept this process, or
	// the whole machine, from running. Packets may then be on their way up from
	// the driver, and get grace to arrive.
	stall = 5 * time.Millisecond
	grace = time.Millisecond
	// moderation is the least time between two wake-ups for deadlines, and between two
	// for packets of one burst. Where hundreds of routers have theirs at random, most
	// of the work would be waking up.
	moderation = 500 * time.Microsecond
)

// loop is what the goroutine in Run owns.
type loop struct {
	s       *Speaker
	log     *journal
	byVRID  [256]*instance
	order   []*instance // as in Set
	queue   deadlines
	changed []*instance // to be published
	leaving []*instance // no longer wanted, but not succeeded yet
	swept   time.Time   // when conditions were last looked through
	told    bool        // whether a link is up is known
	ticked  time.Time   // when deadlines were last met

	departed []chan struct{} // to be closed when leaving is empty
	ring     bool            // for another reason than these
	packets  []packet        // received

	socket
	outbox
}

// sleep waits for packets, for the earliest deadline or for a change of what is
// wanted, handles the packets and returns the time of waking.
func (l *loop) sleep() time.Time {
	if l.conn == nil {
		l.s.idle(l.retry)
		return time.Now()
	}
	var deadline time.Time
	if len(l.queue) > 0 {
		deadline = l.queue[0].due
		if next := l.ticked.Add(moderation); deadline.Before(next) {
			deadline = next
		}
	}
	// Woken already, it looks at the socket all the same: whoever calls Set
	// without end must not keep it from hearing.
	wait := l.s.arm(l.conn, deadline)
	n, err := l.conn.receive(l.packets, wait)
	now := time.Now()
	l.hear(now, l.packets[:n])
	if err != nil && !passed(err) {
		l.broken(now, err)
	}
	return now
}

// tick steps the routers whose deadline has come. What is queued is heard
// before: after a stall it may say that the master is alive.
func (l *loop) tick(now time.Time) {
	if l.conn == nil || len(l.queue) == 0 || l.queue[0].due.After(now) {
		return
	}
	l.drain(now, now.Sub(l.queue[0].due) > stall)
	if l.conn == nil {
		return // what was queued is not known, so nobody takes over
	}
	l.ticked = now
	// The bound is a safeguard: a step moves the deadline past now.
	for range len(l.queue) {
		if len(l.queue) == 0 || l.queue[0].due.After(now) {
			return
		}
		in := l.queue[0]
		if now.Sub(in.due) > in.config.Interval/2 {
			in.counters.lateTicks.Add(1)
		}
		l.step(now, in, vrrp.Tick{})
	}
}

// drain hears what is queued at the socket, and with patience what arrives
// within grace.
func (l *loop) drain(now time.Time, patience bool) {
	if patience && l.s.arm(l.conn, time.Now().Add(grace)) {
		n, err := l.conn.receive(l.packets, true)
		l.hear(now, l.packets[:n])
		if err != nil && !passed(err) {
			l.broken(now, err)
			return
		}
	}
	for range drainReads {
		n, err := l.conn.receive(l.packets, false)
		l.hear(now, l.packets[:n])
		if err != nil {
			l.broken(now, err)
			return
		}
		if n < len(l.packets) {
			return
		}
	}
}

// hear steps the routers that packets are for.
func (l *loop) hear(now time.Time, packets []packet) {
	for _, p := range packets {
		if len(p.message) < 2 {
			continue
		}
		if l.byVRID[p.message[1]] == nil {
			l.foreign(now, p)
			continue
		}
		in := l.byVRID[p.message[1]]
		in.counters.received.Add(1)
		drop, raised := l.screen(in, p), in.raised
		if drop == vrrp.DropNone {
			var advert vrrp.Advertisement
			if advert, drop = vrrp.Parse(p.message, p.src, p.dst); drop == vrrp.DropNone {
				rx := vrrp.Received{Src: p.src, Advert: advert}
				drop = l.receive(now, in, rx)
				l.judge(now, in, rx, drop)
			}
		}
		if drop != vrrp.DropNone {
			l.dropped(now, in, drop, p, in.raised > raised)
		}
	}
}

// receive steps in with an advertisement, unless its list of addresses has to match
// ours and does not.
func (l *loop) receive(now time.Time, in *instance, rx vrrp.Received) vrrp.Drop {
	if in.want.Strict && rx.Advert.Version == in.want.Version && !in.want.Matches(rx.Advert) {
		return vrrp.DropAddresses
	}
	return l.step(now, in, rx).Drop
}

// screen checks what the IP header says against what the router is set to.
func (l *loop) screen(in *instance, p packet) vrrp.Drop {
	if !in.unicast() {
		if p.ttl != wantTTL {
			return vrrp.DropTTL
		}
		if p.dst != l.conn.group() {
			return vrrp.DropDestination
		}
		return vrrp.DropNone
	}
	if p.dst != in.config.Primary {
		return vrrp.DropDestination
	}
	if p.ttl < cmp.Or(in.want.PeerTTL, wantTTL) {
		return vrrp.DropTTL
	}
	if slices.Contains(in.want.UnicastPeers, p.src) {
		return vrrp.DropNone
	}
	return vrrp.DropPeer
}

// dropped counts a drop, and says so the first time unless it is part of an
// ordinary election, or said already as a condition.
func (l *loop) dropped(now time.Time, in *instance, drop vrrp.Drop, p packet, said bool) {
	first := in.dropped(now, drop, p.src)
	if !first || said || drop == vrrp.DropPriority || drop == vrrp.DropNotRunning {
		return
	}
	l.log.add(now, slog.LevelWarn, "advertisement dropped, the first for this reason",
		slog.String("vrrp", in.want.Name), slog.Int("vrid", int(in.want.VRID)),
		slog.String("drop", drop.String()), slog.String("source", p.src.String()), slog.String("destination", p.dst.String()))
}

// step steps one router and does what it asks for, but for sending, which is
// left to finish.
func (l *loop) step(now time.Time, in *instance, ev vrrp.Event) vrrp.Output {
	before := in.router.Status()
	out := in.step(now, ev)
	// A farewell because nothing can be sent is not sent.
	if out.Advertise && l.conn != nil && !out.Reason.Fault() {
		l.enqueue(now, in, out.Priority)
	}
	l.schedule(in)
	after := in.router.Status()
	if after != before {
		if before.State == vrrp.StateMaster && (after.State != vrrp.StateMaster || after.Leaving) {
			in.reign.Ended()
		}
		l.change(in)
		l.report(in)
	}
	if out.Transition {
		in.counters.transitions.Add(1)
		l.announce(now, in, out, after)
	}
	return out
}

// announce tells of a transition.
func (l *loop) announce(now time.Time, in *instance, out vrrp.Output, after vrrp.Status) {
	attrs := []slog.Attr{
		slog.String("vrrp", in.want.Name), slog.Int("vrid", int(in.want.VRID)),
		slog.String("from", out.From.String()), slog.String("to", out.To.String()),
		slog.String("reason", out.Reason.String()), slog.Int("priority", int(in.config.Priority)),
	}
	if after.Master.IsValid() {
		attrs = append(attrs, slog.String("master", after.Master.String()), slog.Int("master_priority", int(after.MasterPriority)))
	}
	l.log.add(now, slog.LevelInfo, "transition", attrs...)
	l.s.told(Transition{
		Router: in.want.Name, VRID: in.want.VRID, Link: l.s.link,
		From: out.From, To: out.To, Reason: out.Reason, Priority: in.config.Priority, At: now,
	})
}

// schedule puts the deadline of in into the heap.
func (l *loop) schedule(in *instance) {
	due := in.router.Deadline()
	switch {
	case due.IsZero():
		if in.place >= 0 {
			heap.Remove(&l.queue, in.place)
		}
	case in.place < 0:
		in.due = due
		heap.Push(&l.queue, in)
	case !due.Equal(in.due):
		in.due = due
		heap.Fix(&l.queue, in.place)
	}
}

// change has in published by the next finish.
func (l *loop) change(in *instance) {
	if !in.changed {
		in.changed = true
		l.changed = append(l.changed, in)
	}
}

// finish sends, then publishes, then rings the bell: a new master has spoken
// before anybody acts upon it.
func (l *loop) finish(now time.Time) {
	l.flush(now)
	l.sweep(now)
	for _, in := range l.changed {
		l.ring = in.publish() || l.ring
	}
	clear(l.changed)
	l.changed = l.changed[:0]
	if l.ring {
		l.ring = false
		l.s.bell()
		// Who was rung runs now; a wait in a system call would keep it from this
		// processor until somebody notices.
		runtime.Gosched()
	}
}
