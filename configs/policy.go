package configs

import (
	"slices"

	"github.com/understudy-ha/understudy/director"
)

// weightless are the schedulers for which a weight is only zero or not, and
// ranking those that take it for a rank.
var (
	weightless = []string{"rr", "lc", "dh"}
	ranking    = []string{"fo", "ovf"}
)

// policy reads how the service treats its servers.
func (b *builder) policy(r *record, g group, servers []director.Server) director.Policy {
	p := director.Policy{
		Quorum:        int(r.integer("quorum")),
		Hysteresis:    int(r.integer("hysteresis")),
		Sorry:         b.sorry(r, g, servers),
		ZeroWhileDown: r.text("while_unhealthy") == "weight-zero",
		Drain:         r.duration("drain"),
		SlowStart:     r.duration("slow_start"),
		Alpha:         r.boolean("alpha"),
		KeepAtStop:    r.text("omega") == "keep",
	}
	if r.good("quorum", "hysteresis") {
		b.checkQuorum(r, p, servers)
	}
	if r.good("scheduler") && p.SlowStart > 0 {
		switch name := r.text("scheduler"); {
		case slices.Contains(weightless, name):
			r.warn("slow_start", "slow_start has no effect with scheduler = %q, which ignores weights; choose another, for example \"w%s\", or remove it", name, suggested(name))
		case slices.Contains(ranking, name):
			r.warn("slow_start", "slow_start changes the rank of a server with scheduler = %q, which takes weights for ranks; choose another, or remove it", name)
		case stepless(r, servers):
			r.warn("slow_start", "slow_start has no effect on servers of weight 1, for a weight grows by 1 at a time; give them larger ones, for example 100, or remove it")
		}
	}
	return p
}

// stepless reports whether no server has a weight that it could grow to.
func stepless(r *record, servers []director.Server) bool {
	for i, s := range r.tables("server") {
		if !s.good("weight") || servers[i].Check.WeightHeader != "" || servers[i].Spec.Weight > 1 {
			return false
		}
	}
	return len(servers) > 0
}

// suggested completes "w" to a scheduler like name that minds weights.
func suggested(name string) string {
	if name == "rr" {
		return "rr"
	}
	return "lc"
}

// checkQuorum checks that the quorum can be had.
func (b *builder) checkQuorum(r *record, p director.Policy, servers []director.Server) {
	if p.Hysteresis >= p.Quorum && p.Hysteresis > 0 {
		r.problem("hysteresis", "hysteresis = %d is not less than quorum = %d, so that the quorum would never be lost; lower it", p.Hysteresis, p.Quorum)
		return
	}
	if !r.given("quorum") && !r.given("hysteresis") {
		return
	}
	total := 0
	for i, s := range r.tables("server") {
		if !s.good("weight") || servers[i].Check.WeightHeader != "" {
			return // not to be known from here
		}
		total += servers[i].Spec.Weight
	}
	switch {
	case p.Quorum > total:
		r.problem("quorum", "quorum = %d is more than all servers weigh together, %d; lower it", p.Quorum, total)
	case p.Quorum+p.Hysteresis > total:
		r.problem("hysteresis", "hysteresis = %d: once lost, the quorum would come back at weight %d only, and all servers weigh %d together; lower it", p.Hysteresis, p.Quorum+p.Hysteresis, total)
	}
}

// sorry reads the server that stands in where there is no quorum.
func (b *builder) sorry(r *record, g group, servers []director.Server) director.Server {
	none := director.Server{}
	if r.text("sorry") == "" {
		if r.given("sorry_forward") && r.good("sorry", "sorry_forward") {
			r.warn("sorry_forward", "sorry_forward has no effect without sorry; add it or remove this")
		}
		return none
	}
	ap, err := endpoint(r.text("sorry"))
	if err != nil {
		r.problem("sorry", "sorry = %s %v", quote(r.text("sorry")), err)
		return none
	}
	if slices.ContainsFunc(servers, func(s director.Server) bool { return s.Address == ap }) {
		r.problem("sorry", "sorry = %q is one of the servers; name another, or remove it", ap)
		return none
	}
	name, known := r.text("sorry_forward"), r.good("sorry_forward")
	if !r.given("sorry_forward") {
		name, known = r.text("forward"), r.given("forward") && r.good("forward")
		if !r.given("forward") {
			r.problem("sorry", "sorry has no forward, nor has the service; add sorry_forward = %s, there is no default", anyForward)
		}
	}
	if !known {
		return none
	}
	s := director.Server{Address: ap, Spec: director.ServerSpec{Weight: 1, Forward: forwardMethods[name]}}
	b.checkReach(r, "sorry", name, ap, g)
	return s
}
