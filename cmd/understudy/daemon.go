package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sync/errgroup"

	"github.com/understudy-ha/understudy/configs"
	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/accept"
	"github.com/understudy-ha/understudy/director/addr"
	"github.com/understudy-ha/understudy/director/connsync"
	"github.com/understudy-ha/understudy/director/ipvs"
	"github.com/understudy-ha/understudy/director/link"
	"github.com/understudy-ha/understudy/director/route"
	"github.com/understudy-ha/understudy/director/sysctl"
	"github.com/understudy-ha/understudy/director/vmac"
	"github.com/understudy-ha/understudy/garp"
	"github.com/understudy-ha/understudy/health"
	"github.com/understudy-ha/understudy/vrrp/notify"
	"github.com/understudy-ha/understudy/vrrp/reign"
	"github.com/understudy-ha/understudy/vrrp/track"
)

// daemon ties the election, the checks, the director and the control socket
// together. The parts tell each other only that something has changed; each
// then reads the present state of the others.
type daemon struct {
	file    string
	log     *slog.Logger
	level   *slog.LevelVar
	started time.Time

	links     *link.Watcher
	notifier  *notify.Notifier
	tracker   *track.Tracker
	elections *elections
	monitor   *health.Monitor
	addresses *addr.Table
	devices   *vmac.Keeper // of virtual MAC addresses
	plumbing  *vmac.Table  // addresses, with devices set up and down
	closed    *accept.Keeper
	routes    *route.Table
	table     *ipvs.Table
	announcer *garp.Announcer
	watcher   *garp.Watcher
	director  *director.Director
	orders    *director.Orders
	kept      ordersFile // of orders
	lock      io.Closer  // of kept
	claim     io.Closer  // of the network namespace; nil: it cannot be had
	control   *control
	inherits  *inheritance // from the process before; nil: there is none
	reigns    string       // file of what the process after this one must know
	unread    string       // why orders could not be read, nor put aside
	tuning    *tuning
	metrics   *monitoring
	sync      *connsync.Sync

	reloading   sync.Mutex      // one reload or upgrade at a time
	replacing   sync.RWMutex    // held by an upgrade; guards replacement
	replacement int             // the process that follows; 0: none
	replaced    chan struct{}   // closed when it has taken over
	staying     context.Context // ends when this process is about to stop

	mu      sync.Mutex // guards what follows
	config  *configs.Config
	loaded  time.Time
	refused string // why the last reload was refused
}

// newDaemon opens what the configuration needs and starts nothing.
func newDaemon(file string, config *configs.Config, log *slog.Logger, level *slog.LevelVar, h *inheritance) (*daemon, error) {
	d := &daemon{
		file: file, log: log, level: level, started: time.Now(),
		links:     link.New(log),
		announcer: garp.New(garp.Options{Log: log}),
		notifier:  notify.New(notify.Options{Log: log}),
		watcher:   garp.NewWatcher(garp.WatcherOptions{Log: log}),
		inherits:  h, replaced: make(chan struct{}),
	}
	var err error
	if d.addresses, err = addr.New(); err != nil {
		return nil, err
	}
	if d.routes, err = route.New(); err != nil {
		return nil, err
	}
	ledger := strings.TrimSuffix(config.Socket, filepath.Ext(config.Socket))
	if d.devices, err = vmac.New(vmac.Options{Loans: ledger + ".loans", Log: log}); err != nil {
		return nil, err
	}
	if d.plumbing, err = vmac.NewTable(d.addresses, d.devices); err != nil {
		return nil, err
	}
	d.closed = accept.New(accept.Options{Log: log})
	d.table = ipvs.New()
	if err := d.needs(config); err != nil {
		return nil, err
	}
	d.kept = newOrdersFile(config.State, config.Socket)
	if lock := h.file(ordersFD); lock != nil {
		d.lock = lock
	} else if d.lock, err = d.kept.lock(); err != nil {
		return nil, err
	}
	if d.orders, err = director.NewOrders(d.kept); err != nil {
		log.Error("going on without the orders of operators: drained servers serve again", "err", err)
		if d.kept.lost() == "" {
			d.unread = err.Error()
		}
	}
	d.tuning = newTuning(d.table, sysctl.New(sysctl.Options{Log: log}), log)
	d.tracker = d.newTracker()
	d.elections = newElections(d.links, d.notifier, log, func() {
		d.sync.Ring()
		d.director.RingAddresses() // last: whoever was rung last runs first
	})
	d.reigns = ledger + ".reigns"
	if h.succeeds() {
		// The process before goes on writing its own, and keeps it if it is not followed.
		d.reigns += ".next"
		_ = os.Remove(d.reigns)
	}
	if d.elections.reigns, err = reign.Open(d.reigns); err != nil {
		log.Warn("after a crash this director will start as backup", "err", err)
	}
	d.monitor = health.New(health.Options{Log: log, Bell: func(c health.Check) { d.director.RingCheck(c) }})
	d.director = director.New(director.Options{
		Addresses: d.plumbing,
		Routes:    d.routes,
		IPVS:      d.table,
		Announcer: announcing{
			announcer: d.announcer, watcher: d.watcher, plumbed: d.elections.plumbed,
			routers: func() []director.VirtualRouter {
				c, _, _ := d.running()
				return c.Director.Routers
			},
		},
		Roles:         d.elections.roles,
		Health:        d.monitor.Lookup,
		Orders:        d.orders.Lookup,
		HWAddr:        d.hardware,
		QuorumChanged: d.tracker.Ring,
		Reserved:      map[director.ServiceKey]bool{{Protocol: director.UDP, Address: connsync.ProbeService}: true},
		ServiceLedger: ipvs.NewLedger[director.ServiceKey](ledger + ".services"),
		AddressLedger: ipvs.NewLedger[director.AddrKey](ledger + ".addresses"),
		Log:           log,
	})
	d.links.Changed = func() {
		d.devices.Ring()
		d.director.RingAddresses()
	}
	d.sync = d.newSync()
	d.elections.tracked = d.tracker.Lookup
	d.metrics = newMonitoring(d.status, log)
	d.elections.ready = func(limit time.Duration) bool {
		ready, _ := d.sync.Ready(limit)
		return ready
	}
	d.elections.standby = h.succeeds()
	d.set(config)
	return d, nil
}

