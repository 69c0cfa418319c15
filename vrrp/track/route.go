package track

import (
	"fmt"
	"net/netip"
	"time"
)

// routeEvent is what a notification means: that a route to a prefix may have
// changed, or, with the zero Prefix, that any may have.
type routeEvent struct{ prefix netip.Prefix }

// route is one next hop of a route of the main table.
type route struct {
	prefix netip.Prefix
	via    netip.Addr // zero: directly connected
	index  int        // of the interface
	dead   bool       // of no use, since its interface is down or without carrier
}

const (
	// routeResync is how often the routes are listed in any case.
	routeResync = 5 * time.Second
	// routeShare bounds the time that listing takes of a large table in which
	// much happens: a fifth.
	routeShare = 5
	// routeQuick is a listing that takes no time worth speaking of.
	routeQuick = 2 * time.Millisecond
)

// routes looks for routes in the main table. IPv4 routes go without notification
// when their interface goes down or loses the address, so news of these counts,
// too. Of a large table only what concerns a target makes it be listed.
type routes struct {
	report func(Target, finding)
	dial   func() (feed[routeEvent], error)
	list   func(v4, v6 bool, wanted func(netip.Prefix) bool) ([]route, error)
	index  func(name string) int // of an interface; 0: there is none
	wanted map[netip.Prefix]bool
	rest   time.Time // not listed again before
}

func newRoutes(report func(Target, finding)) *routes {
	return &routes{report: report, dial: dialRoutes, list: listRoutes, index: interfaceIndex}
}

func (r *routes) subscribe() (feed[routeEvent], error) { return r.dial() }

func (r *routes) look(targets []Target, trouble string) time.Duration {
	r.wanted = make(map[netip.Prefix]bool, len(targets))
	v4, v6 := false, false
	for _, t := range targets {
		r.wanted[t.Prefix] = true
		v4, v6 = v4 || t.Prefix.Addr().Is4(), v6 || t.Prefix.Addr().Is6()
	}
	start := time.Now()
	found, err := r.list(v4, v6, func(p netip.Prefix) bool { return r.wanted[p] })
	took := time.Since(start)
	r.rest = time.Time{}
	if took > routeQuick {
		r.rest = start.Add(routeShare * took)
	}
	if err != nil {
		for _, t := range targets {
			r.report(t, finding{note: err.Error()})
		}
		return max(time.Second, routeShare*took)
	}
	note := ""
	if trouble != "" {
		note = fmt.Sprintf("looked for every %v only: %s", routeResync, trouble)
	}
	for _, t := range targets {
		f := routeFinding(t, found, r.index)
		f.note = note
		r.report(t, f)
	}
	return max(routeResync, routeShare*took)
}

func (r *routes) hear(news []routeEvent) time.Duration {
	for _, e := range news {
		if !e.prefix.IsValid() || r.wanted[e.prefix] {
			return max(0, time.Until(r.rest))
		}
	}
	return never
}

// routeFinding says whether the route t is among those found.
func routeFinding(t Target, found []route, index func(name string) int) finding {
	device := 0
	if t.Device != "" {
		if device = index(t.Device); device == 0 {
			return finding{state: Fail, reason: "there is no interface " + t.Device}
		}
	}
	reason := "there is no such route"
	for _, r := range found {
		switch {
		case r.prefix != t.Prefix:
		case t.Via.IsValid() && r.via != t.Via, device != 0 && r.index != device:
			if reason == "there is no such route" {
				reason = "there is another route to this destination only"
			}
		case r.dead:
			reason = "its interface is down, or without carrier"
		default:
			return finding{state: Pass, reason: "it is in the table"}
		}
	}
	return finding{state: Fail, reason: reason}
}
