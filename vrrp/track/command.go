package track

import (
	"context"
	"strings"
	"sync"
	"time"
)

// runner runs a command once, until ctx ends at the latest, and returns whether it
// passed and why. When it returns, no process of its group is left.
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
		for t, j := range jobs {
			gone[t] = j
		}
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
		limited, cancel := context.WithTimeout(ctx, t.Timeout)
		pass, reason := c.runner(limited, t, c.environment(t))
		cancel()
		if ctx.Err() != nil {
			return // the run was cut short
		}
		c.tracker.update(t, func(o Observation) Observation { return o.ran(t, time.Now(), pass, reason) })
		due = due.Add(t.Interval)
		timer.Reset(time.Until(due))
	}
}

// searchPath is the PATH of a command.
const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment returns the whole environment of a command: the search path, the
// virtual routers that it is run for, one a line, and what is known of it.
func (c *commands) environment(t Target) []string {
	c.tracker.mu.RLock()
	defer c.tracker.mu.RUnlock()
	var names []string
	for _, u := range c.tracker.uses[t] {
		names = append(names, u.routers...)
	}
	return []string{searchPath, "UNDERSTUDY_VRRP=" + strings.Join(names, "\n"), "UNDERSTUDY_STATE=" + c.tracker.seen[t].State.String()}
}
