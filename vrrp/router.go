package vrrp

import (
	"net/netip"
	"time"
)

// Status is the state of a Router for people and for the director.
type Status struct {
	State          State
	Since          time.Time     // of the last transition; zero if there was none
	Reason         Reason        // why State
	Settled        bool          // somebody is known to be master, or to be missing; false from Start until then
	Epoch          uint64        // number of times this router became master
	Master         netip.Addr    // primary address of the master, our own while master; zero if unknown
	MasterPriority uint8         // 0 if unknown
	MasterInterval time.Duration // Active_Adver_Interval: learnt in V3, otherwise our own
	Leaving        bool          // a master that has said farewell and serves until it hears its successor
	Lingering      bool          // no longer master, but its addresses are still to answer: the successor has just been heard
	Wants          bool          // a member of a group that would be master but for the others
	Farewell       bool          // a member of a group whose master has said farewell
	Repeats        uint64        // number of times that the addresses have to be announced once more, after whoever was master has let go of them
	Contests       uint64        // number of times that this master heard a worse one: whoever believed that one has to be told again; counted once a second at most
	Held           bool          // a worse master is left alone because of Config.Hold
}

// Router is one virtual router as this router sees it: the state machine of RFC
// 9568 section 6.4 and RFC 3768 section 6.4. It is owned by its caller, who
// steps it from one goroutine at a time. A copy of the value is a snapshot.
type Router struct {
	config Config
	status Status
	now    time.Time // the latest time seen; time does not go backwards here

	// Of a backup. The timer is a base and a rule, so that a change of the
	// configuration changes the deadline and repeating it postpones nothing.
	timerSet   time.Time // when Active_Down_Timer was set
	farewell   bool      // it was set to Skew_Time alone
	preempting bool      // a lower master was discarded since
	learnt     bool      // status.MasterInterval comes from an advertisement
	lowerSince time.Time // start, or when lower masters began to be heard; zero while the master is at least as good

	// Of a master.
	next     time.Time // when Adver_Timer fires
	answers  int       // sent out of turn since it last fired
	leaveBy  time.Time // when it stops waiting for its successor; zero unless it leaves
	leaveFor Reason
	repeat   time.Time // when to announce once more; zero: not

	repeatLast time.Time // when again after that; zero: not

	contested time.Time // when status.Contests was last raised

	linger time.Time // the end of status.Lingering
}

// New returns a Router in StateInit. An Interval below UnitV3 counts as UnitV3,
// here and in Reconfigure: no configuration makes a master that only sends.
func New(c Config) *Router {
	return &Router{config: c.bounded()}
}

// Config returns the configuration in force. The slice in it is shared and must
// not be written.
func (r *Router) Config() Config { return r.config }

// Status returns what is known of the virtual router.
func (r *Router) Status() Status {
	s := r.status
	switch s.State {
	case StateMaster:
		s.Master, s.MasterPriority, s.MasterInterval = r.config.Primary, r.config.Priority, r.config.Interval
	case StateBackup:
		s.MasterInterval = r.masterInterval()
	}
	return s
}

// Advertisement returns what Output.Advertise asks to be sent with Output.Priority.
func (r *Router) Advertisement(priority uint8) Advertisement {
	a := Advertisement{
		Version:   r.config.Version,
		VRID:      r.config.VRID,
		Priority:  priority,
		Interval:  r.config.Interval,
		Addresses: r.config.Addresses,
		Plain:     r.config.Checksum == ChecksumRFC9568 && r.config.Version == V3 && r.config.Primary.Is4(),
	}
	if r.config.Version == V2 && r.config.Password != "" {
		a.AuthType, a.Password = AuthSimple, r.config.Password
	}
	return a
}

// Deadline reports when Step must next be called with Tick; the zero time means
// never. It may change with every Step.
func (r *Router) Deadline() time.Time {
	return earlier(r.timer(), earlier(r.linger, r.repeat))
}

// timer is when the timer of the protocol fires; the zero time means never.
func (r *Router) timer() time.Time {
	switch {
	case r.status.Leaving:
		return r.leaveBy
	case r.status.State == StateMaster:
		return r.next
	case r.status.State == StateBackup && !r.status.Wants:
		return r.downTimer()
	default:
		return time.Time{}
	}
}

// downTimer is when Active_Down_Timer fires.
func (r *Router) downTimer() time.Time {
	if r.farewell {
		return r.timerSet.Add(r.config.SkewTime(r.masterInterval()))
	}
	return r.timerSet.Add(r.config.MasterDownInterval(r.masterInterval()))
}