// hardware returns the hardware address of an interface, empty if it has none.
func (d *daemon) hardware(name string) string {
	state, _ := d.links.State(name)
	return state.HWAddr.String()
}

// needs reports what the configuration needs of the kernel and cannot have.
func (d *daemon) needs(c *configs.Config) error {
	if err := errors.Join(notify.Check(hearers(c)), track.Check(tracks(c))); err != nil {
		return err
	}
	if len(closed(c)) > 0 {
		if err := accept.Preflight(); err != nil {
			return err
		}
	}
	if len(c.Director.Services) == 0 && !c.Director.Exclusive {
		return nil
	}
	return d.table.Preflight()
}

// set makes a configuration the running one. Each part leaves alone what did
// not change.
func (d *daemon) set(c *configs.Config) {
	d.mu.Lock()
	old := d.config
	d.config, d.loaded, d.refused = c, time.Now(), ""
	d.mu.Unlock()
	d.level.Set(c.Log.Level)
	d.tuning.set(c)
	d.metrics.set(c.Listen)
	d.monitor.Set(checks(c))
	d.sync.Set(syncConfig(c)) // before who asks it whether to wait
	d.notifier.Set(hearers(c))
	d.tracker.Set(tracks(c))
	var links []string
	for _, r := range c.Director.Routers {
		links = append(links, r.Link)
	}
	slices.Sort(links)
	d.announcer.Prepare(slices.Compact(links))
	// Before the director: no role of a virtual router must be taken for that of
	// another one which has its name now.
	wanted, retired := devices(c), retire(devices(old), devices(c))
	d.devices.Set(slices.Concat(wanted, retired)) // before who gives them addresses
	d.closed.Set(slices.Concat(closed(c), closed(old)))
	d.elections.set(c.Routers, c.Groups)
	d.director.Set(c.Director)
	vacated(retired)
	d.devices.Set(wanted)
	d.closed.Set(closed(c))
}

func checks(c *configs.Config) []health.Check {
	var list []health.Check
	for _, s := range c.Director.Services {
		for _, server := range s.Servers {
			if server.Check.Type != health.TypeNone {
				list = append(list, server.Check)
			}
		}
	}
	return list
}

// reload reads the configuration again. An error changes nothing.
func (d *daemon) reload(context.Context) error {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	if pid := d.follower(); pid != 0 {
		return fmt.Errorf("%w: %d; ask again", errReplaced, pid)
	}
	tellManager(d.log, sd.SdNotifyReloading+"\n"+sd.SdNotifyMonotonicUsec())
	defer tellManager(d.log, sd.SdNotifyReady)
	c, err := configs.Load(d.file)
	if err == nil {
		err = d.unchangeable(c)
	}
	if err == nil {
		err = d.needs(c)
	}
	if err != nil {
		err = refusal(d.file, err)
		d.mu.Lock()
		d.refused = err.Error()
		d.mu.Unlock()
		d.log.Error("reload refused, going on as before", "err", err)
		return err
	}
	for _, w := range c.Warnings {
		d.log.Warn(w.String())
	}
	d.set(c)
	d.log.Info("configuration reloaded", "file", d.file)
	return nil
}

// unchangeable reports keys that only a restart can change.
func (d *daemon) unchangeable(c *configs.Config) error {
	var errs []error
	if c.Socket != d.config.Socket {
		errs = append(errs, fmt.Errorf("director.api.socket changed from %s to %s; put it back, or restart the daemon", d.config.Socket, c.Socket))
	}
	if c.State != d.config.State {
		errs = append(errs, fmt.Errorf("director.state changed from %s to %s; put it back, or restart the daemon", d.config.State, c.State))
	}
	if c.Log.Format != d.config.Log.Format {
		errs = append(errs, fmt.Errorf("director.log.format changed from %s to %s; put it back, or restart the daemon", d.config.Log.Format, c.Log.Format))
	}
	return errors.Join(errs...)
}

