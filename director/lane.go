package director

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"maps"
	"sync"
	"time"
)

// rules are what distinguishes the lanes. They are used by one goroutine.
type rules[K, V comparable] interface {
	// want returns the plan, and false if there is nothing to look after. The
	// plan of a director that stops wants nothing.
	want(stopping bool) (map[K]Want[V], bool)
	// ahead returns what to create before the kernel is listed, given what was wanted
	// and held in the last pass, in batches. What exists already may be among it.
	ahead(was view[K, V], want map[K]Want[V]) iter.Seq[[]Change[K, V]]
	// came is called with what was created of a batch.
	came(done []Change[K, V])
	// observe is shown the kernel's content and may correct it.
	observe(have map[K]V, want map[K]Want[V])
	// owns reports whether an object may be deleted.
	owns(k K, have V) bool
	// before is called before changes are made that lead from have to final;
	// have is nil if it is not what the kernel has listed.
	before(have, final map[K]V, changes []Change[K, V], want map[K]Want[V]) error
	// after is called with what the kernel then holds and the changes that
	// succeeded.
	after(held map[K]V, done []Change[K, V], want map[K]Want[V]) error
	// blind is called instead when the kernel could not be listed.
	blind(want map[K]Want[V])
}

// lane keeps one table in shape. All but the bell and what mu guards belong to
// the goroutine of run.
type lane[K, V comparable] struct {
	kind   kind[K, V]
	table  Table[K, V]
	rules  rules[K, V]
	resync time.Duration
	bell   chan struct{}
	report report[K, V]
	moved  func() // called after a pass that something had rung for, or that changed the kernel; nil: nobody

	clean   map[K]V // what was wanted when a pass last ended without an error; nil after one that did not
	again   bool    // the last pass deleted something, and this one looks at what went with it
	backoff time.Duration

	mu   sync.Mutex
	view view[K, V]
}

// view is the outcome of a pass. Its maps are not changed once it is published.
type view[K, V comparable] struct {
	want   map[K]Want[V]
	held   map[K]V
	failed map[K]error
	lane   LaneStatus
}

func newLane[K, V comparable](k kind[K, V], t Table[K, V], r rules[K, V], resync time.Duration, log *slog.Logger) *lane[K, V] {
	return &lane[K, V]{
		kind: k, table: t, rules: r, resync: resync,
		bell:   make(chan struct{}, 1),
		report: report[K, V]{log: log},
	}
}

func (l *lane[K, V]) ring() {
	select {
	case l.bell <- struct{}{}:
	default:
	}
}

func (l *lane[K, V]) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		rung := false
		select {
		case <-ctx.Done():
			return
		case <-l.bell:
			rung = true
		case <-timer.C:
		}
		if ctx.Err() != nil {
			return
		}
		before := l.snapshot().lane.Changes
		next, _ := l.pass(ctx)
		if l.moved != nil && (rung || l.snapshot().lane.Changes != before) {
			l.moved()
		}
		timer.Reset(next)
	}
}

// pass looks at the kernel once, repairs it, and returns when to look again.
func (l *lane[K, V]) pass(ctx context.Context) (time.Duration, error) {
	want, active := l.rules.want(false)
	if !active {
		l.clean, l.backoff = nil, 0
		l.publish(view[K, V]{}, time.Time{}, nil)
		return l.resync, nil
	}
	now := time.Now()
	v := view[K, V]{want: want}
	early := l.hasten(ctx, want)
	wait, err := l.repair(ctx, &v, early)
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	l.publish(v, now, err)
	if err != nil {
		l.backoff = min(max(2*l.backoff, firstRetry), lastRetry)
		wait = min(wait, l.backoff)
	} else {
		l.backoff = 0
	}
	return wait, err
}

// hasten creates what cannot wait for a listing and returns what it has created.
// What does not succeed is left to the pass that follows, which knows more.
func (l *lane[K, V]) hasten(ctx context.Context, want map[K]Want[V]) []Change[K, V] {
	if l.table == nil {
		return nil
	}
	var early []Change[K, V]
	for batch := range l.rules.ahead(l.snapshot(), want) {
		done, _, _ := carryOut(ctx, l.table, batch)
		if len(done) == 0 {
			break
		}
		l.rules.came(done)
		early = append(early, done...)
	}
	return early
}

