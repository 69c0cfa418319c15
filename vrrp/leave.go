package vrrp

import "time"

// Linger is how long a router that was master goes on holding its addresses after
// it has heard its successor. The successor speaks before it has the addresses and
// before the neighbours have learnt of it; until then somebody has to answer.
const Linger = 250 * time.Millisecond

// A master that follows a living one, or has heard another one beside it, announces
// its addresses twice more. The first time is while the other one still holds them,
// in case that one has announced them last. The second is when it has let go of them:
// until then a neighbour may have been answered by either.
const (
	firstRepeat = Linger / 2
	lastRepeat  = 2 * Linger
)

// LeaveTime is how long a master that leaves waits for its successor. Whoever has
// heard its farewell speaks after a skew time, which is less than an interval (RFC
// 9568 section 6.1), in version 2 than a second whatever the interval (RFC 3768
// section 6.1). The rest is for the way and for a late wake-up.
func (c Config) LeaveTime() time.Duration { return c.answer() + c.SkewTime(c.Interval) }

// Patience is LeaveTime with the longest skew time that there is. Members of a group
// wait so long, whatever becomes of their priorities meanwhile: they are to end it
// together.
func (c Config) Patience() time.Duration {
	worst := c
	worst.Priority = 0
	return c.answer() + worst.SkewTime(c.Interval)
}

// answer is how long a successor may take to speak.
func (c Config) answer() time.Duration {
	if c.Version == V2 {
		return min(c.Interval, 10*time.Second) // a stop has to end some time
	}
	return c.Interval
}

// leave begins a Leave of a master.
func (r *Router) leave(now time.Time, ev Leave) Output {
	r.status.Leaving, r.leaveFor = true, ev.Reason
	if ev.Reason == ReasonNone {
		r.leaveFor = ReasonShutdown
	}
	r.leaveBy = now.Add(max(r.config.LeaveTime(), ev.Wait))
	return Output{Advertise: true}
}

// stepLeaving is the state {Active} between the farewell and what follows. Neither
// RFC knows it: in both a router that shuts down stops answering before anybody
// has taken its place.
func (r *Router) stepLeaving(now time.Time, ev Event) Output {
	switch ev := ev.(type) {
	case Start:
		return r.stay(now)

	case Stop:
		return r.stop(now, ev.Reason)

	case Leave:
		// The newer reason counts, but a farewell was said already.
		if ev.Reason != ReasonHandover {
			r.leaveFor = ev.Reason
		}

	case Tick:
		r.announceAgain(now)
		switch {
		case now.Before(r.leaveBy):
		case r.leaveFor == ReasonHandover:
			return r.stay(now) // nobody wants it
		default:
			return r.stop(now, r.leaveFor)
		}

	case Received:
		if ev.Advert.Priority == 0 {
			return Output{}
		}
		if r.leaveFor == ReasonHandover {
			return r.yield(now, ev, ReasonHandover)
		}
		return r.stop(now, r.leaveFor)

	case Reconfigure:
		r.reconfigure(ev.Config)
	}
	return Output{}
}

// stay ends a Leave and goes on as master.
func (r *Router) stay(now time.Time) Output {
	r.status.Leaving, r.leaveBy, r.leaveFor = false, time.Time{}, ReasonNone
	r.next, r.answers = now.Add(r.config.Interval), 0
	return r.advertise()
}

// announceAgain has the addresses announced once more, if it is time.
func (r *Router) announceAgain(now time.Time) {
	if !r.repeat.IsZero() && !now.Before(r.repeat) {
		if r.repeat = r.repeatLast; !now.Before(r.repeat) {
			r.repeat = time.Time{} // this process did not run for a while
		}
		r.repeatLast = time.Time{}
		r.status.Repeats++
	}
}

// announceTwiceMore begins these announcements.
func (r *Router) announceTwiceMore(now time.Time) {
	r.repeat, r.repeatLast = now.Add(firstRepeat), now.Add(lastRepeat)
}

// announceLast has the last announcement come when a master that has just been heard
// beside this one has let go of the addresses, too. It puts off no other.
func (r *Router) announceLast(now time.Time) {
	if at := now.Add(lastRepeat); r.repeat.IsZero() {
		r.repeat = at
	} else {
		r.repeatLast = at
	}
}
