package speaker

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/understudy-ha/understudy/vrrp"
)

// outbox is the part of the loop that collects what is to be sent at one time.
type outbox struct {
	out     []packet
	senders []*instance // whose each packet of out is
	arena   []byte      // where the messages lie
}

// enqueue encodes the advertisement of in for everybody who is to receive it.
func (l *loop) enqueue(now time.Time, in *instance, priority uint8) {
	advert := in.router.Advertisement(priority)
	if !in.unicast() {
		l.enqueueTo(now, in, advert, l.conn.group())
		return
	}
	for _, peer := range in.want.UnicastPeers {
		l.enqueueTo(now, in, advert, peer)
	}
}

func (l *loop) enqueueTo(now time.Time, in *instance, advert vrrp.Advertisement, dst netip.Addr) {
	src, start := in.config.Primary, len(l.arena)
	var err error
	if l.arena, err = advert.Append(l.arena, src, dst); err != nil {
		l.sent(now, in, err)
		return
	}
	l.out = append(l.out, packet{src: src, dst: dst, mac: in.etherSource(), message: l.arena[start:]})
	l.senders = append(l.senders, in)
}

// flush hands everything to the kernel. What it refuses is counted and not tried
// again: the next advertisement is at most an interval away.
func (l *loop) flush(now time.Time) {
	for done := 0; done < len(l.out) && l.conn != nil; {
		n, err := l.conn.send(l.out[done:])
		for _, in := range l.senders[done : done+n] {
			l.sent(now, in, nil)
		}
		done += n
		if err == nil && n == 0 {
			break
		}
		if err != nil && done < len(l.out) {
			l.sent(now, l.senders[done], err)
			done++
		}
	}
	clear(l.senders)
	clear(l.out)
	l.out, l.senders, l.arena = l.out[:0], l.senders[:0], l.arena[:0]
}

// sent counts a message of in, and says so when sending begins to fail, fails
// differently or works again.
func (l *loop) sent(now time.Time, in *instance, err error) {
	text := ""
	if err != nil {
		text = err.Error()
		in.counters.sendErrors.Add(1)
	} else {
		in.counters.sent.Add(1)
		if s := in.router.Status(); s.State == vrrp.StateMaster && !s.Leaving {
			in.reign.Sent(now, in.config.Interval)
			in.rivals.Hear(in.config.Primary)
		}
	}
	if text == in.refused {
		return
	}
	in.refused = text
	who := []slog.Attr{slog.String("vrrp", in.want.Name), slog.Int("vrid", int(in.want.VRID))}
	if err == nil {
		l.log.add(now, slog.LevelInfo, "advertisements are sent again", who...)
		return
	}
	l.log.add(now, slog.LevelError, "advertisements cannot be sent", append(who, slog.String("err", text))...)
}