// repair makes the changes of one pass, of which early were made before, and fills
// in v.
func (l *lane[K, V]) repair(ctx context.Context, v *view[K, V], early []Change[K, V]) (time.Duration, error) {
	have, err := l.list(ctx)
	l.report.done(early, reasonIn(v.want), false)
	v.lane.Changes = uint64(len(early))
	if err != nil {
		l.clean = nil
		v.held, v.failed = l.outcome(maps.Clone(l.held()), early), nil
		if ctx.Err() == nil {
			l.rules.blind(v.want)
			l.report.general(err)
		}
		return l.resync, err
	}
	l.rules.observe(have, v.want)
	final := settle(have, v.want)
	changes := diff(have, final, l.rules.owns, l.kind)
	drift := l.clean != nil && !l.again && maps.Equal(l.clean, final)
	l.report.ledger(l.rules.before(have, final, changes, v.want))

	done, failed, err := carryOut(ctx, l.table, changes)
	v.held, v.failed = l.outcome(have, done), failed
	if ctx.Err() != nil {
		return l.resync, err
	}
	l.report.ledger(l.rules.after(v.held, done, v.want))
	l.report.done(done, reasonIn(v.want), drift)
	l.report.failures(failed, err)
	if drift {
		v.lane.Repairs = uint64(len(done))
	}
	v.lane.Changes += uint64(len(done))

	wait := l.resync
	deleted := len(done) > 0 && done[len(done)-1].Op == Delete
	// Deleting a primary IPv4 address may delete its secondaries.
	l.again = deleted && !l.again
	if l.again {
		wait = 0
	}
	l.clean = nil
	if err == nil {
		l.clean = final
	}
	return wait, err
}

func (l *lane[K, V]) list(ctx context.Context) (map[K]V, error) {
	if l.table == nil {
		return nil, errNoTable
	}
	return l.table.List(ctx)
}

// reasonIn returns what tells the reason for a change from a plan, and the name
// of what the object belongs to.
func reasonIn[K, V comparable](want map[K]Want[V]) func(K) (Reason, string) {
	return func(k K) (Reason, string) { return want[k].Reason, want[k].Name }
}

// outcome applies done to have.
func (l *lane[K, V]) outcome(have map[K]V, done []Change[K, V]) map[K]V {
	if have == nil {
		have = make(map[K]V, len(done))
	}
	for _, c := range done {
		if c.Op == Delete {
			delete(have, c.Key)
		} else {
			have[c.Key] = c.New
		}
	}
	return have
}

// withdraw removes everything of ours, trying until ctx ends.
func (l *lane[K, V]) withdraw(ctx context.Context) error {
	want, active := l.rules.want(true)
	if !active || l.table == nil {
		return nil
	}
	retry := firstRetry
	for {
		listed, err := l.list(ctx)
		have := listed
		if err != nil {
			// Deleting what was last seen does no harm if it is gone.
			have = map[K]V{}
			maps.Copy(have, l.held())
		}
		l.rules.observe(have, want)
		changes := diff(have, nil, l.rules.owns, l.kind)
		l.report.ledger(l.rules.before(listed, nil, changes, want))
		done, failed, applyErr := carryOut(ctx, l.table, changes)
		held := l.outcome(have, done)
		l.report.ledger(l.rules.after(held, done, want))
		l.report.done(done, reasonIn(want), false)
		l.publish(view[K, V]{want: want, held: held, failed: failed}, time.Now(), applyErr)
		if err = errors.Join(err, applyErr); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(retry):
		}
		retry = min(2*retry, time.Second)
	}
}

func (l *lane[K, V]) held() map[K]V {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.view.held
}

// publish makes v what Status shows.
func (l *lane[K, V]) publish(v view[K, V], began time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.view.lane
	v.lane.Changes += old.Changes
	v.lane.Repairs += old.Repairs
	v.lane.Passes = old.Passes
	if !began.IsZero() {
		v.lane.Passes++
		v.lane.Began, v.lane.Took = began, time.Since(began)
	}
	if err != nil {
		v.lane.Err = brief(err)
	}
	l.view = v
}
