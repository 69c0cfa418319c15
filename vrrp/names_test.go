package vrrp

import (
	"fmt"
	"strings"
	"testing"
)

// TestNames shows that every value has a name of its own, one word in lower
// case, and that a value out of range does not panic.
func TestNames(t *testing.T) {
	check := func(kind string, n int, name func(i int) string) {
		seen := make(map[string]int)
		for i := range n {
			s := name(i)
			if s == "" || strings.ToLower(s) != s || strings.ContainsAny(s, " (") {
				t.Errorf("%s %d is called %q", kind, i, s)
			}
			if j, ok := seen[s]; ok {
				t.Errorf("%s %d and %d are both called %q", kind, j, i, s)
			}
			seen[s] = i
		}
		if got, want := name(n), fmt.Sprintf("%s(%d)", kind, n); got != want {
			t.Errorf("%s %d is called %q, want %q", kind, n, got, want)
		}
	}
	check("drop", NumDrops, func(i int) string { return Drop(i).String() })
	check("reason", NumReasons, func(i int) string { return Reason(i).String() })
	check("state", len(stateNames), func(i int) string { return State(i).String() })
	if got := V3.String(); got != "3" {
		t.Errorf("version 3 is called %q", got)
	}
}
