package vrrp

import "time"

// answersPerInterval bounds the advertisements that a master sends because it
// heard one, between two that it sends because its timer ran out. One is the
// rule; the bound holds where two masters each take the other for the lower one
// (their addresses are rewritten on the way, say) and would otherwise answer
// each other at the speed of the link for ever.
const answersPerInterval = 3

// contestEvery bounds how often a contest counts: two masters that do not
// understand each other must not make the neighbours hear of it all the time.
const contestEvery = time.Second

// stepMaster is RFC 9568 section 6.4.3 Active and RFC 3768 section 6.4.3 Master.
func (r *Router) stepMaster(now time.Time, ev Event) Output {
	switch ev := ev.(type) {
	case Stop:
		// "If a Shutdown event is received, then: Cancel the Adver_Timer. Send an
		// ADVERTISEMENT with Priority = 0. Transition to the {Initialize} state."
		out := r.stop(now, ev.Reason)
		out.Advertise = true
		return out

	case Leave:
		return r.leave(now, ev)

	case Concede:
		return r.become(now, StateBackup, ReasonGroup)

	case Tick:
		r.announceAgain(now)
		// "If the Adver_Timer fires, then: Send an ADVERTISEMENT. Reset the
		// Adver_Timer to Advertisement_Interval."
		if now.Before(r.next) {
			return Output{}
		}
		// A tick that is a little late does not shift the ones after it; one that
		// is very late is not made up for.
		from := r.next
		if now.Sub(from) > r.config.Interval/2 {
			from = now
		}
		r.next, r.answers = from.Add(r.config.Interval), 0
		return r.advertise()

	case Received:
		return r.hearAsMaster(now, ev)

	case Reconfigure:
		was := r.config
		r.reconfigure(ev.Config)
		if was.Interval == r.config.Interval {
			return Output{}
		}
		// Backups still count in the interval that they learnt. They hear of the new
		// one now, and once more when they expect to, in case the first is lost.
		if next := now.Add(r.config.Interval); next.Before(r.next) {
			r.next = next
		}
		return r.advertise()
	}
	return Output{}
}

func (r *Router) hearAsMaster(now time.Time, rx Received) Output {
	a := rx.Advert
	switch {
	case a.Priority == 0:
		// "If the Priority in the ADVERTISEMENT is 0, then: Send an ADVERTISEMENT.
		// Reset the Adver_Timer to Advertisement_Interval."
		out := r.answer()
		if out.Advertise {
			r.next = now.Add(r.config.Interval)
		}
		return out

	case a.Priority > r.config.Priority:
		// "If the Priority in the ADVERTISEMENT is greater than the local Priority
		// [...] then: Cancel Adver_Timer. Set the Active_Adver_Interval to the Max
		// Advertise Interval contained in the ADVERTISEMENT. Recompute the Skew_Time.
		// Recompute the Active_Down_Interval. Set the Active_Down_Timer to
		// Active_Down_Interval. Transition to the {Backup} state."
		return r.yield(now, rx, ReasonHigherPriority)

	case a.Priority == r.config.Priority && r.config.Primary.Less(rx.Src):
		// "[...] or the Priority in the ADVERTISEMENT is equal to the local Priority and
		// the primary IPvX address of the sender is greater than the local primary IPvX
		// address (based on an unsigned integer comparison of the IPvX addresses in
		// network byte order), then: [the same]". Two routers that both claim to own the
		// addresses come here too.
		return r.yield(now, rx, ReasonTie)

	default:
		// "else // new Active Router logic: Discard the ADVERTISEMENT. Send an
		// ADVERTISEMENT immediately to assert the {Active} state to the sending VRRP
		// Router and to update any learning bridges with the correct Active VRRP Router
		// path." RFC 3768 only discards, and by its section 7.1 an owner MUST discard
		// whatever it hears, as by that of RFC 9568 before erratum 8298; answering there
		// too ends the second master's reign sooner.
		r.contest(now)
		out := r.answer()
		out.Drop = DropPriority
		if r.config.Priority == PriorityOwner {
			out.Drop = DropOwner
		}
		return out
	}
}

// yield becomes backup of the master that rx comes from.
func (r *Router) yield(now time.Time, rx Received, reason Reason) Output {
	out := r.become(now, StateBackup, reason)
	r.status.Master, r.status.MasterPriority = rx.Src, rx.Advert.Priority
	r.follow(now, rx.Advert)
	return out
}

// contest takes note that somebody worse was master beside us, and has told the
// neighbours so: after a split, or after this process did not run for a while.
func (r *Router) contest(now time.Time) {
	if r.contested.IsZero() || now.Sub(r.contested) >= contestEvery {
		r.contested = now
		r.status.Contests++
		r.announceTwiceMore(now)
		return
	}
	r.announceLast(now)
}

// answer advertises out of turn, if it may.
func (r *Router) answer() Output {
	if r.answers >= answersPerInterval {
		return Output{}
	}
	r.answers++
	return r.advertise()
}
