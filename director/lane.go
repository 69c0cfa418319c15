package director

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"time"
)

// rules are what the lane of the addresses must know of virtual routers. They are
// used by one goroutine.
type rules interface {
	// want returns the plan, and false if there is nothing to look after. The
	// plan of a director that stops wants nothing.
	want(stopping bool) (map[AddrKey]Want[AddrSpec], bool)
	// observe is shown the kernel's content and may correct it.
	observe(have map[AddrKey]AddrSpec, want map[AddrKey]Want[AddrSpec])
	// owns reports whether an object may be deleted.
	owns(k AddrKey, have AddrSpec) bool
	// before is called before changes are made that lead from have to final;
	// have is nil if it is not what the kernel has listed.
	before(have, final map[AddrKey]AddrSpec, changes []Change[AddrKey, AddrSpec], want map[AddrKey]Want[AddrSpec]) error
	// after is called with what the kernel then holds and the changes that
	// succeeded.
	after(held map[AddrKey]AddrSpec, done []Change[AddrKey, AddrSpec], want map[AddrKey]Want[AddrSpec]) error
	// blind is called instead when the kernel could not be listed.
	blind(want map[AddrKey]Want[AddrSpec])
}

// lane keeps the addresses in shape. All but the bell and what mu guards belong to
// the goroutine of run.
type lane struct {
	table  Table[AddrKey, AddrSpec]
	rules  rules
	resync time.Duration
	bell   chan struct{}
	report report[AddrKey, AddrSpec]

	clean   map[AddrKey]AddrSpec // what was wanted when a pass last ended without an error; nil after one that did not
	again   bool                 // the last pass deleted something, and this one looks at what went with it
	backoff time.Duration

	mu   sync.Mutex
	view view
}

// view is the outcome of a pass. Its maps are not changed once it is published.
type view struct {
	want   map[AddrKey]Want[AddrSpec]
	held   map[AddrKey]AddrSpec
	failed map[AddrKey]error
	lane   LaneStatus
}

func newLane(t Table[AddrKey, AddrSpec], r rules, resync time.Duration, log *slog.Logger) *lane {
	return &lane{
		table: t, rules: r, resync: resync,
		bell:   make(chan struct{}, 1),
		report: report[AddrKey, AddrSpec]{log: log},
	}
}

func (l *lane) ring() {
	select {
	case l.bell <- struct{}{}:
	default:
	}
}

func (l *lane) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.bell:
		case <-timer.C:
		}
		if ctx.Err() != nil {
			return
		}
		next, _ := l.pass(ctx)
		timer.Reset(next)
	}
}

// pass looks at the kernel once, repairs it, and returns when to look again.
func (l *lane) pass(ctx context.Context) (time.Duration, error) {
	want, active := l.rules.want(false)
	if !active {
		l.clean, l.backoff = nil, 0
		l.publish(view{}, time.Time{}, nil)
		return l.resync, nil
	}
	now := time.Now()
	v := view{want: want}
	wait, err := l.repair(ctx, &v)
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

// repair makes the changes of one pass and fills in v.
func (l *lane) repair(ctx context.Context, v *view) (time.Duration, error) {
	have, err := l.list(ctx)
	if err != nil {
		l.clean = nil
		v.held, v.failed = l.held(), nil
		if ctx.Err() == nil {
			l.rules.blind(v.want)
			l.report.general(err)
		}
		return l.resync, err
	}
	l.rules.observe(have, v.want)
	final := settle(have, v.want)
	changes := diff(have, final, l.rules.owns)
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
	v.lane.Changes = uint64(len(done))

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

func (l *lane) list(ctx context.Context) (map[AddrKey]AddrSpec, error) {
	if l.table == nil {
		return nil, errNoTable
	}
	return l.table.List(ctx)
}

// reasonIn returns what tells the reason for a change from a plan, and the name
// of what the object belongs to.
func reasonIn(want map[AddrKey]Want[AddrSpec]) func(AddrKey) (Reason, string) {
	return func(k AddrKey) (Reason, string) { return want[k].Reason, want[k].Name }
}

// outcome applies done to have.
func (l *lane) outcome(have map[AddrKey]AddrSpec, done []Change[AddrKey, AddrSpec]) map[AddrKey]AddrSpec {
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
func (l *lane) withdraw(ctx context.Context) error {
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
			have = map[AddrKey]AddrSpec{}
			maps.Copy(have, l.held())
		}
		l.rules.observe(have, want)
		changes := diff(have, nil, l.rules.owns)
		l.report.ledger(l.rules.before(listed, nil, changes, want))
		done, failed, applyErr := carryOut(ctx, l.table, changes)
		held := l.outcome(have, done)
		l.report.ledger(l.rules.after(held, done, want))
		l.report.done(done, reasonIn(want), false)
		l.publish(view{want: want, held: held, failed: failed}, time.Now(), applyErr)
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

func (l *lane) held() map[AddrKey]AddrSpec {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.view.held
}

// publish makes v what Status shows.
func (l *lane) publish(v view, began time.Time, err error) {
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
