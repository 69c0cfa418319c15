package main

import (
	"cmp"
	"context"
	"os"
	"slices"
	"time"

	"github.com/understudy-ha/understudy/configs"
	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/vrrp"
	"github.com/understudy-ha/understudy/vrrp/speaker"
)

// status gathers the daemon's account of itself: what each part knows now.
func (d *daemon) status(ctx context.Context) statusReply {
	config, loaded, refused := d.running()
	kernel := d.director.Status(ctx)
	s := statusReply{
		RouterID: config.RouterID,
		Version:  version(),
		PID:      os.Getpid(),
		Config:   d.file,
		AsOf:     time.Now(),
		Started:  d.started,
		Loaded:   loaded,
		Refused:  refused,
		Routers:  []routerStatus{},
		Services: []serviceStatus{},
		Lanes:    []laneStatus{laneReply("addresses", kernel.AddressLane)},
	}
	for _, w := range config.Warnings {
		s.Warnings = append(s.Warnings, w.String())
	}
	for _, n := range d.notifier.Status() {
		s.Notified = append(s.Notified, notifiedStatus{
			Target: n.Target, Waiting: n.Waiting, Delivered: n.Delivered, Failed: n.Failed, Dropped: n.Dropped,
			Failing: n.Failing, LastError: n.LastError, LastAt: n.LastAt,
		})
	}
	elections := d.elections.status()
	groups := d.elections.groupStates()
	for _, g := range config.Groups {
		s.Groups = append(s.Groups, groupStatus{Name: g.Name, State: groups[g.Name].String(), Members: g.Members})
	}
	for _, r := range config.Routers {
		one := routerReply(r, elections[r.Config.Name], kernel.Addresses)
		one.Routes, one.Rules = routingReply(r.Config.Name, kernel.Routing)
		switch {
		case !elections[r.Config.Name].Held:
		case d.elections.handedAway(r.Config.Name):
			one.PreemptHeld = "handed over by hand; understudy handover --release " + r.Config.Name + " ends that"
		default:
			_, reason := d.sync.Ready(r.ReadyLimit)
			one.PreemptHeld = reason.String()
		}
		one.Tracks = trackReply(d.tracker.Lookup(r.Config.Name))
		if s := elections[r.Config.Name]; s.Config.Priority > 0 {
			one.Effective = s.Config.Priority
		}
		s.Routers = append(s.Routers, one)
		for _, c := range elections[r.Config.Name].Conditions {
			s.Conditions = append(s.Conditions, conditionStatus{
				Condition: c.Condition.String(), Router: r.Config.Name, Interface: r.Link, Peer: c.Peer.String(),
				Detail: c.Detail, Since: c.First, Last: c.Last, Count: c.Count,
			})
		}
	}
	s.Conditions = append(s.Conditions, d.conflicts(config)...)
	if len(kernel.Routing) > 0 || kernel.RouteLane.Err != "" {
		s.Lanes = append(s.Lanes, laneReply("routes", kernel.RouteLane))
	}
	if len(config.Director.Services) > 0 || config.Director.Exclusive {
		lane := laneReply("ipvs", kernel.IPVSLane)
		if lane.Error == "" {
			lane.Error = kernel.CountersErr
		}
		s.Lanes = append(s.Lanes, lane)
	}
	named := map[director.ServerName]bool{}
	for _, v := range kernel.Services {
		s.Services = append(s.Services, serviceReply(v))
		for _, r := range v.Servers {
			named[director.ServerName{Service: v.Name, Server: r.Address}] = true
		}
	}
	s.Uncounted, s.Unheard = kernel.CountersErr, d.metrics.trouble()
	s.Lost = cmp.Or(d.kept.lost(), d.unread)
	for _, o := range d.orders.List() {
		if !named[o.ServerName] {
			s.Orders = append(s.Orders, orderStatus{Service: o.Service, Server: o.Server.String(), Since: o.Since})
		}
	}
	s.Exclusive = config.Director.Exclusive
	s.Sysctl, s.Timeouts = sysctlStatuses(d.tuning.sysctls.Findings()), d.tuning.trouble()
	return s
}

