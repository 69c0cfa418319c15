package vrrp

import (
	"fmt"
	"strconv"
	"time"
)

// appendState appends the words that describe everything a Router remembers
// beside its configuration. Times are offsets from origin; what is zero is left
// out.
func (r *Router) appendState(b []byte, origin time.Time) []byte {
	b = fmt.Appendf(b, "state %v reason=%v", r.status.State, r.status.Reason)
	for _, f := range r.times() {
		if !f.at.IsZero() {
			b = fmt.Appendf(b, " %s=%v", f.key, f.at.Sub(origin))
		}
	}
	for _, f := range r.flags() {
		if *f.set {
			b = fmt.Appendf(b, " %s", f.key)
		}
	}
	if r.status.Epoch > 0 {
		b = fmt.Appendf(b, " epoch=%d", r.status.Epoch)
	}
	if r.status.Repeats > 0 {
		b = fmt.Appendf(b, " repeats=%d", r.status.Repeats)
	}
	if r.leaveFor != ReasonNone {
		b = fmt.Appendf(b, " leave_for=%v", r.leaveFor)
	}
	if r.status.Contests > 0 {
		b = fmt.Appendf(b, " contests=%d", r.status.Contests)
	}
	if r.status.Master.IsValid() {
		b = fmt.Appendf(b, " master=%v", r.status.Master)
	}
	if r.status.MasterPriority > 0 {
		b = fmt.Appendf(b, " master_priority=%d", r.status.MasterPriority)
	}
	if r.status.MasterInterval > 0 {
		b = fmt.Appendf(b, " master_interval=%v", r.status.MasterInterval)
	}
	if r.answers > 0 {
		b = fmt.Appendf(b, " answers=%d", r.answers)
	}
	return b
}

// AppendState appends everything that r remembers beside its configuration, with
// times as offsets from origin: what another process must know to go on as r.
func (r *Router) AppendState(b []byte, origin time.Time) []byte { return r.appendState(b, origin) }

// Restore returns a Router with that configuration and a state that AppendState has
// written, of that configuration or an earlier one.
func Restore(c Config, state string, origin time.Time) (*Router, error) {
	words, err := Fields(state)
	if err != nil || len(words) < 2 || words[0] != "state" {
		return nil, fmt.Errorf("restore %s: %q is not a state", c.Name, state)
	}
	r := New(c)
	if err := r.setState(words[1:], origin); err != nil {
		return nil, fmt.Errorf("restore %s: %w", c.Name, err)
	}
	if !c.Grouped { // any more: nobody would tell it to lead
		r.status.Wants, r.status.Farewell = false, false
	}
	return r, nil
}

// setState is the inverse of appendState, without the word "state".
func (r *Router) setState(words []string, origin time.Time) error {
	if err := index(words[0], stateNames[:], &r.status.State); err != nil {
		return fmt.Errorf("state: %w", err)
	}
next:
	for key, value := range pairs(words[1:]) {
		for _, f := range r.times() {
			if f.key == key {
				offset, err := time.ParseDuration(value)
				if err != nil {
					return fmt.Errorf("state: %s: %w", key, err)
				}
				*f.at = origin.Add(offset)
				continue next
			}
		}
		for _, f := range r.flags() {
			if f.key == key {
				*f.set = true
				continue next
			}
		}
		var err error
		switch key {
		case "reason":
			err = index(value, reasonNames[:], &r.status.Reason)
		case "epoch":
			r.status.Epoch, err = strconv.ParseUint(value, 10, 64)
		case "repeats":
			r.status.Repeats, err = strconv.ParseUint(value, 10, 64)
		case "leave_for":
			err = index(value, reasonNames[:], &r.leaveFor)
		case "contests":
			r.status.Contests, err = strconv.ParseUint(value, 10, 64)
		case "master":
			err = parseAddr(value, &r.status.Master)
		case "master_priority":
			err = parseUint8(value, &r.status.MasterPriority)
		case "master_interval":
			r.status.MasterInterval, err = time.ParseDuration(value)
		case "answers":
			r.answers, err = strconv.Atoi(value)
		default:
			err = fmt.Errorf("unknown key")
		}
		if err != nil {
			return fmt.Errorf("state: %s: %w", key, err)
		}
	}
	return nil
}

type timeField struct {
	key string
	at  *time.Time
}

func (r *Router) times() [10]timeField {
	return [...]timeField{
		{"now", &r.now},
		{"since", &r.status.Since},
		{"timer", &r.timerSet},
		{"lower_since", &r.lowerSince},
		{"next", &r.next},
		{"contested", &r.contested},
		{"leave_by", &r.leaveBy},
		{"repeat", &r.repeat},
		{"repeat_last", &r.repeatLast},
		{"linger", &r.linger},
	}
}

type flagField struct {
	key string
	set *bool
}

func (r *Router) flags() [9]flagField {
	return [...]flagField{
		{"settled", &r.status.Settled},
		{"farewell", &r.farewell},
		{"preempting", &r.preempting},
		{"learnt", &r.learnt},
		{"held", &r.status.Held},
		{"leaving", &r.status.Leaving},
		{"lingering", &r.status.Lingering},
		{"wants", &r.status.Wants},
		{"farewelled", &r.status.Farewell},
	}
}