// run runs every part until ctx ends, then stops them in the order in which a
// client loses least: the farewell, then the routes, the addresses, the services.
func (d *daemon) run(ctx context.Context, socket *control, hangups <-chan os.Signal) error {
	// What stops the parts is not derived from partsCtx: after the failure of one
	// the others keep the order.
	alive := context.WithoutCancel(ctx)
	parts, partsCtx := errgroup.WithContext(alive)
	stopping, stop := context.WithCancel(alive)
	// What is cancelled leaves the kernel tidy, which is not wanted when another
	// process follows.
	var cancels []func()
	defer func() {
		for _, cancel := range cancels {
			cancel()
		}
	}()
	cancels = append(cancels, stop)
	parts.Go(func() error { return d.links.Run(stopping) })
	parts.Go(func() error { return d.monitor.Run(stopping) })
	parts.Go(func() error { return d.tuning.run(stopping) })
	parts.Go(func() error { return d.announcer.Run(stopping) })
	parts.Go(func() error { return d.watcher.Run(stopping) })
	parts.Go(func() error { return d.tracker.Run(stopping) })
	telling, stopTelling := context.WithCancel(alive)
	cancels = append(cancels, stopTelling)
	parts.Go(func() error { return d.notifier.Run(telling) })

	electing, stopElections := context.WithCancel(alive)
	cancels = append(cancels, stopElections)
	elected := make(chan struct{})
	parts.Go(func() error {
		defer close(elected)
		return d.elections.run(electing)
	})
	if d.inherits.succeeds() {
		// Everything that follows is one process's at a time.
		if err := d.succeed(ctx); err != nil {
			stopElections()
			stopTelling()
			stop()
			return errors.Join(err, parts.Wait())
		}
	}
	// A stop waits for no reload: a file may be on a server that does not answer.
	listening, deafen := context.WithCancel(ctx)
	defer deafen()
	d.staying = listening
	parts.Go(func() error { return d.sync.Run(stopping) })
	parts.Go(func() error { return socket.Run(stopping, d) })
	parts.Go(func() error { return d.metrics.Run(stopping) })
	keeping, stopKeeping := context.WithCancel(alive)
	cancels = append(cancels, stopKeeping)
	parts.Go(func() error { return d.devices.Run(keeping) })
	parts.Go(func() error { return d.closed.Run(keeping) })
	directing, stopDirector := context.WithCancel(alive)
	cancels = append(cancels, stopDirector)
	directed := make(chan struct{})
	parts.Go(func() error {
		defer close(directed)
		return d.director.Run(directing)
	})

	config, _, _ := d.running()
	d.log.Info("started", "version", version(), "config", d.file,
		"virtual_routers", len(config.Routers), "services", len(config.Director.Services))
	tellManager(d.log, sd.SdNotifyReady)
	go d.follow(listening, hangups)
	select {
	case <-d.replaced:
	case <-ctx.Done():
	case <-partsCtx.Done(): // a part has failed; the others stop cleanly
	}
	deafen()
	if pid := d.follower(); pid != 0 {
		// The kernel stays as it is: it is the other process's now.
		answering, cancel := context.WithTimeout(alive, time.Second)
		defer cancel()
		socket.finish(answering)
		cancels = nil
		if ctx.Err() != nil { // who said so may know of this process alone
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
		return errReplaced
	}
	tellManager(d.log, sd.SdNotifyStopping)
	d.handOver(alive)
	stopElections()
	<-elected
	stopTelling() // what is queued by now is still told
	stopDirector()
	<-directed
	stopKeeping()
	stop()
	err := errors.Join(parts.Wait(), d.plumbing.Close(), d.devices.Close(), d.addresses.Close(), d.routes.Close(), d.lock.Close())
	d.table.Close()
	d.log.Info("stopped")
	return err
}

// end lets run return: another process has taken over.
func (d *daemon) end() { close(d.replaced) }

// follower returns the process that follows this one; 0: none. An upgrade that is
// under way is waited for.
func (d *daemon) follower() int {
	d.replacing.RLock()
	defer d.replacing.RUnlock()
	return d.replacement
}

// follow makes a reload of each hangup until ctx ends.
func (d *daemon) follow(ctx context.Context, hangups <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			if err := d.reload(ctx); errors.Is(err, errReplaced) {
				_ = syscall.Kill(d.follower(), syscall.SIGHUP)
			} // else it has logged its error
		}
	}
}

// running returns the configuration in force, when it was loaded, and why the
// last reload was refused.
func (d *daemon) running() (c *configs.Config, loaded time.Time, refused string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.config, d.loaded, d.refused
}
