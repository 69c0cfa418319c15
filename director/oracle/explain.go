package oracle

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// scheduler lets the scheduler decide, and says how it comes to that.
func (a *account) scheduler() {
	q, name := a.q, a.q.Service.Scheduler
	a.By = name
	c := q.choose(a.servers)
	switch {
	case c.server >= 0:
		a.Verdict, a.Server = Given, a.servers[c.server].endpoint()
	case len(c.candidates) == 0:
		a.Verdict = None
	default:
		a.Verdict = Depends
		for _, i := range c.candidates {
			a.Candidates = append(a.Candidates, a.servers[i].endpoint())
		}
	}
	if l, ok := q.hashed(a.servers); q.unscheduled() {
		a.say("a service for every port is scheduled only if it is persistent")
		return
	} else if ok {
		a.hash(l, c)
	} else {
		a.load(c)
	}
	if a.Verdict == None {
		a.whyNone()
	}
	a.doubt(c)
	if c.server >= 0 {
		a.IfZero, a.IfRemoved = a.without(c.server, true), a.without(c.server, false)
	}
}

// hash explains sh, dh and mh.
func (a *account) hash(l lookup, c choice) {
	by := a.q.Service.Scheduler + flagNames(a.q)
	if !l.address.IsValid() {
		a.say("%s goes by the address that packets are sent to, of which %s has many: name one with --to", by, Name(a.q.Service.ServiceID))
		return
	}
	if len(l.buckets) == 0 {
		return
	}
	if a.q.standard {
		a.say("the kernel's build options are not known: its table is taken for %d buckets, the default", len(l.buckets))
	}
	a.Lookup = &Lookup{Address: l.address, Buckets: len(l.buckets)}
	n := l.share(len(a.servers))
	for i, s := range a.servers {
		share := Share{Server: s.endpoint(), Weight: s.Weight, Buckets: n[i]}
		if c.ports != nil {
			share.Ports = c.ports[i]
		}
		a.Lookup.Shares = append(a.Lookup.Shares, share)
	}
	if l.usesPort && a.q.Client.Port() == 0 {
		a.ports(by, c)
		return
	}
	var port uint16
	hashed := l.address.String()
	if l.usesPort {
		port = a.q.Client.Port()
		hashed += fmt.Sprint(" and port ", port)
	}
	_, bucket, first := l.pick(a.servers, port)
	a.Lookup.Bucket, a.Lookup.Port = bucket, port
	s := a.servers[first]
	a.say("%s: the hash of %s is bucket %d of %d, which is %s's", by, hashed, bucket, len(l.buckets), s.endpoint())
	a.say("%s has %d of %d buckets (%.1f %%), with weight %d of %d", s.endpoint(), n[first], len(l.buckets),
		100*float64(n[first])/float64(len(l.buckets)), s.Weight, a.weights())
	if a.q.Service.Scheduler == "dh" {
		a.say("dh hashes the address that is asked for: every client of it gets the same server")
	}
	if first == c.server || !slices.ContainsFunc(a.servers, server.available) {
		return
	}
	a.say("%s is not available: %s", s.endpoint(), s.why())
	if c.server >= 0 {
		a.say("%s-fallback goes on from there and comes to %s", a.q.Service.Scheduler, a.Server)
	} else if !l.fallback && a.q.Service.Scheduler != "dh" {
		a.say("with %[1]s-fallback another one would be looked for", a.q.Service.Scheduler)
	}
}

// ports explains a hash whose port is not known.
func (a *account) ports(by string, c choice) {
	all := float64(1<<16 - 1)
	a.say("%s: the client's port decides; name it as CLIENT:PORT. Over all source ports of %s:", by, a.q.Client.Addr())
	for i, s := range a.servers {
		if n := c.ports[i]; n > 0 {
			a.say("  %s %.1f %%", s.endpoint(), 100*float64(n)/all)
		}
	}
	if n := c.ports[len(a.servers)]; n > 0 {
		a.Lookup.Shares = append(a.Lookup.Shares, Share{Ports: n})
		a.say("  no server %.1f %%", 100*float64(n)/all)
	}
}

