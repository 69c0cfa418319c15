package health

import "time"

// after returns the status that follows s when a probe of c ended at now, having
// taken latency; failure is empty if it passed, and only then answer counts: a
// server that fails keeps the weight that it had said.
func (s Status) after(c Check, now time.Time, latency time.Duration, answer Answer, failure string) Status {
	s.Checked, s.Latency, s.Err = now, latency, failure
	state := s.State
	if failure == "" {
		s.Weight, s.Note = answer.Weight, answer.Note
		s.Passes, s.Fails = s.Passes+1, 0
		if s.State == Unknown || s.State == Down && s.Passes >= c.Rise {
			state = Up
		}
	} else {
		s.Passes, s.Fails = 0, s.Fails+1
		if s.Fails >= c.Fall {
			state = Down
		}
	}
	if state != s.State {
		s.State, s.Since = state, now
	}
	return s
}
