package accept

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// fake is a table that counts.
type fake struct {
	have     []netip.Addr
	there    bool
	err      error
	looks    int
	replaced int
}

func (f *fake) same(addresses []netip.Addr) (bool, error) {
	f.looks++
	return f.there == (len(addresses) > 0) && slices.Equal(f.have, addresses), f.err
}

func (f *fake) replace(addresses []netip.Addr) error {
	f.replaced++
	f.have, f.there = addresses, len(addresses) > 0
	return f.err
}

func addresses(list ...string) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func TestKeeper(t *testing.T) {
	f := &fake{}
	var log bytes.Buffer
	k := New(Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	k.rules = f
	check := func(what string, replaced int, logs string) {
		t.Helper()
		log.Reset()
		f.replaced = 0
		err := k.Check()
		if f.replaced != replaced || !strings.Contains(log.String(), logs) || (logs == "") != (log.Len() == 0) {
			t.Errorf("%s: replaced %d times, want %d; error %v, log %q, want %q", what, f.replaced, replaced, err, log.String(), logs)
		}
	}
	check("nothing", 0, "")
	f.there = true
	check("a table that came later is not ours", 0, "")
	f.there = false
	k.Set(addresses("2001:db8::1", "192.0.2.1", "192.0.2.1"))
	check("set", 1, "set")
	check("nothing new", 0, "")
	f.there, f.have = false, nil
	check("flushed", 1, "put back")
	k.Set(addresses("192.0.2.1"))
	check("other addresses", 1, "addresses=1")
	f.err = errors.New("no")
	check("broken", 0, "cannot be enforced")
	check("broken still", 0, "")
	if k.Err() == nil {
		t.Error("Err is nil")
	}
	f.err = nil
	check("again", 0, "is enforced again")
	k.Set(nil)
	check("not wanted any more", 1, "addresses=0")
	f.looks = 0
	check("at rest", 0, "")
	if f.looks > 0 {
		t.Error("it looks although nothing is wanted")
	}
}

// What a killed daemon has left is removed where it is not wanted any more, and
// in the end.
func TestKeeperLeftovers(t *testing.T) {
	f := &fake{there: true, have: addresses("192.0.2.1")}
	k := New(Options{})
	k.rules = f
	if err := k.Check(); err != nil || f.there {
		t.Errorf("Check: %v, the table is there: %v", err, f.there)
	}
	f.there, f.have = true, addresses("192.0.2.1")
	k = New(Options{})
	k.rules = f
	k.Set(f.have)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := k.Run(ctx); err != nil || f.there {
		t.Errorf("Run: %v, the table is there: %v", err, f.there)
	}
}

// A kernel without nftables matters only where something is wanted.
func TestKeeperWithoutNftables(t *testing.T) {
	k := New(Options{})
	k.rules = &fake{err: errors.New("protocol not supported")}
	if err := k.Check(); err != nil {
		t.Errorf("nothing is wanted: %v", err)
	}
	k.Set(addresses("192.0.2.1"))
	if err := k.Check(); err == nil {
		t.Error("no error although an address is wanted")
	}
}
