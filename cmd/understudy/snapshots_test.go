package main

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestSnapshots: however many ask, one is taken at a time, and none that nobody asks for.
func TestSnapshots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taken, takes := 0, 100*time.Millisecond
		s := newSnapshots(func(ctx context.Context) statusReply {
			taken++
			select {
			case <-time.After(takes):
			case <-ctx.Done():
			}
			return statusReply{RouterID: strconv.Itoa(taken)}
		})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { s.Run(ctx) })
		ask := func(want string, limit time.Duration) {
			t.Helper()
			began := time.Now()
			one := s.fresh(t.Context())
			if one == nil || one.status.RouterID != want || time.Since(began) > limit {
				t.Errorf("got %+v after %v, want %s within %v", one, time.Since(began), want, limit)
			}
		}
		time.Sleep(time.Hour)
		if taken != 0 || s.newest() != nil {
			t.Errorf("%d snapshots for nobody", taken)
		}
		var askers sync.WaitGroup
		for range 100 {
			askers.Go(func() { ask("1", takes) })
		}
		askers.Wait()
		ask("1", 0)
		time.Sleep(freshTime)
		ask("2", takes)

		// One that takes long is fresh for longer: the kernel is not asked all the time.
		takes = 3 * time.Second
		time.Sleep(freshTime)
		ask("3", takes)
		time.Sleep(11 * time.Second)
		ask("3", 0)
		time.Sleep(time.Second)

		// One that takes too long is cut off.
		takes = time.Hour
		ask("4", gatherTime)
		// Whoever does not wait gets the one before.
		time.Sleep(time.Minute)
		gone, leave := context.WithTimeout(t.Context(), time.Second)
		if one := s.fresh(gone); one == nil || one.status.RouterID != "4" {
			t.Errorf("got %+v, want the one before", one)
		}
		leave()
		cancel()
		wg.Wait()
	})
}

// TestStuckSnapshot: what does not come keeps nobody for ever.
func TestStuckSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := newSnapshots(func(context.Context) statusReply { <-release; return statusReply{} })
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { s.Run(ctx) })
		began := time.Now()
		for range 3 {
			if one := s.fresh(t.Context()); one != nil {
				t.Errorf("got %+v", one)
			}
		}
		if waited := time.Since(began); waited != 3*patience {
			t.Errorf("waited %v, want %v", waited, 3*patience)
		}
		cancel()
		close(release)
		wg.Wait()
	})
}
