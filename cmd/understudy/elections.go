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
	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/link"
	"github.com/understudy-ha/understudy/vrrp"
	"github.com/understudy-ha/understudy/vrrp/speaker"
)

// elections runs one speaker per interface that has virtual routers.
type elections struct {
	links *link.Watcher
	log   *slog.Logger
	bell  func()
	// ready reports whether a virtual router that waits for it, for so long at
	// most, may preempt. Nil: it may.
	ready func(limit time.Duration) bool

	setting sync.Mutex // one set at a time; held longer than mu
	routers []configs.VirtualRouter
	held    map[string]bool // virtual routers that are kept from preempting, by name

	mu       sync.Mutex
	running  context.Context // nil before run
	speakers map[string]*election
	places   map[string]place // of every virtual router that was set, by name
	wg       sync.WaitGroup
	errs     []error
}

// place is where a virtual router takes part. A name that has moved from one
// place to another has no role there yet.
type place struct {
	link string
	vrid uint8
}

// election is one speaker with what it takes to end it.
type election struct {
	speaker *speaker.Speaker
	unwatch func()
	cancel  context.CancelFunc // nil before run
	ended   chan struct{}
}

func newElections(links *link.Watcher, log *slog.Logger, bell func()) *elections {
	return &elections{links: links, log: log, bell: bell, speakers: map[string]*election{}}
}

// set hands every speaker its virtual routers, makes the speakers of interfaces
// that are new, and ends those of interfaces that are no longer named. It returns
// when the routers that are gone have been succeeded.
func (e *elections) set(routers []configs.VirtualRouter) {
	e.setting.Lock()
	defer e.setting.Unlock()
	e.apply(routers, e.unready(routers))
}

// unready returns which of the routers are to be kept from preempting.
func (e *elections) unready(routers []configs.VirtualRouter) map[string]bool {
	held := map[string]bool{}
	for _, r := range routers {
		if r.PreemptWhenReady && e.ready != nil && !e.ready(r.ReadyLimit) {
			held[r.Config.Name] = true
		}
	}
	return held
}

// release lets virtual routers preempt for which this director has become ready.
func (e *elections) release() {
	e.setting.Lock()
	defer e.setting.Unlock()
	if held := e.unready(e.routers); !maps.Equal(held, e.held) {
		e.apply(e.routers, held)
	}
}

// apply does the work of set. The caller holds setting.
func (e *elections) apply(routers []configs.VirtualRouter, held map[string]bool) {
	e.routers, e.held = routers, held
	byLink := map[string][]speaker.Router{}
	places := map[string]place{}
	for _, r := range routers {
		places[r.Config.Name] = place{link: r.Link, vrid: r.Config.VRID}
		c := r.Config
		c.Hold = held[c.Name]
		byLink[r.Link] = append(byLink[r.Link], speaker.Router{Config: c, Source: r.Source, UnicastPeers: r.UnicastPeers})
	}
	e.mu.Lock()
	e.places = places
	var ended []*election
	var departed []<-chan struct{}
	for name, one := range e.speakers {
		if _, ok := byLink[name]; !ok {
			delete(e.speakers, name)
			ended = append(ended, one)
		}
	}
	for name, list := range byLink {
		one, ok := e.speakers[name]
		if !ok {
			one = &election{speaker: speaker.New(name, speaker.Options{Log: e.log, Bell: e.bell}), ended: make(chan struct{})}
			e.speakers[name] = one
		}
		gone := one.speaker.Set(list)
		if ok && one.cancel != nil {
			departed = append(departed, gone)
		}
		if !ok && e.running != nil && e.running.Err() == nil {
			e.start(name, one)
		}
	}
	e.mu.Unlock()
	stopAll(ended)
	for _, gone := range departed {
		<-gone
	}
}

// start runs one speaker. The caller holds the mutex.
func (e *elections) start(name string, one *election) {
	ctx, cancel := context.WithCancel(e.running)
	one.cancel = cancel
	one.unwatch = e.links.Watch(name, one.speaker.SetLink)
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

// run runs the speakers until ctx ends and every one has said farewell.
func (e *elections) run(ctx context.Context) error {
	e.mu.Lock()
	e.running = ctx
	for name, one := range e.speakers {
		e.start(name, one)
	}
	e.mu.Unlock()
	e.wait(ctx)
	e.mu.Lock()
	speakers := maps.Clone(e.speakers) // which tell of their roles until the end
	e.mu.Unlock()
	stopAll(slices.Collect(maps.Values(speakers)))
	e.wg.Wait()
	return errors.Join(e.errs...)
}

// releaseEvery is how often readiness is asked for.
const releaseEvery = 250 * time.Millisecond

// wait waits for the end of ctx, and meanwhile releases what waits for readiness.
func (e *elections) wait(ctx context.Context) {
	tick := time.NewTicker(releaseEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			e.release()
		}
	}
}

// status returns what every speaker knows, by the virtual router's name. What a
// speaker tells of a virtual router before it has read the last set is left out.
func (e *elections) status() map[string]speaker.Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := map[string]speaker.Status{}
	for _, one := range e.speakers {
		for _, s := range one.speaker.Status() {
			if e.places[s.Config.Name] == (place{link: s.Link, vrid: s.Config.VRID}) {
				all[s.Config.Name] = s
			}
		}
	}
	return all
}

// roles returns the role of every virtual router, for the director.
func (e *elections) roles() map[string]director.RoleState {
	roles := map[string]director.RoleState{}
	for name, s := range e.status() {
		roles[name] = director.RoleState{Role: role(s.Status), Epoch: s.Status.Epoch + s.Status.Contests + s.Status.Repeats}
	}
	return roles
}

// role says what a state of the election means for the addresses. Until the
// election has settled nobody knows who is master, and what a killed
// predecessor left in the kernel goes on serving.
func role(s vrrp.Status) director.Role {
	switch {
	case s.State == vrrp.StateMaster:
		return director.RoleMaster
	case s.Lingering:
		return director.RoleYielding
	case s.State == vrrp.StateFault:
		return director.RoleFault
	case s.State == vrrp.StateBackup && s.Settled:
		return director.RoleBackup
	}
	return director.RoleUnknown
}

// trace returns the flight recorder of a virtual router.
func (e *elections) trace(name string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, one := range e.speakers {
		if text := one.speaker.Trace(name); text != "" {
			return text
		}
	}
	return ""
}
