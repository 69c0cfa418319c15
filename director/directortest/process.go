package directortest

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
)

// ErrKilled is what everything returns to a process that is dead.
var ErrKilled = errors.New("the process was killed")

// Process is the view that one run of a director has of a Kernel.
type Process struct {
	kernel *Kernel
	left   atomic.Int64 // writes until it is killed; negative: dead
}

// Process returns one that lives.
func (k *Kernel) Process() *Process {
	p := &Process{kernel: k}
	p.left.Store(1 << 62)
	return p
}

// KillAfter kills the process before the write that follows n more.
func (p *Process) KillAfter(n int) { p.left.Store(int64(n)) }

// Dead reports whether the process was killed.
func (p *Process) Dead() bool { return p.left.Load() < 0 }

// Addresses returns the addresses as a table.
func (p *Process) Addresses() *Addresses { return &Addresses{p} }

// IPVS returns the IPVS table.
func (p *Process) IPVS() *IPVS { return &IPVS{p} }

// ServiceLedger returns the ledger of the services.
func (p *Process) ServiceLedger() director.Ledger[director.ServiceKey] {
	return ledger[director.ServiceKey]{p, func(f *files) *[]director.ServiceKey { return &f.services }}
}

// AddressLedger returns the ledger of the addresses.
func (p *Process) AddressLedger() director.Ledger[director.AddrKey] {
	return ledger[director.AddrKey]{p, func(f *files) *[]director.AddrKey { return &f.addresses }}
}

// write runs one writing operation if the process lives.
func (p *Process) write(op func() error) error {
	if p.Dead() || p.left.Add(-1) < 0 {
		return ErrKilled
	}
	return p.kernel.do(op)
}

