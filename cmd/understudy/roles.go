package main

import (
	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/vrrp"
	"github.com/understudy-ha/understudy/vrrp/speaker"
)

// status returns what every speaker knows, by the virtual router's name. What a
// speaker tells of a virtual router before it has read the last set is left out.
func (e *elections) status() map[string]speaker.Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := map[string]speaker.Status{}
	for at, one := range e.speakers {
		for _, s := range one.speaker.Status() {
			if e.places[s.Config.Name] == (place{seat: at, vrid: s.Config.VRID}) {
				all[s.Config.Name] = s
			}
		}
	}
	return all
}

// plumbed tells the speakers which virtual routers have their addresses in place.
func (e *elections) plumbed(names map[string]bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, one := range e.speakers {
		one.speaker.SetPlumbed(names)
	}
}

// groupStates returns the state of every group, by its name.
func (e *elections) groupStates() map[string]vrrp.State {
	e.setting.Lock()
	defer e.setting.Unlock()
	states := map[string]vrrp.State{}
	for name, g := range e.groups {
		states[name] = g.speaker.State()
	}
	return states
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