func laneReply(name string, l director.LaneStatus) laneStatus {
	return laneStatus{Name: name, LastPass: l.Began, TookNS: l.Took, Changes: l.Changes, Repairs: l.Repairs, Error: l.Err}
}

func routerReply(r configs.VirtualRouter, e speaker.Status, addresses []director.AddressStatus) routerStatus {
	out := routerStatus{
		Name:           r.Config.Name,
		Interface:      r.Link,
		VRID:           r.Config.VRID,
		Version:        uint8(r.Config.Version),
		Priority:       r.Config.Priority,
		IntervalNS:     r.Config.Interval,
		State:          e.State.String(),
		Since:          e.Since,
		Reason:         e.Reason.String(),
		MasterPriority: e.MasterPriority,
		Leaving:        e.Leaving,
		Group:          r.Group,
		Transitions:    e.Counters.Transitions,
		Takeovers:      e.Epoch,
		Addresses:      []addressStatus{},
		Sent:           e.Counters.Sent,
		Received:       e.Counters.Received,
		SendErrors:     e.Counters.SendErrors,
		LateTicks:      e.Counters.LateTicks,
	}
	if e.Master.IsValid() {
		out.Master = e.Master.String()
	}
	for i, n := range e.Counters.Drops {
		if n > 0 {
			if out.Drops == nil {
				out.Drops = map[string]uint64{}
			}
			out.Drops[vrrp.Drop(i).String()] = n
		}
	}
	for _, a := range addresses {
		if a.Router == r.Config.Name {
			out.Addresses = append(out.Addresses, addressStatus{
				Address: a.Key.Prefix.String(), Wanted: a.Intent == director.Hold || a.Intent == director.Keep && a.Held, Held: a.Held, Error: a.Err,
			})
		}
	}
	return out
}

// routingReply returns the routes and the rules of a virtual router.
func routingReply(name string, all []director.RoutingStatus) (routes, rules []routingStatus) {
	for _, r := range all {
		if r.Router != name {
			continue
		}
		one := routingStatus{Text: r.Key.String(), Wanted: r.Intent == director.Hold, Held: r.Held, Error: r.Err}
		if r.Key.IsRule() {
			rules = append(rules, one)
			continue
		}
		if leads := r.Want.Route.String(); leads != "" {
			one.Text += " " + leads
		}
		routes = append(routes, one)
	}
	return routes, rules
}

func serviceReply(v director.ServiceStatus) serviceStatus {
	out := serviceStatus{
		Name:          v.Name,
		Service:       v.Key.String(),
		Scheduler:     v.Want.Scheduler,
		PersistenceNS: v.Want.Persistence,
		InTable:       v.Held,
		Quorum:        v.Quorum.String(),
		Error:         v.Err,
		Servers:       []serverStatus{},
	}
	for _, r := range v.Servers {
		one := serverStatus{
			Address:   r.Address.String(),
			Forward:   r.Want.Forward.String(),
			Weight:    r.Want.Weight,
			Effective: r.Have.Weight,
			Intent:    r.Intent.String(),
			Reason:    r.Reason.String(),
			Sorry:     r.Sorry,
			Drained:   r.Order.Drain,
			OrderedAt: r.Order.Since,
			Draining:  r.Draining,
			Growing:   r.Growing,
			InTable:   r.Held,
			Health:    "none",
			Active:    r.Counters.Active,
			Inactive:  r.Counters.Inactive,
			Error:     r.Err,
		}
		if r.Order.Weighted {
			one.Ordered = &r.Order.Weight
		}
		if r.Checked {
			one.Health, one.Since, one.LastError = r.Health.State.String(), r.Health.Since, r.Health.Err
		}
		out.Servers = append(out.Servers, one)
	}
	return out
}

// trace returns the flight recorder of a virtual router.
func (d *daemon) trace(router string) (string, bool) {
	config, _, _ := d.running()
	if !slices.ContainsFunc(config.Routers, func(r configs.VirtualRouter) bool { return r.Config.Name == router }) {
		return "", false
	}
	return d.elections.trace(router), true
}