// earlier returns the earlier of two times, of which the zero time is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Step applies ev at time now. It never blocks and never reads a clock. A now
// before an earlier one counts as that earlier one.
//
// A Received that is already waiting must be stepped before a Tick: a process
// that stalled would otherwise take over from a master that it could hear.
func (r *Router) Step(now time.Time, ev Event) Output {
	if now.Before(r.now) {
		now = r.now
	}
	r.now = now
	if rx, ok := ev.(Received); ok {
		if drop := r.screen(rx); drop != DropNone {
			return Output{Drop: drop}
		}
	}
	if _, tick := ev.(Tick); tick && !r.linger.IsZero() && !now.Before(r.linger) {
		r.linger, r.status.Lingering = time.Time{}, false
	}
	switch {
	case r.status.State == StateBackup:
		return r.stepBackup(now, ev)
	case r.status.Leaving:
		return r.stepLeaving(now, ev)
	case r.status.State == StateMaster:
		return r.stepMaster(now, ev)
	default:
		return r.stepInit(now, ev)
	}
}

func (r *Router) screen(rx Received) Drop {
	if r.status.State != StateBackup && r.status.State != StateMaster {
		return DropNotRunning
	}
	return r.config.screen(rx)
}

// stepInit is RFC 9568 section 6.4.1 Initialize and RFC 3768 section 6.4.1, for
// StateInit and StateFault.
func (r *Router) stepInit(now time.Time, ev Event) Output {
	switch ev := ev.(type) {
	case Start:
		// "If the Priority = 255, i.e., the router owns the IPvX address(es)
		// associated with the Virtual Router, then: Send an ADVERTISEMENT. [...] Set
		// the Adver_Timer to Advertisement_Interval. Transition to the {Active} state."
		if r.config.Priority == PriorityOwner && !r.config.Grouped {
			return r.takeOver(now, ReasonOwner)
		}
		// "else: Set the Active_Adver_Interval to Advertisement_Interval. Set the
		// Active_Down_Timer to Active_Down_Interval. Transition to the {Backup} state."
		out := r.become(now, StateBackup, ReasonStartup)
		r.lowerSince = now
		r.status.Wants = r.config.Priority == PriorityOwner
		return out

	case Resume:
		return r.takeOver(now, ReasonResumed)

	case Stop:
		return r.stop(now, ev.Reason)

	case Leave:
		if ev.Reason != ReasonHandover {
			return r.stop(now, ev.Reason)
		}

	case Reconfigure:
		r.reconfigure(ev.Config)
	}
	return Output{}
}

// become is the one writer of the state. It sets the timers of the new state and
// forgets those of the old one.
func (r *Router) become(now time.Time, state State, reason Reason) Output {
	out := Output{Transition: true, From: r.status.State, To: state, Reason: reason}
	was := r.status
	r.status = Status{
		State:  state,
		Since:  now,
		Reason: reason,
		Epoch:  was.Epoch,

		Contests: was.Contests,
		Repeats:  was.Repeats,
	}
	r.timerSet, r.farewell, r.preempting, r.learnt, r.lowerSince = time.Time{}, false, false, false, time.Time{}
	r.next, r.answers, r.contested = time.Time{}, 0, time.Time{}
	r.leaveBy, r.leaveFor = time.Time{}, ReasonNone
	r.repeat, r.repeatLast = time.Time{}, time.Time{}
	switch {
	case state == StateMaster || reason.Mute():
		r.linger = time.Time{}
	case was.State == StateMaster:
		r.linger = now.Add(Linger)
	}
	r.status.Lingering = !r.linger.IsZero()
	switch state {
	case StateBackup:
		r.timerSet = now
	case StateMaster:
		r.next = now.Add(r.config.Interval)
		r.status.Settled = true
		r.status.Epoch++
		// A master that does not answer any more has nothing to let go of.
		if reason != ReasonMasterDown && reason != ReasonResumed {
			r.announceTwiceMore(now)
		}
	}
	return out
}

// takeOver becomes master and says so.
func (r *Router) takeOver(now time.Time, reason Reason) Output {
	out := r.become(now, StateMaster, reason)
	out.Advertise, out.Priority = true, r.config.Priority
	return out
}

// stop leaves the election.
func (r *Router) stop(now time.Time, reason Reason) Output {
	state := StateInit
	if reason == ReasonNone {
		reason = ReasonShutdown
	}
	if reason.Fault() {
		state = StateFault
	}
	if state == r.status.State {
		// From one fault to another: the newer reason is the one to look at.
		r.status.Reason = reason
		if reason.Mute() {
			r.linger, r.status.Lingering = time.Time{}, false
		}
		return Output{}
	}
	return r.become(now, state, reason)
}

// masterInterval is Active_Adver_Interval.
func (r *Router) masterInterval() time.Duration {
	if r.learnt {
		return r.status.MasterInterval
	}
	return r.config.Interval
}

func (r *Router) reconfigure(c Config) {
	if c.Version != r.config.Version {
		r.learnt = false
	}
	r.config = c.bounded()
	r.status.Held = r.status.Held && r.config.held(r.status.MasterPriority)
}

func (r *Router) advertise() Output {
	return Output{Advertise: true, Priority: r.config.Priority}
}
