package main

import (
	"fmt"

	"github.com/understudy-ha/understudy/configs"
	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/garp"
	"github.com/understudy-ha/understudy/vrrp"
)

// announcing is what the director tells of the addresses that it holds: they are
// announced, and watched for others who claim them.
type announcing struct {
	announcer *garp.Announcer
	watcher   *garp.Watcher
	plumbed   func(map[string]bool) // is told which virtual routers have all their addresses
	routers   func() []director.VirtualRouter
}

// Set implements director.Announcer.
func (a announcing) Set(claims map[garp.Target]garp.Claim) {
	a.announcer.Set(claims)
	watches := make(map[garp.Target]garp.Watch, len(claims))
	for t := range claims {
		watches[t] = garp.Watch{Timing: garp.DefaultTiming}
	}
	a.watcher.Set(watches)
	plumbed := map[string]bool{}
	for _, r := range a.routers() {
		all := true
		for _, p := range r.Addresses {
			_, held := claims[garp.Target{Link: r.Link, Address: p.Addr()}]
			all = all && held
		}
		plumbed[r.Name] = all
	}
	a.plumbed(plumbed)
}

// conflicts returns the conditions of addresses that somebody else claims, too.
func (d *daemon) conflicts(c *configs.Config) []conditionStatus {
	var list []conditionStatus
	for _, f := range d.watcher.Conflicts() {
		one := conditionStatus{
			Condition: vrrp.ConditionConflict.String(), Interface: f.Target.Link, Peer: f.MAC.String(),
			Detail: fmt.Sprintf("%v is claimed by this hardware address, too (%s)", f.Target.Address, f.Kind),
			Since:  f.First, Last: f.Last, Count: f.Count,
		}
		for _, r := range c.Director.Routers {
			for _, p := range r.Addresses {
				if r.Link == f.Target.Link && p.Addr() == f.Target.Address {
					one.Router = r.Name
				}
			}
		}
		list = append(list, one)
	}
	return list
}
