package notify

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// TestQueueKeepsTheNewest checks, over any mix of subjects, that what is in the
// queue is in order, is bounded, and has the newest event of every subject that
// was not taken.
func TestQueueKeepsTheNewest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		subjects := rapid.IntRange(1, 2*maxQueue).Draw(t, "subjects")
		newest := map[Subject]int{} // number of the newest event
		pushed, popped := 0, 0
		for range rapid.IntRange(0, 4*maxQueue).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				if e, ok := q.pop(); ok {
					popped++
					if newest[e.Subject] == number(e) {
						delete(newest, e.Subject)
					}
				}
			default:
				pushed++
				s := Subject{Name: fmt.Sprint(rapid.IntRange(1, subjects).Draw(t, "subject"))}
				newest[s] = pushed
				q.push(Event{Subject: s, Reason: fmt.Sprint(pushed)})
			}
		}
		if rapid.Bool().Draw(t, "condense") {
			if q.condense(); len(q.events) != len(newest) {
				t.Fatalf("%d events are left for %d subjects", len(q.events), len(newest))
			}
		}
		if len(q.events) > max(maxQueue, subjects) {
			t.Fatalf("%d events wait for %d subjects", len(q.events), subjects)
		}
		if pushed != popped+len(q.events)+int(q.dropped) {
			t.Fatalf("%d pushed, %d popped, %d waiting, %d dropped", pushed, popped, len(q.events), q.dropped)
		}
		last, count := 0, map[Subject]int{}
		for _, e := range q.events {
			if number(e) <= last {
				t.Fatalf("%d stands behind %d", number(e), last)
			}
			last = number(e)
			count[e.Subject]++
			if newest[e.Subject] == last {
				delete(newest, e.Subject)
			}
		}
		if len(newest) > 0 {
			t.Fatalf("the newest are missing: %v", newest)
		}
		for s, n := range q.waiting {
			if count[s] != n || n == 0 {
				t.Fatalf("%v: %d wait, counted as %d", s, count[s], n)
			}
		}
	})
}

func number(e Event) int {
	var n int
	_, _ = fmt.Sscan(e.Reason, &n)
	return n
}
