package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestClaim shows that a network namespace has one director at a time.
func TestClaim(t *testing.T) {
	name := fmt.Sprintf("@understudy/test/%d", os.Getpid())
	first, err := claimNamespace(name)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("process %d directs this network namespace already", os.Getpid())
	if second, err := claimNamespace(name); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("second claim: %v, %v; want the error %q", second, err, want)
	}
	first.Close()
	third, err := claimNamespace(name)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	third.Close()
}
