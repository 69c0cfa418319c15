package oracle

import (
	"slices"
	"strings"
)

// choice is what a scheduler makes of the table: a server; none; or one of
// several, which depends on something that the question leaves open.
type choice struct {
	server     int   // -1: none, or one of candidates
	candidates []int // two or more
	ports      []int // source ports that each server gets, and at the end those without; only of a hash without its port
}

func one(i int) choice { return choice{server: i} }

var nothing = one(-1)

// text is the choice for a reader, and the same for the same choice.
func (c choice) text(servers []server) string {
	switch {
	case c.server >= 0:
		return servers[c.server].endpoint().String()
	case len(c.candidates) == 0:
		return "no server"
	}
	names := make([]string, len(c.candidates))
	for i, s := range c.candidates {
		names[i] = servers[s].endpoint().String()
	}
	slices.Sort(names)
	if c.ports != nil && c.ports[len(servers)] > 0 {
		names = append(names, "no server")
	}
	return "one of " + strings.Join(names, ", ")
}

// hashed returns the table of a hashing scheduler, and whether it is one.
func (q *Question) hashed(servers []server) (lookup, bool) {
	switch q.Service.Scheduler {
	case "sh":
		return newSH(q, servers), true
	case "dh":
		return newDH(q, servers), true
	case "mh":
		return newMH(q, servers), true
	}
	return lookup{}, false
}

// unscheduled reports whether the kernel does not ask the scheduler at all: for
// every port of an address it does so only if the service is persistent.
func (q *Question) unscheduled() bool {
	return q.Service.FWMark == 0 && q.Service.Port == 0 && !q.persistent()
}

// choose asks the scheduler.
func (q *Question) choose(servers []server) choice {
	if q.unscheduled() || !slices.ContainsFunc(servers, server.available) {
		return nothing
	}
	switch q.Service.Scheduler {
	case "lc":
		return one(leastLoaded(servers, false, overhead))
	case "wlc":
		return one(leastLoaded(servers, true, overhead))
	case "sed":
		return one(leastLoaded(servers, true, expected))
	case "nq":
		return one(neverQueue(servers))
	case "fo":
		return one(heaviest(servers, func(server) bool { return true }))
	case "ovf":
		return one(heaviest(servers, func(s server) bool { return int64(s.Active) <= int64(s.Weight) }))
	}
	l, ok := q.hashed(servers)
	switch {
	case !ok || !l.address.IsValid():
		return among(servers)
	case l.usesPort && q.Client.Port() == 0:
		return spread(l, servers)
	}
	i, _, _ := l.pick(servers, q.Client.Port())
	return one(i)
}

// among leaves all available servers as candidates.
func among(servers []server) choice {
	c := nothing
	for i, s := range servers {
		if s.available() {
			c.candidates = append(c.candidates, i)
		}
	}
	return c.settle()
}

func (c choice) settle() choice {
	if len(c.candidates) == 1 && (c.ports == nil || c.ports[len(c.ports)-1] == 0) {
		return choice{server: c.candidates[0], ports: c.ports}
	}
	return c
}

// spread asks for every source port.
func spread(l lookup, servers []server) choice {
	if l.sums {
		// All ports and offsets together hash a few neighbouring numbers.
		hash, memory := l.index, make([]uint32, 1<<16+len(l.buckets))
		l.index = func(port uint16, offset uint32) uint32 {
			m := &memory[uint32(port)+offset]
			if *m == 0 {
				*m = hash(port, offset) + 1
			}
			return *m - 1
		}
	}
	c := choice{server: -1, ports: make([]int, len(servers)+1)}
	for port := 1; port < 1<<16; port++ {
		i, _, _ := l.pick(servers, uint16(port))
		if i < 0 {
			i = len(servers)
		}
		c.ports[i]++
	}
	for i := range servers {
		if c.ports[i] > 0 {
			c.candidates = append(c.candidates, i)
		}
	}
	return c.settle()
}