// load explains the other schedulers.
func (a *account) load(c choice) {
	by := a.q.Service.Scheduler
	switch by {
	case "lc", "wlc", "sed", "nq", "fo", "ovf":
	case "rr", "wrr":
		a.history("it goes on from the server that it chose last, which the kernel does not tell", c)
		return
	case "lblc", "lblcr":
		a.history("it goes by what it has remembered for the address that is asked for, which the kernel does not tell", c)
		return
	case "twos":
		a.history("it takes the less loaded of two at random", c)
		return
	default:
		a.history("how it chooses is not known here", c)
		return
	}
	if c.server < 0 {
		return
	}
	s := a.servers[c.server]
	switch by {
	case "fo":
		a.say("fo: the highest weight of the available servers, %d; of equals the first in the kernel's order", s.Weight)
		return
	case "ovf":
		a.say("ovf: the highest weight, %d, of the available servers with no more active connections (%d) than weight", s.Weight, s.Active)
	case "nq":
		if s.Active == 0 {
			a.say("nq: the first server in the kernel's order without an active connection")
			break
		}
		a.say("nq: no server is idle; the least of active connections + 1 for the weight: (%d + 1) / %d", s.Active, s.Weight)
	case "sed":
		a.say("sed: the least of active connections + 1 for the weight: (%d + 1) / %d; of equals the first in the kernel's order", s.Active, s.Weight)
	case "lc":
		a.say("lc: the least of 256 x active + inactive connections, 256 x %d + %d; of equals the first in the kernel's order", s.Active, s.Inactive)
	case "wlc":
		a.say("wlc: the least of 256 x active + inactive connections for the weight: (256 x %d + %d) / %d; of equals the first in the kernel's order", s.Active, s.Inactive, s.Weight)
	}
	a.say("as of now: it changes with every connection")
}

func (a *account) history(why string, c choice) {
	switch {
	case c.server >= 0:
		a.say("%s: it is the only available server", a.By)
	case len(c.candidates) > 0:
		a.say("%s: %s; it may be any server that is available", a.By, why)
	}
}

// whyNone says why there is no server.
func (a *account) whyNone() {
	q := a.q
	switch {
	case len(a.servers) == 0:
		a.say("%s has no servers", Name(q.Service.ServiceID))
	case a.Lookup == nil || !slices.ContainsFunc(a.servers, server.available):
		for _, s := range a.servers {
			why := s.why()
			if why == "" {
				why = fmt.Sprintf("%d active connections, more than its weight %d", s.Active, s.Weight)
			}
			a.say("%s is not available: %s", s.endpoint(), why)
		}
	}
}

// doubt looks whether what the kernel does not tell makes a difference.
func (a *account) doubt(c choice) {
	had := c.text(a.servers)
	for i, s := range a.servers {
		if s.guessed {
			a.Certain = false
			a.say("mh keeps buckets for %s by the weight that it had before 0, which the kernel does not tell: taken for %d", s.endpoint(), s.last)
		}
		if !s.doubtful {
			continue
		}
		servers := slices.Clone(a.servers)
		servers[i].overloaded = !s.overloaded
		other := a.q.choose(servers).text(servers)
		switch {
		case other == had:
			continue
		case s.overloaded:
			a.say("%s has %d connections of at most %d: if that limit was lowered after the last of them came, the kernel takes one more, and it is %s", s.endpoint(), s.Active+s.Inactive, s.Upper, other)
		default:
			a.say("%s has %d connections, between its thresholds: if the kernel still counts it as overloaded, it is %s", s.endpoint(), s.Active+s.Inactive, other)
		}
		a.Certain = false
	}
}

// why says why a server is not available; empty if it is.
func (s server) why() string {
	switch {
	case s.Weight <= 0:
		return "weight 0"
	case s.overloaded:
		return fmt.Sprintf("overloaded, with %d connections of at most %d", s.Active+s.Inactive, s.Upper)
	}
	return ""
}

func (a *account) weights() (sum int64) {
	for _, s := range a.servers {
		sum += int64(s.Weight)
	}
	return sum
}

func flagNames(q *Question) string {
	s := q.Service.Scheduler
	var names []string
	if s != "dh" && q.Service.Flags&flagPort != 0 {
		names = append(names, s+"-port")
	}
	if s != "dh" && q.Service.Flags&flagFallback != 0 {
		names = append(names, s+"-fallback")
	}
	if names == nil {
		return ""
	}
	return " with " + strings.Join(names, " and ")
}

// Text is the answer for a reader: the server, or "none" or "depends", and then
// the reasons, indented.
func (a Answer) Text() string {
	var b strings.Builder
	switch a.Verdict {
	case Given:
		fmt.Fprintln(&b, a.Server)
	default:
		fmt.Fprintln(&b, a.Verdict)
	}
	if !a.Certain {
		fmt.Fprintln(&b, "  not certain, see below")
	}
	for _, r := range a.Reasons {
		fmt.Fprintln(&b, "  "+r)
	}
	if len(a.Candidates) > 0 && (a.Lookup == nil || a.Lookup.Shares == nil) {
		fmt.Fprintln(&b, "  may be given:", join(a.Candidates))
	}
	if a.IfZero != "" {
		fmt.Fprintln(&b, "  with that server at weight 0 it would be:", a.IfZero)
		fmt.Fprintln(&b, "  with that server removed it would be:", a.IfRemoved)
	}
	return b.String()
}

func join(list []netip.AddrPort) string {
	var names []string
	for _, a := range list {
		names = append(names, a.String())
	}
	return strings.Join(names, ", ")
}
