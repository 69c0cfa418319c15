package vmac

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/director/rtnl"
	"github.com/understudy-ha/understudy/director/sysctl"
)

const (
	// resync bounds how long a change without a hint goes unseen.
	resync = 5 * time.Second
	// The pause after an error doubles from the first to the last.
	firstPause = 100 * time.Millisecond
	lastPause  = resync
	// farewell bounds the removal of what is ours, some 20 ms for each interface.
	farewell = 10 * time.Second
)

// Options are what a Keeper works with.
type Options struct {
	Settings sysctl.Table // nil: the kernel's
	Loans    string       // file for what was changed of the interfaces below; empty: none
	Log      *slog.Logger // nil: none
}

// Keeper keeps the interfaces of virtual MAC addresses as they are wanted.
type Keeper struct {
	log      *slog.Logger
	settings sysctl.Table
	bell     chan struct{}
	hoist    *hoist

	passing sync.Mutex // one pass at a time; guards what follows
	socket  *rtnl.Socket
	loans   loans
	checked map[int]time.Time // by index: when the settings of an interface were good last
	told    string            // what was last logged of errors and troubles

	mu     sync.Mutex // guards what follows; held for moments
	wanted []Device
	ready  map[string]int // index by name, of those that may be up
	status []Status       // of the last pass
}

// Status is what is known of one interface that is wanted.
type Status struct {
	Device Device
	Err    string // why it cannot be used; empty: it can
}

// New returns a Keeper, in the network namespace of the calling thread, that
// wants nothing. Close ends it.
func New(o Options) (*Keeper, error) {
	socket, err := rtnl.Dial()
	if err != nil {
		return nil, err
	}
	hoist, err := newHoist()
	if err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	k := &Keeper{
		log: o.Log, settings: o.Settings, bell: make(chan struct{}, 1), hoist: hoist, socket: socket,
		checked: make(map[int]time.Time), ready: make(map[string]int),
	}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
	if k.settings == nil {
		k.settings = sysctl.Kernel{}
	}
	k.loans = loans{path: o.Loans, table: k.settings}
	return k, nil
}

// Close gives the sockets back. It is not to be called during Run or Check, nor
// while a Table uses it.
func (k *Keeper) Close() error { return errors.Join(k.hoist.socket.Close(), k.socket.Close()) }

// Set makes devices everything that is wanted. It does not block.
func (k *Keeper) Set(devices []Device) {
	devices = slices.Clone(devices)
	k.mu.Lock()
	k.wanted = devices
	maps.DeleteFunc(k.ready, func(name string, _ int) bool {
		return !slices.ContainsFunc(devices, func(d Device) bool { return d.Name == name })
	})
	k.mu.Unlock()
	k.Ring()
}

// Ring tells that any interface may have changed. It does not block.
func (k *Keeper) Ring() {
	select {
	case k.bell <- struct{}{}:
	default:
	}
}

// Status returns what the last pass has found, in the order of Set.
func (k *Keeper) Status() []Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.status)
}

// Run keeps the interfaces in shape until ctx ends; then it removes those that
// are ours, puts back the settings of the interfaces below, and returns what it
// could not do. The addresses are to be gone by then.
func (k *Keeper) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { k.hoist.run(ctx) })
	timer := time.NewTimer(0)
	defer timer.Stop()
	pause := firstPause
	for {
		select {
		case <-ctx.Done():
			wg.Wait()
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
			defer cancel()
			return k.withdraw(ctx)
		case <-k.bell:
		case <-timer.C:
		}
		if k.Check(ctx) == nil {
			pause = firstPause
			timer.Reset(resync)
		} else {
			timer.Reset(pause)
			pause = min(2*pause, lastPause)
		}
	}
}

