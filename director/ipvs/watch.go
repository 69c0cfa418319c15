package ipvs

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	patience = 10 * time.Second // for one answer of the kernel
	maxStuck = 4                // calls that have been given up and are still running
)

// ask runs f in a goroutine of its own and waits for its value, at most for
// patience and until ctx ends. After that late gets the value, if one ever
// comes.
func ask[T any](ctx context.Context, t *Table, f func() (T, error), late func(T)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var none T
	if t.stuck.Load() >= maxStuck {
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
	t.stuck.Add(1)
	go func() {
		a := <-answers
		t.stuck.Add(-1)
		if a.err == nil {
			late(a.value)
		}
	}()
	return none, err
}

// call runs f on the handle. If it gets no answer the handle is given up, since
// the answer might arrive as that to the next call.
func call[T any](ctx context.Context, t *Table, f func(kernel) (T, error)) (T, error) {
	k := t.kernel
	value, err := ask(ctx, t, func() (T, error) { return f(k) }, func(T) {})
	if err != nil && (errors.Is(err, ErrNoAnswer) || ctx.Err() != nil) {
		t.kernel = nil
		// Closing ends a call that waits for the socket, but waits itself for
		// one that is inside the kernel.
		go k.Close()
	}
	return value, err
}
