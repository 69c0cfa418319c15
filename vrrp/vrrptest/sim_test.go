package vrrptest

import (
	"flag"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	hoursFlag = flag.Float64("vrrptest.hours", 20, "simulated hours; 0 runs the one seed")
	seedFlag  = flag.Uint64("vrrptest.seed", 0, "first seed; 0 draws one")
)

// TestSimulator runs one seed after the other until it has simulated enough
// hours. A failure is reproduced by the seed that it prints:
//
//	go test ./vrrp/vrrptest -run TestSimulator -vrrptest.hours=0 -vrrptest.seed=N
func TestSimulator(t *testing.T) {
	base := *seedFlag
	if base == 0 {
		base = uint64(rand.Uint32()) + 1
	}
	t.Logf("base seed %d", base)
	var (
		next  atomic.Uint64
		wg    sync.WaitGroup
		mu    sync.Mutex
		total Stats
		seeds int
	)
	done := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return t.Failed() || seeds > 0 && total.Time.Hours() >= *hoursFlag
	}
	begun := time.Now()
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for !done() {
				stats, err := Run(base+next.Add(1)-1, nil)
				mu.Lock()
				total.add(stats)
				seeds++
				mu.Unlock()
				if err != nil {
					t.Errorf("%v", err)
				}
				if *hoursFlag == 0 {
					return
				}
			}
		})
		if *hoursFlag == 0 {
			break
		}
	}
	wg.Wait()
	t.Logf("%.1f simulated hours in %v: %d seeds, %d faults, %d transitions, %d advertisements, %d steps",
		total.Time.Hours(), time.Since(begun).Round(time.Millisecond), seeds, total.Faults, total.Transitions, total.Advertisements, total.Steps)
}