// Check makes one pass: it lists the interfaces and repairs what differs. The
// error is logged when it changes, and tells what could not be had either.
func (k *Keeper) Check(ctx context.Context) error {
	k.passing.Lock()
	defer k.passing.Unlock()
	k.mu.Lock()
	wanted, were := k.wanted, maps.Clone(k.ready)
	k.mu.Unlock()
	ready, trouble, err := k.pass(ctx, wanted, were)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	k.publish(wanted, ready, trouble, err)
	for _, d := range wanted {
		if why := trouble[d.Name]; why != "" {
			err = errors.Join(err, fmt.Errorf("interface %s for a virtual MAC: %s", d.Name, why))
		}
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != k.told && err != nil {
		k.log.Error("virtual MAC addresses are not as they should be", "err", err)
	} else if text != k.told {
		k.log.Info("virtual MAC addresses are as they should be again")
	}
	k.told = text
	return err
}

// publish makes the outcome of a pass known, unless other devices are wanted by
// now.
func (k *Keeper) publish(wanted []Device, ready map[string]int, trouble map[string]string, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !slices.Equal(wanted, k.wanted) {
		return
	}
	k.ready = ready
	k.status = k.status[:0:0]
	for _, d := range wanted {
		s := Status{Device: d, Err: trouble[d.Name]}
		if _, ok := ready[d.Name]; !ok && s.Err == "" && err != nil {
			s.Err = err.Error()
		}
		k.status = append(k.status, s)
	}
}

// pass does the work of Check. It returns the interfaces that can be used, and
// what is wrong with others.
func (k *Keeper) pass(ctx context.Context, wanted []Device, were map[string]int) (ready map[string]int, trouble map[string]string, err error) {
	// An interface that cannot be made sure of stays ready if it was: a takeover
	// has more use for it than for none.
	ready = were
	errs := []error{k.loans.load()}
	have, err := k.list(ctx)
	if err != nil {
		return ready, nil, errors.Join(append(errs, err)...)
	}
	if len(wanted) > 0 || len(k.loans.now) > 0 {
		errs = append(errs, k.borrow(wanted, have))
	}
	steps, fit, trouble := plan(wanted, have)
	if len(steps) > 0 {
		errs = append(errs, k.carryOut(ctx, steps, were))
		if have, err = k.list(ctx); err != nil {
			return ready, trouble, errors.Join(append(errs, err)...)
		}
		_, fit, trouble = plan(wanted, have)
	}
	ready = make(map[string]int, len(fit))
	now := time.Now()
	checked := make(map[int]time.Time, len(fit))
	for _, d := range wanted {
		index, ok := fit[d.Name]
		if !ok {
			continue
		}
		last, good := k.checked[index]
		if !good || now.Sub(last) >= resync {
			if err := k.adjust(d, good); err != nil {
				errs = append(errs, err)
			} else {
				last, good = now, true
			}
		}
		if good {
			checked[index], ready[d.Name] = last, index
		}
	}
	k.checked = checked
	errs = append(errs, k.hoist.lower(ctx))
	return ready, trouble, errors.Join(errs...)
}

// withdraw removes what is ours and puts back what was changed.
func (k *Keeper) withdraw(ctx context.Context) error {
	k.passing.Lock()
	defer k.passing.Unlock()
	k.mu.Lock()
	k.wanted, k.ready, k.status = nil, map[string]int{}, nil
	k.mu.Unlock()
	_, _, err := k.pass(ctx, nil, nil)
	return err
}

// usable returns the indices of the interfaces that may be up, by name, and the
// names of all that are wanted.
func (k *Keeper) usable() (ready map[string]int, wanted map[string]bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	wanted = make(map[string]bool, len(k.wanted))
	for _, d := range k.wanted {
		wanted[d.Name] = true
	}
	return maps.Clone(k.ready), wanted
}

// why returns why an interface cannot be used.
func (k *Keeper) why(name string) error {
	for _, s := range k.Status() {
		if s.Device.Name == name && s.Err != "" {
			return errors.New(s.Err)
		}
	}
	return errors.New("the interface could not be made")
}
