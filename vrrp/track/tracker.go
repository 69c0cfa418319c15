package track

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// Options are what a Tracker needs of its surroundings.
type Options struct {
	// Log receives one record per change of an Item. It may block without any
	// effect on the tracking; what it misses is counted. Nil: none.
	Log *slog.Logger
	// Bell is called without delay after the Result of a virtual router may have
	// changed. It must not block, nor call what follows the interfaces. Nil:
	// nobody listens.
	Bell func()
	// Links follows an interface: it calls f, which does not block, with its
	// state, as soon as that is known and after every change, until stop. Nil:
	// nothing is known of any.
	Links func(name string, f func(exists, up bool)) (stop func())
	// Quorum tells whether a service has its quorum, and whether that is known.
	// It is called from Run only. Nil: nothing is known of any.
	Quorum func(service string) (ok, known bool)
}

// Tracker watches the targets of virtual routers.
type Tracker struct {
	bell    func()
	links   func(name string, f func(exists, up bool)) (stop func())
	quorum  func(service string) (ok, known bool)
	journal *journal

	commands  *commands
	services  wanted
	processes *follower[procEvent]
	files     *follower[fileEvent]
	routes    *follower[routeEvent]

	setting sync.Mutex        // one Set at a time; held longer than mu
	watched map[string]func() // what ends the watch of an interface, by its name

	mu      sync.RWMutex
	routers map[string][]Item
	uses    map[Target][]use
	seen    map[Target]Observation // of every target that was set
}

// use is an Item with the virtual routers that have it.
type use struct {
	item    Item
	routers []string // sorted
}

// New returns a Tracker that watches nothing.
func New(opts Options) *Tracker {
	t := &Tracker{
		bell: opts.Bell, links: opts.Links, quorum: opts.Quorum,
		journal:  newJournal(opts.Log),
		services: newWanted(),
		watched:  map[string]func(){},
	}
	if t.bell == nil {
		t.bell = func() {}
	}
	if t.links == nil {
		t.links = func(string, func(bool, bool)) func() { return func() {} }
	}
	if t.quorum == nil {
		t.quorum = func(string) (bool, bool) { return false, false }
	}
	t.commands = newCommands(t)
	t.processes = newFollower(newProcesses(t.report))
	t.files = newFollower(newFiles(t.report))
	t.routes = newFollower(newRoutes(t.report))
	return t
}

// Set makes the items of routers, by the name of the virtual router, everything
// that is watched. What is known of a Target stays known; a Target that is watched
// or judged otherwise than before keeps its state until the first result. Of a
// new one nothing is known. Set waits for no look at anything, and may be called
// from any goroutine.
func (t *Tracker) Set(routers map[string][]Item) {
	t.setting.Lock()
	defer t.setting.Unlock()
	items := make(map[string][]Item, len(routers))
	uses := map[Target][]use{}
	for _, name := range slices.Sorted(maps.Keys(routers)) {
		items[name] = slices.Clone(routers[name])
		for _, i := range items[name] {
			all := uses[i.Target]
			at := slices.IndexFunc(all, func(u use) bool { return u.item == i })
			if at < 0 {
				at = len(all)
				all = append(all, use{item: i})
			}
			all[at].routers = append(all[at].routers, name)
			uses[i.Target] = all
		}
	}

	now := time.Now()
	t.mu.Lock()
	alike := make(map[Target]Observation, len(t.seen))
	for target, o := range t.seen {
		o.Passes, o.Fails = 0, 0
		alike[target.identity()] = o
	}
	seen := make(map[Target]Observation, len(uses))
	for target := range uses {
		o, ok := t.seen[target]
		if !ok {
			o, ok = alike[target.identity()]
		}
		if !ok {
			o = Observation{Since: now}
		}
		seen[target] = o
	}
	t.routers, t.uses, t.seen = items, uses, seen
	t.mu.Unlock()

	kinds := map[Kind][]Target{}
	for target := range uses {
		kinds[target.Kind] = append(kinds[target.Kind], target)
	}
	t.watchLinks(kinds[Interface])
	t.commands.set(kinds[Command])
	t.services.set(kinds[Service])
	t.processes.set(kinds[Process])
	t.files.set(kinds[File])
	t.routes.set(kinds[Route])
	t.bell()
}

