package health

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestAfter(t *testing.T) {
	// results: + passed, - failed. states: after each result, u unknown, + up, - down.
	tests := []struct {
		name       string
		rise, fall int
		results    string
		states     string
	}{
		{"first pass brings up", 3, 3, "+", "+"},
		{"first failures leave unknown", 2, 3, "--", "uu"},
		{"failures from unknown take down", 2, 3, "---", "uu-"},
		{"a pass between, from unknown", 2, 3, "--+", "uu+"},
		{"failures from up", 2, 3, "+---", "+++-"},
		{"a pass starts the count again", 2, 3, "+--+--+---", "+++++++++-"},
		{"passes from down", 3, 1, "-+++", "---+"},
		{"a failure starts the count again", 3, 1, "-++-+++", "------+"},
		{"one is enough", 1, 1, "+-+-", "+-+-"},
		{"zero is one", 0, 0, "-+-", "-+-"},
		{"passes while up do not shorten", 2, 2, "++++-+-", "+++++++"},
		{"failures while down do not shorten", 2, 2, "-----+-+", "u-------"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := Check{Rise: test.rise, Fall: test.fall}
			start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
			s := Status{Since: start}
			var states strings.Builder
			for i, r := range test.results {
				failure := ""
				if r == '-' {
					failure = "broken"
				}
				now := start.Add(time.Duration(i+1) * time.Second)
				before := s
				s = s.after(c, now, time.Millisecond, Answer{}, failure)
				states.WriteByte("u+-"[s.State])
				if changed := s.State != before.State; changed && s.Since != now || !changed && s.Since != before.Since {
					t.Errorf("result %d: since %v, changed %v", i, s.Since, changed)
				}
				if s.Err != failure || s.Checked != now || s.Latency != time.Millisecond {
					t.Errorf("result %d: status %+v", i, s)
				}
			}
			if states.String() != test.states {
				t.Errorf("states %s, want %s", &states, test.states)
			}
		})
	}
}

// The verdict follows from the last results alone: whatever happened before,
// Fall failures in a row mean down and Rise passes in a row mean up.
func TestAfterProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Check{Rise: rapid.IntRange(1, 4).Draw(t, "rise"), Fall: rapid.IntRange(1, 4).Draw(t, "fall")}
		var s Status
		passes, fails := 0, 0
		for range rapid.IntRange(1, 50).Draw(t, "results") {
			before := s.State
			if rapid.Bool().Draw(t, "pass") {
				passes, fails = passes+1, 0
				s = s.after(c, time.Time{}, 0, Answer{}, "")
			} else {
				passes, fails = 0, fails+1
				s = s.after(c, time.Time{}, 0, Answer{}, "broken")
			}
			if s.Passes != passes || s.Fails != fails {
				t.Fatalf("counts %d and %d, want %d and %d", s.Passes, s.Fails, passes, fails)
			}
			switch {
			case passes >= c.Rise && s.State != Up, fails >= c.Fall && s.State != Down,
				before == Up && fails < c.Fall && s.State != Up,
				before == Down && passes < c.Rise && s.State != Down,
				s.State == Unknown && passes > 0:
				t.Fatalf("%v became %v after %d passes and %d failures with %+v", before, s.State, passes, fails, c)
			}
		}
	})
}
