package track

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/vrrp/script"
)

// runner runs a command once, for as long as its timeout and ctx allow, and returns
// whether it passed and why.
type runner func(ctx context.Context, t Target, env []string) (pass bool, reason string)

// commands runs every command at its interval, each at most once at a time.
type commands struct {
	wanted
	tracker *Tracker
	runner  runner
}

// job is one command that is run again and again.
type job struct {
	cancel context.CancelFunc
	ended  chan struct{}
}

func newCommands(t *Tracker) *commands {
	return &commands{wanted: newWanted(), tracker: t, runner: execute}
}

// run starts a job for each command that is set, and ends those that are not, until
// ctx ends and every job has.
func (c *commands) run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	jobs := map[Target]job{}
	for ctx.Err() == nil {
		targets := c.take()
		gone := map[Target]job{}
		maps.Copy(gone, jobs)
		for _, t := range targets {
			delete(gone, t)
		}
		alike := map[Target]chan struct{}{}
		for t, j := range gone {
			j.cancel()
			delete(jobs, t)
			alike[t.identity()] = j.ended
		}
		for _, t := range targets {
			if _, ok := jobs[t]; ok {
				continue
			}
			jobCtx, cancel := context.WithCancel(ctx)
			j := job{cancel: cancel, ended: make(chan struct{})}
			jobs[t] = j
			before := alike[t.identity()]
			all.Go(func() {
				defer close(j.ended)
				if before != nil {
					<-before // the same command under its old settings
				}
				c.repeat(jobCtx, t)
			})
		}
		select {
		case <-ctx.Done():
		case <-c.bell:
		}
	}
	for _, j := range jobs {
		j.cancel()
	}
}

// repeat runs one command at a fixed rate until ctx ends. A run that takes longer
// than the interval is followed at once by the next.
func (c *commands) repeat(ctx context.Context, t Target) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var due time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if now := time.Now(); due.IsZero() || now.Sub(due) > t.Interval {
			due = now
		}
		pass, reason := c.runner(ctx, t, c.environment(t))
		if ctx.Err() != nil {
			return // the run was cut short
		}
		c.tracker.update(t, func(o Observation) Observation { return o.ran(t, time.Now(), pass, reason) })
		due = due.Add(t.Interval)
		timer.Reset(time.Until(due))
	}
}

// environment returns what a command is told beside its arguments: the virtual
// routers that it is run for, one a line, and what is known of it.
func (c *commands) environment(t Target) []string {
	c.tracker.mu.RLock()
	defer c.tracker.mu.RUnlock()
	var names []string
	for _, u := range c.tracker.uses[t] {
		names = append(names, u.routers...)
	}
	slices.Sort(names)
	return []string{
		"UNDERSTUDY_VRRP=" + strings.Join(slices.Compact(names), "\n"),
		"UNDERSTUDY_STATE=" + c.tracker.seen[t].State.String(),
	}
}

// execute is the runner of real commands.
func execute(ctx context.Context, t Target, env []string) (pass bool, reason string) {
	r, err := script.Command{Args: t.Command.Words(), User: t.User, Timeout: t.Timeout, Env: env}.Run(ctx)
	if err != nil {
		return false, join(err.Error(), r.Line)
	}
	return true, join("exit status 0", r.Line)
}

func join(what, more string) string {
	if more == "" {
		return what
	}
	return what + ": " + more
}

// Check reports commands that are missing on this machine, or that may not run as
// their user.
func Check(routers map[string][]Item) error {
	var errs []error
	seen := map[Target]bool{}
	for _, name := range slices.Sorted(maps.Keys(routers)) {
		for _, i := range routers[name] {
			if i.Kind != Command || seen[i.Target] {
				continue
			}
			seen[i.Target] = true
			if err := script.Check(i.Command.Words(), i.User); err != nil {
				errs = append(errs, fmt.Errorf("track of vrrp %q: %w", name, err))
			}
		}
	}
	return errors.Join(errs...)
}
