package main

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/configs"
	"github.com/understudy-ha/understudy/director/link"
	"github.com/understudy-ha/understudy/vrrp"
	"github.com/understudy-ha/understudy/vrrp/notify"
	"github.com/understudy-ha/understudy/vrrp/speaker"
)

func virtualRouter(name, link string, vrid uint8) configs.VirtualRouter {
	return configs.VirtualRouter{Config: vrrp.Config{Name: name, VRID: vrid, Version: vrrp.V3, Priority: 100}, Link: link}
}

// TestRolesAreOfThePlace shows that a name that moves to another interface or
// VRID brings no role along: what a speaker tells before it has read the new
// configuration is about another virtual router.
func TestRolesAreOfThePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		e := newElections(link.New(log), notify.New(notify.Options{}), log, nil)
		e.set([]configs.VirtualRouter{virtualRouter("a", "eth0", 51), virtualRouter("b", "eth0", 52), virtualRouter("c", "eth1", 51)}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- e.run(ctx) }()
		synctest.Wait()
		for _, one := range e.speakers {
			one.speaker.SetLink(link.State{}) // there is no such interface
		}
		synctest.Wait()

		roles := func() []string { return slices.Sorted(maps.Keys(e.roles())) }
		if diff := cmp.Diff([]string{"a", "b", "c"}, roles()); diff != "" {
			t.Errorf("at first: -want +got\n%s", diff)
		}
		// As set does first, while the speakers still tell the old.
		e.mu.Lock()
		e.places = map[string]place{"a": {seat{link: "eth0"}, 52}, "b": {seat{link: "eth1"}, 52}, "c": {seat{link: "eth1"}, 51}}
		e.mu.Unlock()
		if diff := cmp.Diff([]string{"c"}, roles()); diff != "" {
			t.Errorf("in between: -want +got\n%s", diff)
		}
		e.set([]configs.VirtualRouter{virtualRouter("a", "eth0", 52), virtualRouter("b", "eth1", 52), virtualRouter("c", "eth1", 51)}, nil)
		synctest.Wait()
		if diff := cmp.Diff([]string{"a", "b", "c"}, roles()); diff != "" {
			t.Errorf("in the end: -want +got\n%s", diff)
		}

		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		// A reload that comes too late starts nothing that nobody would end.
		e.set([]configs.VirtualRouter{virtualRouter("d", "eth2", 51)}, nil)
		if one := e.speakers[seat{link: "eth2"}]; one == nil || one.cancel != nil {
			t.Errorf("a speaker runs after the end: %+v", one)
		}
	})
}

// TestAdoptedStatesAreOfThePlace: a reload soon after an upgrade moves a virtual
// router; it does not go on as master where nobody has listened.
func TestAdoptedStatesAreOfThePlace(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	e := newElections(link.New(log), notify.New(notify.Options{}), log, nil)
	e.standby = true
	e.set([]configs.VirtualRouter{virtualRouter("a", "eth0", 51), virtualRouter("b", "eth0", 52), virtualRouter("c", "eth0", 53)}, nil)
	states := map[string]speaker.Frozen{}
	for i, name := range []string{"a", "b", "c"} {
		states[name] = speaker.Frozen{Name: name, VRID: uint8(51 + i), Version: vrrp.V3, State: "state master reason=master-down"}
	}
	e.adopt(states, nil)
	adopts := func() (names []string) {
		for _, r := range e.routers {
			if e.router(r, sway{}).Adopt != "" {
				names = append(names, r.Config.Name)
			}
		}
		return names
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, adopts()); diff != "" {
		t.Errorf("at first: -want +got\n%s", diff)
	}
	e.set([]configs.VirtualRouter{virtualRouter("a", "eth0", 51), virtualRouter("b", "eth1", 52)}, nil)
	e.set([]configs.VirtualRouter{virtualRouter("a", "eth0", 51), virtualRouter("b", "eth1", 52), virtualRouter("c", "eth0", 53)}, nil)
	if diff := cmp.Diff([]string{"a"}, adopts()); diff != "" {
		t.Errorf("after reloads: -want +got\n%s", diff)
	}
}
