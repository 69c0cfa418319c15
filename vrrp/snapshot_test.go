package vrrp

import (
	"testing"
	"time"
)

// TestRestoreOfAMemberThatIsNoneAnyMore: what waited for the others of its group
// waits no longer.
func TestRestoreOfAMemberThatIsNoneAnyMore(t *testing.T) {
	grouped := v3(func(c *Config) { c.Grouped = true })
	state := run(t, grouped, asBackup(step{down100, Tick{}, nothing, never})).AppendState(nil, t0)
	for _, tt := range []struct {
		name   string
		config Config
		want   Output
	}{
		{"still one", grouped, nothing},
		{"none", v3(), toMaster(ReasonMasterDown, 100)},
	} {
		r, err := Restore(tt.config, string(state), t0)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if got := r.Step(t0.Add(4*time.Second), Tick{}); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
		if got := r.Deadline().IsZero(); got != tt.config.Grouped {
			t.Errorf("%s: no deadline: %t", tt.name, got)
		}
	}
}