// watchLinks watches the interfaces among targets and no others. The caller holds
// setting, and not mu: a watch reports from within.
func (t *Tracker) watchLinks(targets []Target) {
	stale := maps.Clone(t.watched)
	for _, target := range targets {
		if _, ok := stale[target.Name]; ok {
			delete(stale, target.Name)
			continue
		}
		t.watched[target.Name] = t.links(target.Name, func(exists, up bool) { t.report(target, linkFinding(exists, up)) })
	}
	for name, stop := range stale {
		stop()
		delete(t.watched, name)
	}
}

func linkFinding(exists, up bool) finding {
	switch {
	case !exists:
		return finding{state: Fail, reason: "there is no such interface"}
	case !up:
		return finding{state: Fail, reason: "down, or without carrier"}
	}
	return finding{state: Pass, reason: "up"}
}

// Ring says that the quorum of a service may have changed. It never blocks and
// may be called from any goroutine.
func (t *Tracker) Ring() { t.services.ring() }

// Lookup returns what the items of a virtual router amount to at present; the zero
// Result if it has none. It may be called from any goroutine and holds up nothing.
func (t *Tracker) Lookup(router string) Result {
	t.mu.RLock()
	defer t.mu.RUnlock()
	items := t.routers[router]
	if len(items) == 0 {
		return Result{}
	}
	return Evaluate(items, time.Now(), func(target Target) Observation { return t.seen[target] })
}

// report enters what a look at a target has found out.
func (t *Tracker) report(target Target, f finding) {
	t.update(target, func(o Observation) Observation { return o.found(time.Now(), f) })
}

// update changes what is known of a target, unless it is no longer watched.
func (t *Tracker) update(target Target, change func(Observation) Observation) {
	t.mu.Lock()
	old, ok := t.seen[target]
	if !ok {
		t.mu.Unlock()
		return
	}
	now := change(old)
	t.seen[target] = now
	uses := t.uses[target]
	t.mu.Unlock()
	changed := now.State != old.State || target.Kind == File && now.Number != old.Number
	if changed {
		t.bell()
	}
	if changed || now.Note != old.Note {
		for _, u := range uses {
			t.journal.add(u, old, now)
		}
	}
}

// serviceResync bounds how long a change of a quorum can go unnoticed that nobody
// rang for.
const serviceResync = 2 * time.Second

// Run watches until ctx ends, then ends every command under way and returns nil.
func (t *Tracker) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	parts.Go(func() { t.commands.run(ctx) })
	parts.Go(func() { t.processes.run(ctx) })
	parts.Go(func() { t.files.run(ctx) })
	parts.Go(func() { t.routes.run(ctx) })
	parts.Go(func() { t.followServices(ctx) })
	var writer sync.WaitGroup
	writer.Go(t.journal.write)
	parts.Wait()
	t.setting.Lock()
	t.watchLinks(nil)
	t.setting.Unlock()
	t.journal.close()
	writer.Wait()
	return nil
}

func (t *Tracker) followServices(ctx context.Context) {
	tick := time.NewTicker(serviceResync)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.services.bell:
		case <-tick.C:
		}
		for _, target := range t.services.take() {
			t.report(target, quorumFinding(t.quorum(target.Name)))
		}
	}
}

func quorumFinding(ok, known bool) finding {
	switch {
	case !known:
		return finding{}
	case ok:
		return finding{state: Pass, reason: "it has its quorum"}
	}
	return finding{state: Fail, reason: "it has lost its quorum"}
}
