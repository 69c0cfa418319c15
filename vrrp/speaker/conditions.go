package speaker

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/understudy-ha/understudy/vrrp"
)

// Condition is a vrrp.Condition that holds: the last advertisement that showed it is
// not long ago.
type Condition struct {
	Condition   vrrp.Condition
	Peer        netip.Addr // who has shown it lately
	Detail      string     // what differs, for people
	First, Last time.Time
	Count       uint64 // advertisements that showed it
}

// wordEvery bounds how often a condition is put into words again, which takes longer
// than all else that is done for an advertisement: two peers in turn must not cost
// more than one.
const wordEvery = time.Second

// holds is how long a condition is remembered that nothing shows any more: for some
// advertisements, and long enough to be seen.
func holds(interval time.Duration) time.Duration { return max(10*time.Second, 4*interval) }

// judge takes note of what an advertisement shows beside the election.
func (l *loop) judge(now time.Time, in *instance, rx vrrp.Received, drop vrrp.Drop) {
	in.config.Compare(rx, drop, func(c vrrp.Condition) { l.raise(now, in, c, rx) })
	switch drop {
	case vrrp.DropNone, vrrp.DropPriority, vrrp.DropOwner:
		if rx.Advert.Priority > 0 && in.rivals.Hear(rx.Src) {
			l.raise(now, in, vrrp.ConditionTwoMasters, rx)
		}
	}
}

// foreign looks at a packet of a virtual router that is not here. The filter of the
// socket lets it through because it advertises an address that is.
func (l *loop) foreign(now time.Time, p packet) {
	if p.ttl != wantTTL {
		return
	}
	advert, drop := vrrp.Parse(p.message, p.src, p.dst)
	if drop != vrrp.DropNone || advert.Priority == 0 {
		return
	}
	for _, in := range l.order {
		if in.config.Primary != p.src && slices.Contains(in.config.Addresses, advert.Addresses[0]) {
			l.raise(now, in, vrrp.ConditionVRID, vrrp.Received{Src: p.src, Advert: advert})
		}
	}
}

// raise notes that a condition holds, and says so if it did not before.
func (l *loop) raise(now time.Time, in *instance, which vrrp.Condition, rx vrrp.Received) {
	c := &in.conditions[which]
	if !c.Last.IsZero() && (c.Peer == rx.Src || now.Sub(in.worded[which]) < wordEvery) {
		in.mu.Lock()
		c.Last = now
		c.Count++
		in.mu.Unlock()
		return
	}
	in.worded[which] = now
	detail := in.config.Explain(which, rx)
	fresh := c.Last.IsZero()
	in.mu.Lock()
	if fresh {
		*c = Condition{Condition: which, First: now}
	}
	c.Peer, c.Detail, c.Last = rx.Src, detail, now
	c.Count++
	in.mu.Unlock()
	if fresh {
		in.raised++
		l.log.add(now, slog.LevelWarn, "condition", append(l.who(in), slog.String("condition", which.String()),
			slog.String("peer", rx.Src.String()), slog.String("detail", detail))...)
	}
}

// sweep forgets the conditions that nothing has shown for a while.
func (l *loop) sweep(now time.Time) {
	if now.Sub(l.swept) < time.Second {
		return
	}
	l.swept = now
	for _, in := range l.order {
		if in.raised == 0 {
			continue
		}
		for i := range in.conditions {
			c := &in.conditions[i]
			if c.Last.IsZero() || now.Sub(c.Last) <= holds(in.config.Interval) {
				continue
			}
			l.log.add(now, slog.LevelInfo, "condition is over", append(l.who(in), slog.String("condition", c.Condition.String()),
				slog.String("peer", c.Peer.String()), slog.Duration("lasted", c.Last.Sub(c.First)), slog.Uint64("count", c.Count))...)
			in.mu.Lock()
			*c = Condition{}
			in.mu.Unlock()
			in.raised--
		}
	}
}

// who names a virtual router in a record of the log.
func (l *loop) who(in *instance) []slog.Attr {
	return []slog.Attr{slog.String("vrrp", in.want.Name), slog.Int("vrid", int(in.want.VRID))}
}

// standing returns the conditions that hold. in.mu is held.
func (in *instance) standing() []Condition {
	var list []Condition
	for _, c := range in.conditions {
		if !c.Last.IsZero() {
			list = append(list, c)
		}
	}
	return list
}
