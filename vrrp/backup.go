package vrrp

import (
	"net/netip"
	"time"
)

// stepBackup is RFC 9568 section 6.4.2 Backup and RFC 3768 section 6.4.2.
func (r *Router) stepBackup(now time.Time, ev Event) Output {
	switch ev := ev.(type) {
	case Stop:
		// "If a Shutdown event is received, then: Cancel the Active_Down_Timer.
		// Transition to the {Initialize} state."
		return r.stop(now, ev.Reason)

	case Leave:
		if ev.Reason != ReasonHandover {
			return r.stop(now, ev.Reason)
		}

	case Tick:
		// "If the Active_Down_Timer fires, then: Send an ADVERTISEMENT. [...] Set the
		// Adver_Timer to Advertisement_Interval. Transition to the {Active} state."
		if now.Before(r.downTimer()) {
			return Output{}
		}
		// A member of a group waits for the others.
		if r.config.Grouped {
			r.status.Wants = true
			return Output{}
		}
		return r.succeed(now)

	case Lead:
		// Even if another master was heard since this one wanted to be it: the others
		// are master already, and the better of the two directors wins on all links.
		return r.succeed(now)

	case Expect:
		if !r.status.Wants && !r.farewell {
			r.expect(now)
		}

	case Received:
		return r.hearAsBackup(now, ev)

	case Reconfigure:
		was := r.config
		r.reconfigure(ev.Config)
		switch {
		case was.Priority != PriorityOwner && r.config.Priority == PriorityOwner && r.config.Grouped:
			r.status.Wants = true
		case was.Priority != PriorityOwner && r.config.Priority == PriorityOwner:
			return r.takeOver(now, ReasonOwner)
		case was.Grouped && !r.config.Grouped && r.status.Wants:
			return r.succeed(now)
		}
		if r.preempting && !r.config.preempts() {
			// The master whose advertisements were discarded is left alone from now on,
			// and lives as far as we know.
			r.timerSet, r.preempting, r.status.Wants = now, false, false
		}
	}
	return Output{}
}

// succeed takes over for the reason that Active_Down_Timer has fired for.
func (r *Router) succeed(now time.Time) Output {
	switch {
	case r.config.Grouped && !r.status.Wants:
		return r.takeOver(now, ReasonGroup)
	case r.config.Priority == PriorityOwner:
		return r.takeOver(now, ReasonOwner)
	case r.preempting:
		return r.takeOver(now, ReasonPreempt)
	case r.farewell:
		return r.takeOver(now, ReasonFarewell)
	default:
		return r.takeOver(now, ReasonMasterDown)
	}
}

// expect sets Active_Down_Timer to Skew_Time.
func (r *Router) expect(now time.Time) {
	r.timerSet, r.farewell, r.preempting, r.status.Wants = now, true, false, false
}

func (r *Router) hearAsBackup(now time.Time, rx Received) Output {
	a := rx.Advert
	// "If the Priority in the ADVERTISEMENT is 0, then: Set the Active_Down_Timer to
	// Skew_Time."
	if a.Priority == 0 {
		r.expect(now)
		// Not by Expect: two members that each go by the other would not stop expecting.
		r.status.Farewell = r.config.Grouped
		if r.status.Master == rx.Src {
			r.status.Master, r.status.MasterPriority, r.status.Held = netip.Addr{}, 0, false
		}
		return Output{}
	}
	// A worse master settles it too: what we hold from before is its, until we
	// take over.
	r.status.Master, r.status.MasterPriority, r.status.Settled = rx.Src, a.Priority, true
	r.status.Held = r.config.held(a.Priority)
	if a.Priority >= r.config.Priority {
		r.lowerSince = time.Time{}
	} else if r.lowerSince.IsZero() {
		r.lowerSince = now
	}
	// "If Preempt_Mode is False, or if the Priority in the ADVERTISEMENT is greater
	// than or equal to the local Priority, then: Set the Active_Adver_Interval to the
	// Max Advertise Interval contained in the ADVERTISEMENT. Recompute the Skew_Time.
	// Recompute the Active_Down_Interval. Set the Active_Down_Timer to
	// Active_Down_Interval."
	if !r.config.preempts() || a.Priority >= r.config.Priority || r.delayed(now) {
		r.follow(now, a)
		return Output{}
	}
	// "else // preempt was true and priority was less than the local priority:
	// Discard the ADVERTISEMENT." The timer then runs out, and this router takes over.
	r.preempting = true
	return Output{Drop: DropPriority}
}

// delayed reports whether a lower master is still to be left alone: for the
// preempt delay from Start, and again from the first lower advertisement after a
// master that was at least as good as this router. Which lower router speaks
// does not matter, so that two of them in turn cannot put this one off for ever.
func (r *Router) delayed(now time.Time) bool {
	return now.Before(r.lowerSince.Add(r.config.preemptDelay()))
}

// follow accepts a as the word of the master. In version 2 the interval is
// configured, not learnt.
func (r *Router) follow(now time.Time, a Advertisement) {
	r.timerSet, r.farewell, r.preempting = now, false, false
	r.status.Settled, r.status.Wants, r.status.Farewell = true, false, false
	if r.config.Version == V3 {
		r.learnt, r.status.MasterInterval = true, a.Interval
	}
}
