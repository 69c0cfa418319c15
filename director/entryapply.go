package director

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"
)

// carryOut makes the changes and takes note of what became of them.
func (l *entryLane) carryOut(ctx context.Context, k *look) error {
	if k.all {
		// Written down before it is created. One that was there before us is
		// ours too: named by the configuration, it has to go with it.
		for s := range l.roster.byKey {
			l.ledger.add(s)
		}
		l.report.ledger(l.ledger.store())
	}
	done, failed, err := carryOut(ctx, l.table, k.changes)
	known := err == nil || done != nil || len(failed) == len(k.changes) // each failure has its name
	failed = l.note(k, done, failed)
	if ctx.Err() != nil {
		return err
	}
	l.report.ledger(l.ledger.store())
	k.done, k.repairs = len(done), l.report.split(done, k.drift, l.reasonFor)
	if k.listed || err != nil {
		l.report.failures(failed, err)
	}
	switch {
	case err != nil:
		if !known {
			l.doubt()
		}
		l.unsure = l.listing
		l.failing(k.now)
	case k.unsure:
		l.again(k.now)
	case k.listed:
		l.backoff = 0
	default:
		// What has failed before waits for the next listing.
	}
	return err
}

// doubt forgets what the kernel holds.
func (l *entryLane) doubt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.have = nil
}

// note enters what was done into what the kernel holds, and returns what has
// failed and was not mended since.
func (l *entryLane) note(k *look, done []Change[Key, Spec], failed map[Key]error) map[Key]error {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make(map[Key]error, len(failed))
	if !k.all || k.unsure {
		maps.Copy(all, l.failed)
	}
	for _, c := range k.changes {
		delete(all, c.Key)
	}
	maps.Copy(all, failed)
	l.failed = all
	for _, c := range done {
		if l.listing {
			l.touched[c.Key.Service] = true // of what has failed it knows more than we do
		}
		if c.Op != Delete {
			if p := l.roster.byKey[c.Key.Service]; p != nil {
				l.have.expect(c.Key.Service, len(p.members))
			}
			l.have.put(c.Key, c.New)
			continue
		}
		l.have.remove(c.Key)
		if c.Key.IsService() {
			l.skipped = l.skipped || l.listing
			l.ledger.remove(c.Key.Service)
		}
	}
	return all
}

// reasonFor returns the reason of a change, and the service's name.
func (l *entryLane) reasonFor(k Key) (Reason, string) {
	p := l.roster.byKey[k.Service]
	switch {
	case p == nil:
		return ReasonNotConfigured, ""
	case k.IsService():
		return ReasonConfigured, p.service.Name
	}
	return p.verdictOn(k.Server).Reason, p.service.Name
}

// publish makes the outcome of a pass what Status shows.
func (l *entryLane) publish(k *look, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lane.Passes++
	l.lane.Began, l.lane.Took = k.now, time.Since(k.now)
	l.lane.Changes += uint64(k.done)
	l.lane.Repairs += uint64(k.repairs)
	switch {
	case errors.Is(err, errNotReady):
	case err != nil:
		l.lane.Err = brief(err)
	case l.blind != nil:
		l.lane.Err = l.blind.Error()
	case len(l.failed) == 0:
		l.lane.Err = ""
	}
	l.loaded = err == nil && l.roster != nil && (l.loaded || k.all)
}

// withdraw removes everything of ours that is not to stay, trying until ctx
// ends.
func (l *entryLane) withdraw(ctx context.Context) error {
	// Told to stop before it has looked once: what an earlier process has left
	// goes all the same.
	l.take(time.Now())
	if l.roster != nil {
		if err := l.ledger.load(); err != nil {
			l.report.ledger(err)
		}
	}
	if l.roster == nil || l.table == nil || !l.active() {
		return nil
	}
	gone := func(s ServiceKey) bool {
		p := l.roster.byKey[s]
		if p != nil && p.service.Policy.KeepAtStop {
			return false
		}
		return l.roster.config.Exclusive && !l.reserved[s] || p != nil || l.ledger.has(s)
	}
	retry := firstRetry
	for {
		got := l.list(ctx)
		l.mu.Lock()
		if got.err == nil {
			l.have = got.have
		} else if l.have == nil {
			l.have = holdings{}
		}
		l.mu.Unlock()
		done, failed, err := carryOut(ctx, l.table, l.deletions(gone, true))
		l.note(&look{all: true}, done, failed)
		l.report.ledger(l.ledger.store())
		l.report.done(done, func(k Key) (Reason, string) {
			_, name := l.reasonFor(k)
			return ReasonStopping, name
		}, false)
		if err = errors.Join(got.err, err); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove the IPVS services: %w", err)
		case <-time.After(retry):
		}
		retry = min(2*retry, time.Second)
	}
}
