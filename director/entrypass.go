package director

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"
)

var (
	errNoTable  = errors.New("no such table")
	errNotReady = errors.New("the IPVS table has not been looked at yet")
)

// look is one pass over the table.
type look struct {
	now     time.Time
	all     bool           // every service
	listed  bool           // the table was just listed
	unsure  bool           // a change has failed since the listing began, or made it pass something over
	was     holdings       // what the kernel was left with before it was listed; nil: not known
	hinted  map[*pool]bool // where something may have changed
	wait    []waiter
	changes []Change[Key, Spec] // in the order in which they are to be made
	drift   []Change[Key, Spec] // those of changes that only the kernel is the reason for

	done, repairs int
}

// pass looks at what the hints, the clock and a listing, if there is one, give
// reason to, and repairs it.
func (l *entryLane) pass(ctx context.Context, listed *listing) error {
	now := time.Now()
	k := l.take(now)
	err := l.work(ctx, k, listed)
	if ctx.Err() != nil && err != nil {
		err = context.Cause(ctx)
	}
	l.publish(k, err)
	for _, w := range k.wait {
		w.done <- l.concerning(w.service, err)
	}
	return err
}

// concerning returns what of the error of a pass concerns a service.
func (l *entryLane) concerning(service string, err error) error {
	if l.roster == nil {
		return err
	}
	p := l.roster.byName[service]
	return failuresOf(err, func(k Key) bool { return p != nil && l.roster.byKey[k.Service] == p })
}

// take returns the look that is due, with the hints, and takes over a new
// configuration.
func (l *entryLane) take(now time.Time) *look {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.hints
	l.hints = hints{}
	k := &look{now: now, all: h.all, hinted: map[*pool]bool{}, wait: h.wait}
	if l.next != nil {
		l.roster, l.next = newRoster(l.next, l.roster), nil
		l.loaded = false
		k.all = true
		for _, p := range l.roster.pools {
			k.hinted[p] = true
		}
	}
	if l.roster == nil {
		return k
	}
	for _, c := range h.checks {
		for _, p := range l.roster.byCheck[c] {
			k.hinted[p] = true
		}
	}
	for _, name := range h.names {
		if p := l.roster.byName[name]; p != nil {
			k.hinted[p] = true
		}
	}
	for _, p := range l.roster.pools {
		if h.all || !p.next.IsZero() && !now.Before(p.next) {
			k.hinted[p] = true
		}
	}
	return k
}

func (l *entryLane) work(ctx context.Context, k *look, listed *listing) error {
	if listed != nil {
		l.listing = false
	}
	if l.roster == nil {
		return errNotReady
	}
	if err := l.ledger.load(); err != nil {
		l.report.ledger(err)
	}
	if !l.active() {
		l.mu.Lock()
		l.have, l.failed, l.backoff, l.blind = nil, nil, 0, nil
		l.mu.Unlock()
		return nil
	}
	if err := l.observe(ctx, k, listed); err != nil {
		return err
	}
	l.count(ctx, k)
	l.decide(k)
	return l.carryOut(ctx, k)
}

// active reports whether there is anything to look after, so that a
// configuration of virtual routers alone runs on a kernel without IPVS.
func (l *entryLane) active() bool {
	return len(l.roster.pools) > 0 || len(l.ledger.keys) > 0 || l.roster.config.Exclusive
}

// observe takes over a listing, or makes one if nothing is known.
func (l *entryLane) observe(ctx context.Context, k *look, listed *listing) error {
	switch {
	case listed != nil && listed.err == nil && l.have != nil:
		// Under way it may have seen our changes or not.
		for service := range l.touched {
			if h := l.have[service]; h != nil {
				listed.have[service] = h
			} else {
				delete(listed.have, service)
			}
		}
		if l.skipped {
			// The kernel goes on by position: what it had not shown yet
			// has moved up, and some of it out of sight.
			for service, h := range l.have {
				if listed.have[service] == nil {
					listed.have[service] = h
				}
			}
		}
		k.was, k.unsure = l.have, l.unsure || l.skipped
	case l.have == nil:
		l.due = time.Time{}
		got := l.list(ctx)
		listed = &got
	case listed == nil:
		return nil
	}
	if l.blind = listed.err; l.blind != nil {
		if ctx.Err() == nil {
			l.report.general(listed.err)
		}
		l.failing(k.now)
		if l.have != nil {
			return nil // what the kernel was left with will do for now
		}
		return listed.err
	}
	k.all, k.listed = true, true
	l.due = k.now.Add(max(l.resync, listShare*listed.took))
	l.mu.Lock()
	l.have = listed.have
	l.mu.Unlock()
	return nil
}

