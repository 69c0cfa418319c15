package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/configs"
	"github.com/understudy-ha/understudy/director/link"
	"github.com/understudy-ha/understudy/vrrp"
	"github.com/understudy-ha/understudy/vrrp/notify"
	"github.com/understudy-ha/understudy/vrrp/reign"
	"github.com/understudy-ha/understudy/vrrp/speaker"
	"github.com/understudy-ha/understudy/vrrp/track"
)

// elections runs one speaker per interface and address family that has virtual
// routers.
type elections struct {
	links    *link.Watcher
	log      *slog.Logger
	bell     func()
	notifier *notify.Notifier
	// ready reports whether a virtual router that waits for it, for so long at
	// most, may preempt. Nil: it may.
	ready func(limit time.Duration) bool
	// tracked reports what tracking does to a virtual router. Nil: nothing.
	tracked func(name string) track.Result
	reigns  *reign.Log    // what the process after this one must know; nil: it starts as backup
	news    chan struct{} // capacity 1: what ready and tracked report may have changed

	setting sync.Mutex // what is told to the speakers, in order; held longer than mu
	routers []configs.VirtualRouter
	groups  map[string]*group
	standby bool                      // until the process before this one has told its states
	adopted map[string]speaker.Frozen // these, by name, until a router moves or goes
	swayed  map[string]sway           // as last told to the speakers, by name

	mu       sync.Mutex
	running  context.Context // nil before run
	speakers map[seat]*election
	places   map[string]place    // of every virtual router that was set, by name
	handed   map[string]handover // of those that were asked to hand over
	wg       sync.WaitGroup
	errs     []error
}

// seat is where a speaker is.
type seat struct {
	link string
	ipv6 bool
}

// place is where a virtual router takes part. A name that has moved from one
// place to another has no role there yet.
type place struct {
	seat seat
	vrid uint8
}

// sway is what influences a virtual router beside its configuration.
type sway struct {
	held     bool // kept from preempting
	fault    vrrp.Reason
	priority uint8
	handover uint64
}

// group is a group of virtual routers, with those that are in it.
type group struct {
	members []string
	speaker *speaker.Group
}

// election is one speaker with what it takes to end it.
type election struct {
	speaker *speaker.Speaker
	unwatch func()
	cancel  context.CancelFunc // nil before run
	ended   chan struct{}
}

func newElections(links *link.Watcher, notifier *notify.Notifier, log *slog.Logger, bell func()) *elections {
	return &elections{
		links: links, notifier: notifier, log: log, bell: bell,
		news: make(chan struct{}, 1), speakers: map[seat]*election{}, groups: map[string]*group{}, handed: map[string]handover{},
	}
}

// ring tells that what ready and tracked report may have changed. It does not
// block.
func (e *elections) ring() {
	select {
	case e.news <- struct{}{}:
	default:
	}
}

// seatOf returns where a virtual router takes part.
func seatOf(r configs.VirtualRouter) seat {
	return seat{link: r.Link, ipv6: len(r.Config.Addresses) > 0 && r.Config.Addresses[0].Is6()}
}

// set hands every speaker its virtual routers, makes the speakers of interfaces
// that are new, and ends those of interfaces that are no longer named. It returns
// when the routers that are gone have been succeeded.
func (e *elections) set(routers []configs.VirtualRouter, groups []configs.Group) {
	e.setting.Lock()
	e.routers = routers
	e.regroup(groups)
	ended, departed := e.apply(e.sway())
	e.setting.Unlock() // what is tracked is passed on meanwhile
	stopAll(ended)
	for _, gone := range departed {
		<-gone
	}
}

// regroup makes the groups those of the configuration. One whose members are the
// same stays as it is.
func (e *elections) regroup(groups []configs.Group) {
	old := e.groups
	e.groups = map[string]*group{}
	for _, g := range groups {
		one := old[g.Name]
		if one == nil || !slices.Equal(one.members, g.Members) {
			one = &group{members: g.Members, speaker: speaker.NewGroup(len(g.Members), e.groupChanged(g.Name))}
		}
		e.groups[g.Name] = one
	}
}

