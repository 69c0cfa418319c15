package health

import (
	"container/heap"
	"context"
	"fmt"
	"hash/fnv"
	"sync"
	"time"
)

// schedule says when which check is probed next. It belongs to Run.
type schedule struct {
	monitor *Monitor
	watches map[Check]*watch
	waiting queue // every watch whose probe is not in flight, by due
	flying  int   // probes in flight
	results chan result
}

// watch is one check and the time of its next probe.
type watch struct {
	check  Check
	probe  Probe
	every  time.Duration
	due    time.Time
	index  int                // in waiting; -1 while the probe is in flight
	cancel context.CancelFunc // ends the probe in flight
}

// result is what a probe found out.
type result struct {
	watch      *watch
	begin, end time.Time
	answer     Answer
	failure    string
}

// reconcile makes the watches those of the checks that are set.
func (s *schedule) reconcile(now time.Time) {
	m := s.monitor
	var added []Check
	m.mu.RLock()
	for c, w := range s.watches {
		if _, ok := m.status[c]; ok {
			continue
		}
		delete(s.watches, c)
		if w.index >= 0 {
			heap.Remove(&s.waiting, w.index)
		} else {
			w.cancel()
		}
	}
	for c := range m.status {
		if s.watches[c] == nil {
			added = append(added, c)
		}
	}
	m.mu.RUnlock()
	for _, c := range added { // compiling a check is not done under the lock
		w := &watch{check: c, probe: s.prepare(c), every: max(c.Interval, minInterval)}
		w.due = now.Add(offset(c, min(w.every, maxSpread)))
		s.watches[c] = w
		heap.Push(&s.waiting, w)
	}
}

// prepare makes the probe of c; if that is impossible the probe says why.
func (s *schedule) prepare(c Check) Probe {
	err := fmt.Errorf("no such type of check: %q", c.Type)
	if prober, ok := s.monitor.probers[c.Type]; ok {
		var probe Probe
		if probe, err = prober(c); err == nil {
			return probe
		}
	}
	return func(context.Context) (Answer, error) { return Answer{}, err }
}

// offset returns when in a span the first probe of c takes place: always the
// same for the same check, and different ones for different checks.
func offset(c Check, span time.Duration) time.Duration {
	h := fnv.New64a()
	fmt.Fprintf(h, "%+v", c)
	return time.Duration(h.Sum64() % uint64(span))
}

// deadline returns when start will have something to do; the zero time means
// that only a result or another set of checks will change that.
func (s *schedule) deadline() time.Time {
	if len(s.waiting) == 0 || s.flying >= s.monitor.concurrency {
		return time.Time{}
	}
	return s.waiting[0].due
}

// start sends off the probes that are due, as far as they may fly.
func (s *schedule) start(ctx context.Context, now time.Time, probes *sync.WaitGroup) {
	for len(s.waiting) > 0 && s.flying < s.monitor.concurrency && !s.waiting[0].due.After(now) {
		w := heap.Pop(&s.waiting).(*watch)
		s.flying++
		probing, cancel := context.WithCancel(ctx)
		w.cancel = cancel
		probes.Go(func() {
			defer cancel()
			begin := time.Now()
			answer, failure := run(probing, w.probe, w.check.Timeout)
			// There is room for the result of every probe in flight.
			s.results <- result{watch: w, begin: begin, end: time.Now(), answer: answer, failure: failure}
		})
	}
}

// finish enters a result and plans the next probe of its check: at the fixed
// rate, or at once if its time has passed. What was missed beyond that is
// skipped.
func (s *schedule) finish(r result) {
	s.flying--
	w := r.watch
	if s.watches[w.check] != w {
		return
	}
	w.due = w.due.Add(w.every)
	if late := r.end.Sub(w.due); late >= w.every {
		w.due = w.due.Add(late.Truncate(w.every))
	}
	heap.Push(&s.waiting, w)
	s.monitor.record(r)
}

// queue is a heap of watches by the time of the next probe.
type queue []*watch

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *queue) Push(x any) {
	w := x.(*watch)
	w.index = len(*q)
	*q = append(*q, w)
}

func (q *queue) Pop() any {
	n := len(*q) - 1
	w := (*q)[n]
	(*q)[n] = nil
	*q = (*q)[:n]
	w.index = -1
	return w
}