// failing waits for the next attempt, twice as long each time. It puts off none
// that is due earlier: what fails again and again must not keep the table from
// being looked at.
func (l *entryLane) failing(now time.Time) {
	l.backoff = min(max(2*l.backoff, firstRetry), lastRetry)
	l.again(now)
}

// again has the table listed when the backoff is over, or earlier.
func (l *entryLane) again(now time.Time) {
	if next := now.Add(l.backoff); l.due.IsZero() || next.Before(l.due) {
		l.due = next
	}
}

// count counts the connections of what drains.
func (l *entryLane) count(ctx context.Context, k *look) {
	if k.now.Before(l.uncounted) {
		return
	}
	began := time.Now()
	defer func() { l.uncounted = began.Add(countShare * time.Since(began)) }()
	for p := range k.hinted {
		if !p.drains() {
			continue
		}
		counts := map[netip.AddrPort]int{}
		for _, key := range p.service.Keys {
			servers, err := l.table.Connections(ctx, key)
			if err != nil {
				counts = nil // not knowing is no reason to remove anything
				break
			}
			for addr, c := range servers {
				counts[addr] += c.Open(key)
			}
		}
		p.counts = counts
	}
}

// decide fills in the changes.
func (l *entryLane) decide(k *look) {
	changed := false
	defer func() {
		if changed && l.quorums != nil {
			l.quorums()
		}
	}()
	l.mu.Lock()
	defer l.mu.Unlock()
	var c changes
	if k.all && len(l.have) == 0 {
		c.come = make([]Change[Key, Spec], 0, l.roster.size)
	}
	for _, p := range l.roster.pools {
		if !k.all && !k.hinted[p] {
			continue
		}
		have := make([]*holding, len(p.service.Keys))
		for i, key := range p.service.Keys {
			have[i] = l.have[key]
		}
		before := p.quorum
		for i, want := range p.settle(k.now, l.circumstances, have) {
			c.differences(p.service.Keys[i], have[i], want)
		}
		changed = changed || p.quorum != before
	}
	if k.all {
		c.leave = append(c.leave, l.dismissed(k.listed)...)
	}
	k.changes = c.come
	if len(c.leave) > 0 {
		k.changes = append(k.changes, c.leave...)
	}
	for _, change := range k.changes {
		if k.was != nil && l.drifted(change.Key, k.was) {
			k.drift = append(k.drift, change)
		}
	}
}

// drifted reports whether the kernel holds something else than it was left
// with, and nothing that we tried is the reason.
func (l *entryLane) drifted(key Key, was holdings) bool {
	if l.failed[key] != nil {
		return false // perhaps it did not fail
	}
	left, there := was.get(key)
	have, held := l.have.get(key)
	return there != held || left != have
}

// dismissed returns the deletions of services that are ours and not wanted, in
// the order of their keys.
func (l *entryLane) dismissed(listed bool) []Change[Key, Spec] {
	gone := func(s ServiceKey) bool {
		return l.roster.byKey[s] == nil && (l.roster.config.Exclusive && !l.reserved[s] || l.ledger.has(s))
	}
	return l.deletions(gone, listed)
}

// deletions returns those of the services that are to go; of the ones in the
// ledger although the kernel has not shown them, if it was listed: a dump that
// missed one must not lose it, and its deletion strikes it out.
func (l *entryLane) deletions(gone func(ServiceKey) bool, listed bool) []Change[Key, Spec] {
	var list []Change[Key, Spec]
	for s, h := range l.have {
		if gone(s) {
			list = append(list, Change[Key, Spec]{Op: Delete, Key: Key{Service: s}, Old: Spec{Service: h.spec}})
		}
	}
	for s := range l.ledger.keys {
		if listed && l.have[s] == nil && gone(s) {
			list = append(list, Change[Key, Spec]{Op: Delete, Key: Key{Service: s}})
		}
	}
	slices.SortFunc(list, func(a, b Change[Key, Spec]) int { return a.Key.Compare(b.Key) })
	return list
}