// ready takes the kernel's lock if the process lives and ctx has not ended.
func (p *Process) ready(ctx context.Context) error {
	if p.Dead() {
		return ErrKilled
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	p.kernel.mu.Lock()
	return nil
}

// apply carries out changes and joins the failures.
func apply[K, V comparable](ctx context.Context, p *Process, changes []director.Change[K, V], one func(director.Change[K, V]) error) error {
	var errs []error
	for _, c := range changes {
		err := p.ready(ctx)
		if err == nil {
			err = one(c)
			p.kernel.mu.Unlock()
		}
		if err != nil {
			errs = append(errs, &director.ChangeError[K]{Op: c.Op, Key: c.Key, Err: err})
		}
	}
	return errors.Join(errs...)
}

// Addresses is the model as the table of addresses.
type Addresses struct{ p *Process }

var _ director.Table[director.AddrKey, director.AddrSpec] = (*Addresses)(nil)

// Tags reports whether the kernel keeps tags, as that of an address of its own shows.
func (t *Addresses) Tags() bool { return t.p.kernel.tags }

// List returns the addresses.
func (t *Addresses) List(ctx context.Context) (map[director.AddrKey]director.AddrSpec, error) {
	if err := t.p.ready(ctx); err != nil {
		return nil, err
	}
	defer t.p.kernel.mu.Unlock()
	if errno, fails := t.p.kernel.fails(); fails {
		return nil, errno
	}
	return maps.Clone(t.p.kernel.addrs), nil
}

// Apply carries out changes.
func (t *Addresses) Apply(ctx context.Context, changes []AddressChange) error {
	k := t.p.kernel
	return apply(ctx, t.p, changes, func(c AddressChange) error {
		switch c.Op {
		case director.Create:
			err := t.p.write(func() error { return k.addAddress(c.Key, c.New) })
			return unless(err, unix.EEXIST)
		case director.Delete:
			return unless(t.p.write(func() error { return k.deleteAddress(c.Key) }), unix.EADDRNOTAVAIL)
		}
		return t.p.write(func() error {
			if _, ok := k.addrs[c.Key]; !ok {
				return unix.EADDRNOTAVAIL
			}
			k.addrs[c.Key] = director.AddrSpec{Ours: c.New.Ours && k.tags}
			k.addressJournal = append(k.addressJournal, c)
			return nil
		})
	})
}

// IPVS is the model as the IPVS table.
type IPVS struct{ p *Process }

var (
	_ director.Balancer = (*IPVS)(nil)
	_ director.Counter  = (*IPVS)(nil)
)

// List returns the entries; some of them, if a fault has it so.
func (t *IPVS) List(ctx context.Context) (map[director.Key]director.Spec, error) {
	if err := t.p.ready(ctx); err != nil {
		return nil, err
	}
	k := t.p.kernel
	defer k.mu.Unlock()
	if errno, fails := k.fails(); fails {
		return nil, errno
	}
	list := maps.Clone(k.table)
	if _, fails := k.fails(); fails {
		for _, key := range slices.SortedFunc(maps.Keys(list), director.Key.Compare) {
			if k.faults.IntN(2) == 0 {
				delete(list, key)
			}
		}
	}
	return list, nil
}

// Counters returns those of every server.
func (t *IPVS) Counters(ctx context.Context) (map[director.Key]director.Counters, error) {
	if err := t.p.ready(ctx); err != nil {
		return nil, err
	}
	k := t.p.kernel
	defer k.mu.Unlock()
	if errno, fails := k.fails(); fails {
		return nil, errno
	}
	counters := map[director.Key]director.Counters{}
	for key := range k.table {
		if !key.IsService() {
			counters[key] = k.count[key]
		}
	}
	return counters, nil
}

// Connections returns those of the servers of one service.
func (t *IPVS) Connections(ctx context.Context, service director.ServiceKey) (map[netip.AddrPort]director.Counters, error) {
	all, err := t.Counters(ctx)
	if err != nil {
		return nil, err
	}
	counters := map[netip.AddrPort]director.Counters{}
	for key, c := range all {
		if key.Service == service {
			counters[key.Server] = c
		}
	}
	return counters, nil
}

// Apply carries out changes.
func (t *IPVS) Apply(ctx context.Context, changes []EntryChange) error {
	return apply(ctx, t.p, changes, t.one)
}

func (t *IPVS) one(c EntryChange) error {
	k, e := t.p.kernel, c.Key
	create, set, del := func() error { return k.newService(e.Service, c.New.Service) },
		func() error { return k.setService(e.Service, c.New.Service) },
		func() error { return k.deleteService(e.Service) }
	missing := unix.ESRCH
	if !e.IsService() {
		if c.Op != director.Delete && refused(e, c.New.Server) != nil {
			return refused(e, c.New.Server)
		}
		create, set, del = func() error { return k.newServer(e, c.New.Server) },
			func() error { return k.setServer(e, c.New.Server) },
			func() error { return k.deleteServer(e) }
		missing = unix.ENOENT
	}
	switch c.Op {
	case director.Create:
		k.rival(func() {
			if e.IsService() {
				_ = k.newService(e.Service, director.ServiceSpec{Scheduler: "rival"})
			} else {
				_ = k.newServer(e, director.ServerSpec{Weight: 7})
			}
		})
		err := t.p.write(create)
		if errors.Is(err, unix.EEXIST) {
			err = t.p.write(set)
		}
		return err
	case director.Update:
		err := t.p.write(set)
		if errors.Is(err, missing) {
			err = t.p.write(create)
		}
		return err
	}
	return unless(unless(t.p.write(del), unix.ESRCH), unix.ENOENT)
}

// rival lets someone else come first, if a fault has it so.
func (k *Kernel) rival(create func()) {
	if _, fails := k.fails(); fails {
		journal := k.entryJournal
		create()
		k.entryJournal = journal
	}
}

func unless(err error, errno unix.Errno) error {
	if errors.Is(err, errno) {
		return nil
	}
	return err
}

// ledger is one file of the model.
type ledger[K comparable] struct {
	p    *Process
	file func(*files) *[]K
}

func (l ledger[K]) Load() ([]K, error) {
	if err := l.p.ready(context.Background()); err != nil {
		return nil, err
	}
	defer l.p.kernel.mu.Unlock()
	return slices.Clone(*l.file(&l.p.kernel.files)), nil
}

func (l ledger[K]) Store(keys []K) error {
	if err := l.p.ready(context.Background()); err != nil {
		return err
	}
	defer l.p.kernel.mu.Unlock()
	if l.p.left.Add(-1) < 0 {
		return ErrKilled
	}
	*l.file(&l.p.kernel.files) = slices.Clone(keys)
	return nil
}