// sway returns what influences each virtual router now. The members of a group
// have one priority, so that what is taken from one is taken from all.
func (e *elections) sway() map[string]sway {
	e.forgive()
	all := map[string]sway{}
	adjust := map[string]int{} // by name
	shared := map[string]int{} // by group
	for _, r := range e.routers {
		s := sway{held: r.PreemptWhenReady && e.ready != nil && !e.ready(r.ReadyLimit)}
		if e.tracked != nil {
			t := e.tracked(r.Config.Name)
			if t.Fault {
				s.fault = vrrp.ReasonTrack
			}
			s.held = s.held || t.Pending
			adjust[r.Config.Name] = t.Adjust
			shared[r.Group] += t.Adjust
		}
		all[r.Config.Name] = s
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.routers {
		s := all[r.Config.Name]
		by := adjust[r.Config.Name]
		if r.Group != "" {
			by = shared[r.Group]
		}
		s.priority = track.Result{Adjust: by}.Priority(r.Config.Priority)
		if h, ok := e.handed[r.Config.Name]; ok {
			s.held, s.handover = s.held || h.holds, h.count
		}
		all[r.Config.Name] = s
	}
	return all
}

// refresh tells the speakers what has changed beside the configuration.
func (e *elections) refresh() {
	e.setting.Lock()
	defer e.setting.Unlock()
	if all := e.sway(); !maps.Equal(all, e.swayed) {
		e.apply(all)
	}
}

// apply hands the speakers what is to be, and returns those that have to end and
// what is closed when routers that are no longer there have left. The caller holds
// setting.
func (e *elections) apply(all map[string]sway) (ended []*election, departed []<-chan struct{}) {
	e.swayed = all
	places := map[string]place{}
	for _, r := range e.routers {
		places[r.Config.Name] = place{seat: seatOf(r), vrid: r.Config.VRID}
	}
	// What has moved, or was gone in between, does not go on from what it was.
	maps.DeleteFunc(e.adopted, func(name string, _ speaker.Frozen) bool { return places[name] != e.places[name] })
	bySeat := map[seat][]speaker.Router{}
	for _, r := range e.routers {
		bySeat[seatOf(r)] = append(bySeat[seatOf(r)], e.router(r, all[r.Config.Name]))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.places = places
	for at, one := range e.speakers {
		if _, ok := bySeat[at]; !ok {
			delete(e.speakers, at)
			ended = append(ended, one)
		}
	}
	for at, list := range bySeat {
		one, ok := e.speakers[at]
		if !ok {
			one = &election{speaker: speaker.New(at.link, speaker.Options{Log: e.log, Bell: e.bell, IPv6: at.ipv6, Reigns: e.reigns, Transition: e.changed}), ended: make(chan struct{})}
			e.speakers[at] = one
		}
		gone := one.speaker.Set(list)
		if ok && one.cancel != nil {
			departed = append(departed, gone)
		}
		if !ok && e.running != nil && e.running.Err() == nil {
			e.start(at, one)
		}
	}
	return ended, departed
}

// router returns what a speaker is told of a virtual router.
func (e *elections) router(r configs.VirtualRouter, s sway) speaker.Router {
	c := r.Config
	c.Hold, c.Priority = s.held, s.priority
	out := speaker.Router{
		Config: c, Source: r.Source, UnicastPeers: r.UnicastPeers,
		PeerTTL: r.PeerTTL, Strict: r.Strict, VirtualMAC: r.VirtualMAC,
		Fault: s.fault, Handovers: s.handover, Standby: e.standby,
	}
	if f, ok := e.adopted[c.Name]; ok && f.VRID == c.VRID && f.Version == c.Version {
		out.Adopt, out.AdoptAt = f.State, f.At
	}
	if g := e.groups[r.Group]; g != nil {
		out.Group, out.Place = g.speaker, slices.Index(g.members, c.Name)
	}
	return out
}

// start runs one speaker. The caller holds the mutex.
func (e *elections) start(at seat, one *election) {
	ctx, cancel := context.WithCancel(e.running)
	one.cancel = cancel
	one.unwatch = e.links.Watch(at.link, one.speaker.SetLink)
	e.wg.Go(func() {
		defer close(one.ended)
		if err := one.speaker.Run(ctx); err != nil {
			e.mu.Lock()
			e.errs = append(e.errs, err)
			e.mu.Unlock()
		}
	})
}

// stopAll ends speakers, all at the same time: each says farewell first, and goes on
// serving until it is succeeded.
func stopAll(all []*election) {
	for _, one := range all {
		if one.cancel != nil {
			one.cancel()
		}
	}
	for _, one := range all {
		if one.cancel != nil {
			<-one.ended
			one.unwatch()
		}
	}
}

// run runs the speakers until ctx ends and every one has left.
func (e *elections) run(ctx context.Context) error {
	e.mu.Lock()
	// Not ctx itself: those on one interface must not end before they are told to.
	e.running = context.WithoutCancel(ctx)
	for at, one := range e.speakers {
		e.start(at, one)
	}
	e.mu.Unlock()
	e.wait(ctx)
	e.mu.Lock()
	over, cancel := context.WithCancel(e.running)
	cancel()
	e.running = over                                    // nobody starts any more
	speakers := slices.Collect(maps.Values(e.speakers)) // which tell of their roles until the end
	e.mu.Unlock()
	stopAll(speakers)
	e.wg.Wait()
	return errors.Join(e.errs...)
}

// refreshEvery is how often readiness is asked for.
const refreshEvery = 250 * time.Millisecond

// wait waits for the end of ctx, and meanwhile passes on what has changed beside the
// configuration.
func (e *elections) wait(ctx context.Context) {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if !e.restless() {
				continue
			}
		case <-e.news:
		}
		e.refresh()
	}
}

// restless reports whether anything may change that does not ring.
func (e *elections) restless() bool {
	e.setting.Lock()
	defer e.setting.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.handed) > 0 || slices.ContainsFunc(e.routers, func(r configs.VirtualRouter) bool { return r.PreemptWhenReady })
}
