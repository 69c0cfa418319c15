package addr

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/director"
)

func TestNetnsManyAddresses(t *testing.T) {
	table := newTable(t)
	const n = 400
	var keys []director.AddrKey
	want := make(addrs)
	for i := range n {
		k := key("va", fmt.Sprintf("10.2.%d.%d/16", i/200, i%200+1))
		if i%2 == 1 {
			k = key("va", fmt.Sprintf("fd00::%x/64", i+1))
		}
		keys = append(keys, k)
		want[k] = ours
	}
	for _, step := range []struct {
		name string
		do   changes
		want addrs
	}{
		{"create 200", create(keys[:200]...), nil},
		{"create the rest", create(keys...), want},
		{"delete all", remove(keys...), addrs{}},
	} {
		start := time.Now()
		apply(t, table, step.do)
		t.Logf("%s: %v", step.name, time.Since(start))
		if step.want != nil {
			checkList(t, table, step.want)
		}
	}
}

// A dump that the kernel marks as interrupted is repeated: no list misses an
// address that was there all the time.
func TestNetnsListDuringChanges(t *testing.T) {
	table := newTable(t)
	const n = 2000
	var keys []director.AddrKey
	for i := range n {
		keys = append(keys, key("va", fmt.Sprintf("10.2.%d.%d/32", i/200, i%200+1)))
	}
	apply(t, table, create(keys...))
	other, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	kick := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		flap := key("va", "10.3.0.1/32")
		for range kick { // one change and back during each list
			if err := errors.Join(other.Apply(t.Context(), create(flap)), other.Apply(t.Context(), remove(flap))); err != nil {
				t.Errorf("Apply: %v", err)
			}
		}
	})
	defer wg.Wait()
	defer close(kick)
	for range 50 {
		kick <- struct{}{}
		list, err := table.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			if list[k] != ours {
				t.Fatalf("the list lacks %v", k)
			}
		}
	}
}
