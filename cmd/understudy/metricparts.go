package main

import (
	"cmp"
	"strconv"
)

func (w metricWriter) daemon(s *statusReply) {
	w.gauge(buildInfo, 1, s.Version)
	w.gauge(directorInfo, 1, s.RouterID)
	w.moment(startTime, s.Started)
	w.moment(configLoaded, s.Loaded)
	w.gauge(configWarnings, float64(len(s.Warnings)))
	w.flag(lastReload, s.Refused == "")
	w.gauge(kernelSettings, float64(len(s.Sysctl)))
}

func (w metricWriter) router(r *routerStatus) {
	labels := []string{r.Name, r.Interface, strconv.Itoa(int(r.VRID))}
	w.oneOf(vrrpState, states, r.State, labels...)
	w.moment(vrrpSince, r.Since, labels...)
	w.gauge(vrrpPriority, float64(cmp.Or(r.Effective, r.Priority)), labels...)
	w.gauge(vrrpConfigured, float64(r.Priority), labels...)
	w.gauge(vrrpInterval, r.IntervalNS.Seconds(), labels...)
	w.flag(vrrpLeaving, r.Leaving, labels...)
	w.counter(vrrpTransitions, r.Transitions, labels...)
	w.counter(vrrpTakeovers, r.Takeovers, labels...)
	w.counter(vrrpSent, r.Sent, labels...)
	w.counter(vrrpReceived, r.Received, labels...)
	w.counter(vrrpSendErrors, r.SendErrors, labels...)
	w.counter(vrrpLateTicks, r.LateTicks, labels...)
	// All of them: the first of a counter that appears with it is lost to rate().
	for _, reason := range drops {
		w.counter(vrrpDrops, r.Drops[reason], labels[0], labels[1], labels[2], reason)
	}
	for _, a := range r.Addresses {
		w.flag(addressWanted, a.Wanted, r.Name, r.Interface, a.Address)
		w.flag(addressHeld, a.Held, r.Name, r.Interface, a.Address)
	}
	w.routing("route", r.Routes, r.Name)
	w.routing("rule", r.Rules, r.Name)
	seen := map[string]bool{}
	for _, t := range r.Tracks {
		if t.State != "unknown" && !seen[t.What] { // one may be tracked with two effects
			seen[t.What] = true
			w.flag(trackPass, t.State == "pass", r.Name, t.What)
		}
	}
}

func (w metricWriter) routing(kind string, all []routingStatus, router string) {
	seen := map[string]bool{}
	for _, r := range all {
		if !seen[r.Text] {
			seen[r.Text] = true
			w.flag(routingWanted, r.Wanted, router, kind, r.Text)
			w.flag(routingHeld, r.Held, router, kind, r.Text)
		}
	}
}

// notified sends one set of series for all targets of one name: a program may be
// there more than once, with other arguments.
func (w metricWriter) notified(all []notifiedStatus) {
	sums := map[string]notifiedStatus{}
	for _, n := range all {
		s := sums[n.Target]
		s.Delivered += n.Delivered
		s.Failed += n.Failed
		s.Dropped += n.Dropped
		s.Waiting += n.Waiting
		s.Failing = s.Failing || n.Failing
		sums[n.Target] = s
	}
	for target, s := range sums {
		w.counter(notifyDelivered, s.Delivered, target)
		w.counter(notifyFailed, s.Failed, target)
		w.counter(notifyDropped, s.Dropped, target)
		w.gauge(notifyWaiting, float64(s.Waiting), target)
		w.flag(notifyFailing, s.Failing, target)
	}
}

// conditions sends each condition once, although a peer may show it for more than
// one address.
func (w metricWriter) conditions(all []conditionStatus) {
	seen := map[[4]string]bool{}
	for _, c := range all {
		labels := [4]string{c.Condition, c.Router, c.Interface, c.Peer}
		if !seen[labels] {
			seen[labels] = true
			w.gauge(vrrpCondition, 1, labels[:]...)
		}
	}
}

func (w metricWriter) service(v *serviceStatus, counted bool) {
	w.oneOf(serviceQuorum, quorums, v.Quorum, v.Name, v.Service)
	w.flag(serviceInTable, v.InTable, v.Name, v.Service)
	for i := range v.Servers {
		r := &v.Servers[i]
		labels := []string{v.Name, v.Service, r.Address}
		if r.Health == "up" || r.Health == "down" {
			w.flag(serverUp, r.Health == "up", labels...)
		}
		w.flag(serverInTable, r.InTable, labels...)
		w.gauge(serverWeight, float64(r.Effective), labels...)
		w.gauge(serverConfigured, float64(r.Weight), labels...)
		w.flag(serverDrained, r.Drained, labels...)
		if counted {
			w.gauge(serverActive, float64(r.Active), labels...)
			w.gauge(serverInactive, float64(r.Inactive), labels...)
		}
	}
}
