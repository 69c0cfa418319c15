package ipvs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

const (
	patience = genl.Patience
	maxStuck = 4 // calls that have been given up and are still running
)

// ask runs f in a goroutine of its own and waits for its value, at most for
// patience and until ctx ends. After that late gets the value, if one ever
// comes.
func ask[T any](ctx context.Context, l *library, f func() (T, error), late func(T)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var none T
	if l.stuck.Load() >= maxStuck {
		return none, fmt.Errorf("%w, %d times over, and waits still: restart this process", ErrNoAnswer, maxStuck)
	}
	answers := make(chan answer, 1)
	go func() {
		a := answer{err: errors.New("the library gave up")}
		// The library indexes into what the kernel sent without looking at
		// its length; a message that it does not understand is an error.
		defer func() {
			if r := recover(); r != nil {
				a.err = fmt.Errorf("understand the kernel: %v", r)
			}
			answers <- a
		}()
		a.value, a.err = f()
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	var err error
	select {
	case a := <-answers:
		return a.value, a.err
	case <-timer.C:
		err = ErrNoAnswer
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	l.stuck.Add(1)
	go func() {
		a := <-answers
		l.stuck.Add(-1)
		if a.err == nil {
			late(a.value)
		}
	}()
	return none, err
}
