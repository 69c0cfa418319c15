package accept

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// resync bounds how long somebody else's change goes unseen.
	resync = 5 * time.Second
	// The pause after an error doubles from the first to the last.
	firstPause = 100 * time.Millisecond
	lastPause  = resync
)

// rules is the way to the kernel's table.
type rules interface {
	// same reports whether the table keeps exactly these addresses out, which
	// are sorted; without any, whether there is no table.
	same(addresses []netip.Addr) (bool, error)
	// replace makes it so at once or not at all.
	replace(addresses []netip.Addr) error
}

// Options are what a Keeper needs.
type Options struct {
	Log *slog.Logger // nil: none
}

// Keeper keeps what is sent to some addresses away from this host.
type Keeper struct {
	log   *slog.Logger
	rules rules
	bell  chan struct{}

	checking sync.Mutex   // one check at a time; guards what follows
	last     []netip.Addr // that the table was seen to have
	known    bool         // there was a check that succeeded: last means something
	told     string       // what was last logged

	mu     sync.Mutex // guards what follows
	wanted []netip.Addr
	err    error // of the last check
}

// New returns a Keeper that wants nothing.
func New(o Options) *Keeper {
	k := &Keeper{log: o.Log, rules: kernel{}, bell: make(chan struct{}, 1)}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
	return k
}

// Set makes addresses all that are kept out. It does not block.
func (k *Keeper) Set(addresses []netip.Addr) {
	addresses = slices.Clone(addresses)
	slices.SortFunc(addresses, netip.Addr.Compare)
	addresses = slices.Compact(addresses)
	k.mu.Lock()
	k.wanted = addresses
	k.mu.Unlock()
	select {
	case k.bell <- struct{}{}:
	default:
	}
}

// Err returns why the addresses are not kept out; nil: they are.
func (k *Keeper) Err() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

// Run keeps the table as it is wanted until ctx ends; then it removes it, and
// returns why that failed. The addresses are to be gone by then. It works in the
// network namespace of the thread that it runs on.
func (k *Keeper) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	pause := firstPause
	for {
		select {
		case <-ctx.Done():
			k.mu.Lock()
			k.wanted = nil
			k.mu.Unlock()
			return k.Check()
		case <-k.bell:
		case <-timer.C:
		}
		if k.Check() == nil {
			pause = firstPause
			timer.Reset(resync)
		} else {
			timer.Reset(pause)
			pause = min(2*pause, lastPause)
		}
	}
}

// Check compares the table with what is wanted, and puts it right. The error is
// logged when it changes.
func (k *Keeper) Check() error {
	k.checking.Lock()
	defer k.checking.Unlock()
	k.mu.Lock()
	wanted := k.wanted
	k.mu.Unlock()
	err := k.check(wanted)
	k.mu.Lock()
	k.err = err
	k.mu.Unlock()
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != k.told && err != nil {
		k.log.Error("accept = false cannot be enforced", "err", err)
	} else if text != k.told {
		k.log.Info("accept = false is enforced again")
	}
	k.told = text
	return err
}

func (k *Keeper) check(wanted []netip.Addr) error {
	if len(wanted) == 0 && k.known && len(k.last) == 0 {
		return nil // a table of this name is not ours then
	}
	same, err := k.rules.same(wanted)
	if err != nil {
		if len(wanted) == 0 && !k.known {
			// Nothing is wanted, and nobody knows of anything of ours: a kernel
			// without nftables is as good as any.
			k.log.Debug("nftables cannot be looked at", "err", err)
			k.known = true
			return nil
		}
		return fmt.Errorf("list nftables: %w", err)
	}
	if !same {
		if err := k.rules.replace(wanted); err != nil {
			return fmt.Errorf("change nftables: %w", err)
		}
		if k.known && slices.Equal(k.last, wanted) {
			k.log.Warn("nftables table for accept = false was changed by somebody else, put back", "table", table)
		} else {
			k.log.Info("nftables table for accept = false set", "table", table, "addresses", len(wanted))
		}
	}
	k.last, k.known = wanted, true
	return nil
}
