package simulate

import (
	"time"

	"github.com/understudy-ha/understudy/vrrp"
)

// start finds out how long it takes until somebody is master.
func (e *election) start(r *Report) {
	for i := range trials {
		t := e.begin(i)
		for id := range t.n {
			t.Crash(id)
		}
		for id := range t.n {
			t.Start(id)
		}
		r.Start.add(t.until(2*e.wait(), func() bool { return t.leader() >= 0 }))
	}
}

// leave finds out what happens when the master goes, and when it comes back.
func (e *election) leave(r *Report) {
	for i := range trials {
		t := e.begin(i)
		t.Crash(t.master)
		took, gap, ok := t.succession(2 * e.wait())
		r.Crash.add(took, ok)
		r.CrashGap.add(gap, ok)
		t.pass(e.wait())
		if t.master == 0 {
			t.Start(0)
			r.Return.add(t.until(e.patience+3*e.wait(), func() bool { return t.State(0) == vrrp.StateMaster }))
		}

		t = e.begin(i)
		t.Leave(t.master, vrrp.ReasonShutdown)
		took, gap, ok = t.succession(2 * e.wait())
		r.Stop.add(took, ok)
		r.StopGap.add(gap, ok)
	}
}

// succession waits for another master, and returns how long that took and for how long
// nobody answered until then and shortly afterwards.
func (t *trial) succession(limit time.Duration) (took, gap time.Duration, ok bool) {
	begun := t.Now()
	step := max(limit/20_000, 100*time.Microsecond)
	for end := begun + limit; t.Now() < end; {
		if t.took > 0 && !ok {
			took, ok = t.Now()-begun, true
			end = t.Now() + 2*vrrp.Linger // until everybody has let go
		}
		if !t.Answered(t.master) {
			gap += step
		}
		t.pass(step)
	}
	return took, gap, ok
}

// pause reports whether a pause of the master makes another one master.
func (e *election) pause(t *trial, d time.Duration) bool {
	t.Stall(t.master, d)
	t.pass(d + e.wait())
	return t.took > 0
}

// pausedBackup reports whether a pause of a backup makes it master.
func (e *election) pausedBackup(d time.Duration) bool {
	return e.any(func(i int) bool {
		t := e.begin(i)
		for id := range t.n {
			if id != t.master {
				t.Stall(id, d)
			}
		}
		t.pass(d + e.wait())
		return t.took > 0
	})
}

// restart reports whether another one is master after the process of the master has
// ended and begun again d later.
func (e *election) restart(t *trial, d time.Duration) bool {
	t.Kill(t.master)
	t.pass(d)
	again := false
	t.Observe = func(id int, out vrrp.Output) {
		again = again || out.Transition && (id != t.master || out.To != vrrp.StateMaster)
	}
	before := t.took
	t.Start(t.master)
	t.pass(2 * e.wait())
	return again || before > 0
}

// delay reports whether another one becomes master when everything is delayed by d
// from one time on.
func (e *election) delay(t *trial, d time.Duration) bool {
	late := network
	late.Delay += d
	t.SetNetwork(late)
	t.pass(d + 2*e.wait())
	return t.took > 0
}

// jitter reports whether another one becomes master when the delay varies by up to d.
func (e *election) jitter(t *trial, d time.Duration) bool {
	varied := network
	varied.Jitter += d
	t.SetNetwork(varied)
	t.pass(100 * e.longest)
	return t.took > 0
}

// loss finds out how often a backup takes over from a living master.
func (e *election) loss(rate, hours float64) Loss {
	t := e.begin(0)
	limit := min(time.Duration(hours*float64(time.Hour)), maxIntervals*e.longest)
	begun := t.Now()
	l := Loss{Rate: rate, Simulated: limit}
	best := t.master
	t.Observe = func(id int, out vrrp.Output) {
		// One that takes its place back is no needless takeover, it follows from one.
		if out.Transition && out.To == vrrp.StateMaster && id != best && out.Reason == vrrp.ReasonMasterDown {
			if l.Takeovers++; l.Takeovers == 1 {
				l.First = t.Now() - begun
			}
		}
	}
	lossy := network
	lossy.Loss = rate
	t.SetNetwork(lossy)
	t.pass(limit)
	return l
}

// cut finds out what a cut in one direction does: the backup does not hear the master,
// or the master does not hear the backup.
func (e *election) cut(deaf bool) Cut {
	t := e.begin(0)
	c := Cut{Length: 20 * e.wait()}
	for id := range t.n {
		switch {
		case id == t.master:
		case deaf:
			t.Cut(t.master, id)
		default:
			t.Cut(id, t.master)
		}
	}
	count := func(d time.Duration) (two time.Duration) {
		step := max(d/20_000, 100*time.Microsecond)
		for end := t.Now() + d; t.Now() < end; t.pass(step) {
			if t.masters() > 1 {
				two += step
			}
		}
		return two
	}
	c.Two = count(c.Length)
	t.Heal()
	c.After = count(2 * e.wait())
	c.Two += c.After
	return c
}

// intervals are those that are advised, by version.
var intervals = map[vrrp.Version][]time.Duration{
	vrrp.V2: seconds(1, 2, 3, 5, 10, 20, 30, 60, 120, 255),
	vrrp.V3: append([]time.Duration{
		10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 150 * time.Millisecond,
		200 * time.Millisecond, 250 * time.Millisecond, 300 * time.Millisecond, 400 * time.Millisecond, 500 * time.Millisecond,
		700 * time.Millisecond,
	}, seconds(1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 40)...),
}

func seconds(list ...float64) (all []time.Duration) {
	for _, s := range list {
		all = append(all, time.Duration(s*float64(time.Second)))
	}
	return all
}

// advise tries one interval after the other.
func advise(directors []Director, o Options) Advice {
	for _, interval := range intervals[directors[0].Config.Version] {
		changed := make([]Director, len(directors))
		for i, d := range directors {
			d.Config.Interval = interval
			changed[i] = d
		}
		e := newElection(changed, o)
		if o.Pause > 0 && e.any(func(i int) bool { return e.pause(e.begin(i), o.Pause) }) {
			continue
		}
		if o.Loss > 0 && e.loss(o.Loss, 1e6).PerDay() > 1 {
			continue
		}
		r := Report{}
		e.leave(&r)
		return Advice{Interval: interval, Noticed: r.Crash.Longest}
	}
	return Advice{}
}
