package garp

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// maxRivals bounds how many hardware addresses are told of for one target:
	// an attacker may make up any number of them.
	maxRivals = 8
	// probeRetry is when a probe that could not be sent is tried again.
	probeRetry = time.Second
)

// lookout decides what is a conflict, and when a target is to be probed. It reads
// no clock and sends nothing. The zero value watches nothing; a lookout is not
// safe for concurrent use.
type lookout struct {
	hw      map[string]MAC // of links, as far as they are known
	targets map[Target]*watched
}

// watched is what is known of one target.
type watched struct {
	target Target // as it was set
	watch  Watch
	since  time.Time
	probed time.Time // last; zero: never
	retry  time.Time // no probe before; zero: no bound
	rivals map[MAC]*rival
}

// rival is a conflict, perhaps not told of yet.
type rival struct {
	Conflict
	told bool
}

// set makes watches the targets to watch, and returns what conflicts are over
// because the address is not ours any more.
func (l *lookout) set(now time.Time, watches map[Target]Watch) (over []Conflict) {
	targets := make(map[Target]*watched, len(watches))
	for target, watch := range watches {
		if supported(target.Address) != nil {
			continue
		}
		key := Target{Link: target.Link, Address: plain(target.Address)}
		w, ok := l.targets[key]
		if !ok {
			w = &watched{target: target, since: now, rivals: map[MAC]*rival{}}
		}
		w.watch = watch
		targets[key] = w
	}
	for key, w := range l.targets {
		if targets[key] == nil {
			over = w.drop(over, func(*rival) bool { return true })
		}
	}
	l.targets = targets
	slices.SortFunc(over, compareConflicts)
	return over
}

// drop forgets the rivals that f names, and appends those that were told of.
func (w *watched) drop(to []Conflict, f func(*rival) bool) []Conflict {
	for mac, r := range w.rivals {
		if f(r) {
			delete(w.rivals, mac)
			if r.told {
				to = append(to, r.Conflict)
			}
		}
	}
	return to
}

// verdict is what the lookout makes of a sighting.
type verdict uint8

const (
	nothing verdict = iota // not of a target, or ours, or too early
	again                  // of a rival that is known
	news                   // of a new rival
	surplus                // of one rival too many
)

// see takes a sighting on a link.
func (l *lookout) see(now time.Time, link string, s sighting) verdict {
	w, ok := l.targets[Target{Link: link, Address: s.address}]
	if !ok || l.own(w, s.mac) || now.Before(w.since.Add(w.watch.Timing.settle())) {
		return nothing
	}
	r, ok := w.rivals[s.mac]
	if !ok && len(w.rivals) == maxRivals {
		return surplus
	}
	v := again
	if !ok {
		kind := ARP
		if s.address.Is6() {
			kind = ND
		}
		r = &rival{Conflict: Conflict{Target: w.target, MAC: s.mac, Kind: kind, First: now}}
		w.rivals[s.mac] = r
		v = news
	}
	r.Last = now
	r.Count++
	if s.source.IsValid() {
		r.Source = s.source
	}
	return v
}

// own reports whether mac counts as ours.
func (l *lookout) own(w *watched, mac MAC) bool {
	return mac == l.hw[w.target.Link] || w.watch.Own != MAC{} && mac == w.watch.Own
}

// pass returns the conflicts that are to be told of since the last pass, and
// those that are over.
func (l *lookout) pass(now time.Time) (begun, over []Conflict) {
	for _, w := range l.targets {
		over = w.drop(over, func(r *rival) bool { return l.own(w, r.MAC) || !w.over(r).After(now) })
		for _, r := range w.rivals {
			if !r.told && !w.due(r).After(now) {
				r.told = true
				begun = append(begun, r.Conflict)
			}
		}
	}
	slices.SortFunc(begun, compareConflicts)
	slices.SortFunc(over, compareConflicts)
	return begun, over
}

// due is when r is told of, over when it is forgotten.
func (w *watched) due(r *rival) time.Time  { return r.First.Add(w.watch.Timing.settle()) }
func (w *watched) over(r *rival) time.Time { return r.Last.Add(w.watch.Timing.expire()) }

// next is when w is to be probed; the zero time means never.
func (w *watched) next() (at time.Time) {
	t := w.watch.Timing
	switch {
	case w.probed.IsZero():
		at = w.since.Add(t.settle())
	case t.Probe > 0:
		at = w.probed.Add(t.Probe)
	}
	for _, r := range w.rivals {
		// A probe made since has asked already.
		if ask := w.over(r).Add(-t.settle()); ask.After(w.probed) {
			at = earliest(at, ask)
		}
	}
	if !at.IsZero() && at.Before(w.retry) {
		return w.retry
	}
	return at
}

// probes returns the targets that are to be probed, those first that wait longest.
func (l *lookout) probes(now time.Time) []Target {
	var list []*watched
	for _, w := range l.targets {
		if at := w.next(); !at.IsZero() && !at.After(now) {
			list = append(list, w)
		}
	}
	slices.SortFunc(list, func(a, b *watched) int {
		if c := a.next().Compare(b.next()); c != 0 {
			return c
		}
		return compare(a.target, b.target)
	})
	targets := make([]Target, len(list))
	for i, w := range list {
		targets[i] = Target{Link: w.target.Link, Address: plain(w.target.Address)}
	}
	return targets
}

// probed says that target was probed at now, or could not be.
func (l *lookout) probed(now time.Time, target Target, err error) {
	w, ok := l.targets[target]
	switch {
	case !ok:
	case err != nil:
		w.retry = now.Add(probeRetry)
	default:
		w.probed, w.retry = now, time.Time{}
	}
}

// deadline is when pass or probes will have something; the zero time means never.
func (l *lookout) deadline() (at time.Time) {
	for _, w := range l.targets {
		at = earliest(at, w.next())
		for _, r := range w.rivals {
			at = earliest(at, w.over(r))
			if !r.told {
				at = earliest(at, w.due(r))
			}
		}
	}
	return at
}

// conflicts returns what has been told of and is not over.
func (l *lookout) conflicts() []Conflict {
	var list []Conflict
	for _, w := range l.targets {
		for _, r := range w.rivals {
			if r.told {
				list = append(list, r.Conflict)
			}
		}
	}
	slices.SortFunc(list, compareConflicts)
	return list
}

// addresses returns the addresses to watch by link and family, in order.
func (l *lookout) addresses() map[ear][]netip.Addr {
	by := map[ear][]netip.Addr{}
	for key := range l.targets {
		e := ear{link: key.Link, six: key.Address.Is6()}
		by[e] = append(by[e], key.Address)
	}
	for _, list := range by {
		slices.SortFunc(list, netip.Addr.Compare)
	}
	return by
}

// earliest returns the earlier of two times, of which the zero time is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
