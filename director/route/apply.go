package route

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/link"
)

// Apply carries out the changes. Creating what exists succeeds, and leaves what
// is somebody else's as it is: a route of theirs that leads elsewhere is an error
// (EEXIST), one of ours is replaced. Deleting what is absent succeeds, and what
// does not carry our tag stays.
func (t *Table) Apply(ctx context.Context, changes []director.Change[director.RoutingKey, director.RoutingSpec]) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := &application{Table: t, ctx: ctx}
	var names []string
	for _, c := range changes {
		if name := c.New.Route.Link; name != "" && c.Op != director.Delete {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var err error
	if a.indexes, err = t.socket.Indexes(ctx, slices.Compact(names)); err != nil {
		return err
	}
	for len(changes) > 0 {
		deletes, rules := changes[0].Op == director.Delete, changes[0].Key.IsRule()
		n := slices.IndexFunc(changes, func(c change) bool {
			return (c.Op == director.Delete) != deletes || c.Key.IsRule() != rules
		})
		if n < 0 {
			n = len(changes)
		}
		switch {
		case rules && deletes:
			a.deleteRules(changes[:n])
		case rules:
			a.createRules(changes[:n])
		case deletes:
			a.deleteRoutes(changes[:n])
		default:
			a.createRoutes(changes[:n])
		}
		changes = changes[n:]
	}
	return errors.Join(a.errs...)
}

// application is one Apply.
type application struct {
	*Table
	ctx     context.Context
	indexes map[string]int // of the interfaces that routes are to lead over
	errs    []error
}

func (a *application) fail(c change, err error) {
	a.errs = append(a.errs, &director.ChangeError[director.RoutingKey]{Op: c.Op, Key: c.Key, Err: err})
}

func (a *application) failAll(changes []change, err error) {
	for _, c := range changes {
		a.fail(c, err)
	}
}

// send makes the requests, one for each of changes. The errors that are tolerated say
// that what is to go has gone.
func (a *application) send(changes []change, reqs []*nl.NetlinkRequest, tolerated ...error) {
	for i, err := range a.socket.Do(a.ctx, reqs, nil) {
		known := func(one error) bool { return errors.Is(err, one) }
		if err != nil && !slices.ContainsFunc(tolerated, known) {
			a.fail(changes[i], err)
		}
	}
}

// create returns a request for the route of c.
func (a *application) create(c change, flags int) *nl.NetlinkRequest {
	s := c.New.Route
	return routeRequest(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|flags, c.Key.Route, s, a.indexes[s.Link])
}

func (a *application) createRoutes(changes []change) {
	var sent, there []change
	var reqs []*nl.NetlinkRequest
	for _, c := range changes {
		s := c.New.Route
		switch {
		case !c.Key.Route.Destination.IsValid() || s.Via.Zone() != "" || s.Source.Zone() != "":
			a.fail(c, errors.New("the route is not valid"))
		case s.Link != "" && a.indexes[s.Link] == 0:
			a.fail(c, fmt.Errorf("no such interface: %w", unix.ENODEV))
		case c.Op == director.Update:
			there = append(there, c)
		default:
			sent = append(sent, c)
			reqs = append(reqs, a.create(c, unix.NLM_F_EXCL))
		}
	}
	for i, err := range a.socket.Do(a.ctx, reqs, nil) {
		switch {
		case errors.Is(err, unix.EEXIST):
			there = append(there, sent[i])
		case err != nil:
			a.fail(sent[i], err)
		}
	}
	a.replaceRoutes(there)
}

// replaceRoutes carries out the changes in whose place there is a route already.
func (a *application) replaceRoutes(changes []change) {
	if len(changes) == 0 {
		return
	}
	var keys []director.RouteKey
	for _, c := range changes {
		keys = append(keys, c.Key.Route)
	}
	entries, err := a.at(a.ctx, keys)
	if err != nil {
		a.failAll(changes, err)
		return
	}
	var sent []change
	var reqs []*nl.NetlinkRequest
	for _, c := range changes {
		var ours, others []entry
		for _, e := range entries {
			if e.key != c.Key.Route {
				continue
			}
			if e.tag == link.Protocol {
				ours = append(ours, e)
			} else {
				others = append(others, e)
			}
		}
		switch {
		case slices.ContainsFunc(ours, a.does(c)):
		case len(others) == 0:
			sent = append(sent, c)
			reqs = append(reqs, a.create(c, unix.NLM_F_REPLACE))
		default:
			// To replace would be to replace the first of them.
			for _, e := range ours {
				sent = append(sent, c)
				reqs = append(reqs, routeRequest(unix.RTM_DELROUTE, 0, e.key, e.spec, e.index))
			}
			if !slices.ContainsFunc(others, a.does(c)) {
				a.fail(c, fmt.Errorf("another route to it is there and not ours (%v); remove that one, or choose another metric: %w", others[0].spec, unix.EEXIST))
			}
		}
	}
	a.send(sent, reqs, unix.ESRCH)
}

// does returns what tells whether an entry will do for c.
func (a *application) does(c change) func(entry) bool {
	return func(e entry) bool {
		want := c.New.Route
		if want.Link != "" && a.indexes[want.Link] != e.index {
			return false
		}
		want.Link = ""
		return director.RoutingSpec{Route: e.spec}.Satisfies(director.RoutingSpec{Route: want})
	}
}

func (a *application) deleteRoutes(changes []change) {
	entries, err := a.ours(a.ctx)
	if err != nil {
		a.failAll(changes, err)
		return
	}
	var sent []change
	var reqs []*nl.NetlinkRequest
	for _, c := range changes {
		for _, e := range entries {
			if e.key == c.Key.Route {
				sent = append(sent, c)
				reqs = append(reqs, routeRequest(unix.RTM_DELROUTE, 0, e.key, e.spec, e.index))
			}
		}
	}
	a.send(sent, reqs, unix.ESRCH, unix.ENODEV, unix.ENETDOWN)
}

// createRules creates the rules that are not there, whosever. The kernel cannot be
// left to find out (NLM_F_EXCL): it takes one that has more conditions for the
// same, and one with another tag for another one.
func (a *application) createRules(changes []change) {
	entries, err := a.allRules(a.ctx)
	if err != nil {
		a.failAll(changes, err)
		return
	}
	var sent []change
	var reqs []*nl.NetlinkRequest
	for _, c := range changes {
		if slices.ContainsFunc(entries, is(c.Key.Rule)) || slices.ContainsFunc(sent, func(s change) bool { return s.Key == c.Key }) {
			continue
		}
		sent = append(sent, c)
		reqs = append(reqs, ruleRequest(unix.RTM_NEWRULE, unix.NLM_F_CREATE, c.Key.Rule))
	}
	a.send(sent, reqs)
}

// is returns what tells whether an entry is the rule r.
func is(r director.Rule) func(ruleEntry) bool {
	return func(e ruleEntry) bool { return !e.odd && e.rule == r }
}

// deleteRules deletes rules in an order in which the kernel takes each of them for
// the one that is meant.
func (a *application) deleteRules(changes []change) {
	entries, err := a.allRules(a.ctx)
	if err != nil {
		a.failAll(changes, err)
		return
	}
	ours := func(r director.Rule) func(ruleEntry) bool {
		return func(e ruleEntry) bool { return is(r)(e) && e.tag == link.Protocol }
	}
	left := slices.DeleteFunc(slices.Clone(changes), func(c change) bool { return !slices.ContainsFunc(entries, ours(c.Key.Rule)) })
	var sent []change
	var reqs []*nl.NetlinkRequest
	for again := true; again; {
		again = false
		for i := 0; i < len(left); i++ {
			c := left[i]
			first := slices.IndexFunc(entries, func(e ruleEntry) bool { return e.fits(c.Key.Rule) })
			if !ours(c.Key.Rule)(entries[first]) {
				continue
			}
			sent = append(sent, c)
			reqs = append(reqs, ruleRequest(unix.RTM_DELRULE, 0, c.Key.Rule))
			entries = slices.Delete(entries, first, first+1)
			left = slices.Delete(left, i, i+1)
			i--
			again = true
		}
	}
	for _, c := range left {
		a.fail(c, errors.New("the kernel would delete another rule of this priority and table in its place, which stands before it; remove that one, or give it another priority"))
	}
	a.send(sent, reqs, unix.ENOENT, unix.ESRCH)
}
