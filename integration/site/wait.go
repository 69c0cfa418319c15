package site

import (
	"fmt"
	"time"
)

// pollInterval is short beside what is waited for and long beside what a look
// costs: the machine has other things to do.
const pollInterval = 10 * time.Millisecond

// Wait waits until what holds, for no longer than limit.
func Wait(limit time.Duration, what string, holds func() bool) error {
	for end := time.Now().Add(limit); !holds(); time.Sleep(pollInterval) {
		if time.Now().After(end) {
			return fmt.Errorf("not within %v: %s", limit, what)
		}
	}
	return nil
}

// WaitReady waits until the first director is master, the second backup, and
// both have every server in their tables.
func (s *Site) WaitReady() error {
	limit := 2*s.MasterDown() + 15*time.Second
	return Wait(limit, "master, backup and full tables", func() bool {
		for i, want := range []string{"master", "backup"} {
			if s.LB[i].State() != want || s.LB[i].Serving() != len(s.Servers) {
				return false
			}
		}
		return true
	})
}
