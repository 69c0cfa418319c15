package director

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/understudy-ha/understudy/garp"
	"github.com/understudy-ha/understudy/health"
)

const (
	defaultResync = 2 * time.Second
	firstRetry    = 100 * time.Millisecond
	lastRetry     = 5 * time.Second
	firstAhead    = 4                      // creations in the first batch ahead of a listing; then four times as many each time
	farewell      = 5 * time.Second        // for each lane to remove what is ours
	routesFirst   = 250 * time.Millisecond // of it, in which the addresses wait for the routes
)

// Announcer tells the neighbours about addresses. Set replaces what it is to
// announce and does not block.
type Announcer interface {
	Set(claims map[garp.Target]garp.Claim)
}

// Options are what a Director works with.
type Options struct {
	Addresses Table[AddrKey, AddrSpec]
	Routes    Table[RoutingKey, RoutingSpec] // nil: routes and rules cannot be had
	IPVS      Balancer                       // nil: services cannot be had; not used while there are none
	Announcer Announcer                      // nil: nobody is told

	// Roles and Health report the present state without blocking, from any
	// goroutine. A virtual router that is not in the map is RoleUnknown.
	Roles  func() map[string]RoleState
	Health func(health.Check) health.Status
	// Orders reports what operators want of a server, like Roles. Nil: nothing.
	Orders func(ServerName) Order

	// Reserved are services that other parts of this program keep: with
	// Config.Exclusive too they are left alone, unless a configuration names them.
	Reserved map[ServiceKey]bool

	// HWAddr reports the present hardware address of an interface, empty if it is
	// not known, like Roles. A change announces again what the interface holds:
	// the neighbours know the old one. Nil: it does not change.
	HWAddr func(link string) string

	// The ledgers of the services and of the addresses; nil: what this
	// process creates is remembered only as long as it runs.
	ServiceLedger Ledger[ServiceKey]
	AddressLedger Ledger[AddrKey]

	// QuorumChanged is called, without blocking, when a service may have gained or
	// lost its quorum. Nil: nobody asks.
	QuorumChanged func()

	Log    *slog.Logger  // nil: discarded
	Resync time.Duration // the longest time between two looks at the kernel; 0: 2 s; a large IPVS table is looked at less often
}

// Director keeps the kernel as the configuration, the roles and the health want
// it.
type Director struct {
	options   Options
	config    atomic.Pointer[Config]
	addresses *lane[AddrKey, AddrSpec]
	routes    *lane[RoutingKey, RoutingSpec]
	entries   *entryLane
}

// New returns a Director that does nothing until Run, and then nothing until
// Set.
func New(o Options) *Director {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Resync <= 0 {
		o.Resync = defaultResync
	}
	if o.Roles == nil {
		o.Roles = func() map[string]RoleState { return nil }
	}
	if o.Health == nil {
		o.Health = func(health.Check) health.Status { return health.Status{} }
	}
	if o.Orders == nil {
		o.Orders = func(ServerName) Order { return Order{} }
	}
	if o.HWAddr == nil {
		o.HWAddr = func(string) string { return "" }
	}
	d := &Director{options: o}
	d.addresses = newLane(addressKind(), o.Addresses, d.addressRules(), o.Resync, o.Log.With("lane", "addresses"))
	d.routes = newLane(routingKind(), o.Routes, &routingRules{director: d, left: true}, o.Resync, o.Log.With("lane", "routes"))
	// A route may need its address, or a network that comes with one.
	d.addresses.moved = d.routes.ring
	d.entries = newEntryLane(o, o.Log.With("lane", "ipvs"))
	return d
}

// Set replaces the configuration, which must not be changed afterwards. It may
// be called from any goroutine, before Run too.
func (d *Director) Set(c Config) {
	d.config.Store(&c)
	d.entries.set(&c)
	d.addresses.ring()
}

// RingServices tells that anything about the services may have changed. It does
// not block.
func (d *Director) RingServices() { d.entries.hint(func(h *hints) { h.all = true }) }

// RingCheck tells that the verdict on one check has changed.
func (d *Director) RingCheck(c health.Check) {
	d.entries.hint(func(h *hints) { h.checks = append(h.checks, c) })
}

// RingAddresses tells the lane of the addresses that a role has changed, or the
// kernel's addresses have. The lane of the routes is told after it has looked. No
// service depends on either.
func (d *Director) RingAddresses() { d.addresses.ring() }

// Attend has a service looked at and returns when the kernel holds what it
// should, or why it does not.
func (d *Director) Attend(ctx context.Context, service string) error {
	return d.entries.attend(ctx, service)
}

// Quorum reports whether a service has its quorum. It does not block.
func (d *Director) Quorum(service string) Quorum {
	d.entries.mu.Lock()
	defer d.entries.mu.Unlock()
	if d.entries.roster == nil || d.entries.roster.byName[service] == nil {
		return QuorumUnknown
	}
	return d.entries.roster.byName[service].quorum
}

// Loaded reports whether the IPVS table holds what it should, or nothing is
// wanted of it.
func (d *Director) Loaded() bool {
	config := d.config.Load()
	if config == nil || len(config.Services) == 0 {
		return config != nil
	}
	d.entries.mu.Lock()
	defer d.entries.mu.Unlock()
	return d.entries.loaded && d.entries.next == nil
}

// Run keeps the kernel in shape until ctx ends; then it removes our routes and
// rules, after them our addresses, after these our services, within 5 s each, and
// returns what could not be removed. Addresses that nobody wants do more harm
// than routes: they wait for routes that cannot be removed 250 ms at most.
func (d *Director) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	var lost [2]error
	routed := make(chan struct{})
	wg.Go(func() {
		defer close(routed)
		d.routes.run(ctx)
		lost[0] = d.leave(ctx, d.routes.withdraw)
	})
	wg.Go(func() {
		d.addresses.run(ctx)
		select {
		case <-routed:
		case <-time.After(routesFirst):
		}
		lost[1] = d.leave(ctx, d.addresses.withdraw)
	})
	d.entries.run(ctx)
	// The services go after the addresses: while a client can reach us, there
	// is something that answers.
	wg.Wait()
	return errors.Join(lost[0], lost[1], d.leave(ctx, d.entries.withdraw))
}

// leave runs withdraw with the time that it has.
func (d *Director) leave(ctx context.Context, withdraw func(context.Context) error) error {
	if d.config.Load() == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	return withdraw(ctx)
}
