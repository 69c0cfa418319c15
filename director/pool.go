package director

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

const (
	countEvery = 500 * time.Millisecond // between two looks at the connections of what drains
	quietFor   = time.Second            // without a connection, before what drains counts as idle
	rampEvery  = 100 * time.Millisecond // the shortest step of a slow start
)

// pool is a service with what has to be remembered of it from one look to the
// next. It is pure: it is told what is and says what should be.
type pool struct {
	service *Service
	quorum  Quorum
	vacant  bool      // nobody serves, and nothing is known yet of members that would
	looked  bool      // at what an earlier process has left
	kept    bool      // it had the quorum
	members []*member // in the order of service.Servers, the sorry server last
	index   map[netip.AddrPort]*member
	strays  map[netip.AddrPort]*member // in the kernel, but in no configuration
	next    time.Time                  // when to look again; zero: no need to
	began   time.Time                  // when the service began to fill, from nothing: until a slow start has passed its servers come together; zero: it has not

	counts map[netip.AddrPort]int // connections of the servers when last counted; nil: not known
}

// member is a server of a pool.
type member struct {
	server  *Server
	verdict Verdict

	fit    bool      // when it was last judged, it passed its check, or had none
	seen   bool      // it was looked at
	serves bool      // it had a weight when last looked at
	filled time.Time // when the filling began that it took part in
	ramp   time.Time // when its slow start began; zero: it is not in one
	drain  time.Time // since when it drains; zero: it does not
	byHand bool      // that is an operator's doing
	idle   time.Time // since when it has had no connections while draining
	conns  int       // when last counted
}

func newPool(s *Service) *pool {
	n := len(s.Servers)
	if s.Policy.Sorry.Address.IsValid() {
		n++
	}
	p := &pool{service: s, members: make([]*member, 0, n), index: make(map[netip.AddrPort]*member, n)}
	room := make([]member, n)
	add := func(server *Server) {
		if p.index[server.Address] == nil {
			m := &room[len(p.members)]
			m.server = server
			p.members = append(p.members, m)
			p.index[server.Address] = m
		}
	}
	for i := range s.Servers {
		add(&s.Servers[i])
	}
	if s.Policy.Sorry.Address.IsValid() {
		add(&s.Policy.Sorry)
	}
	return p
}

// inherit takes over what old, of the same name, remembers.
func (p *pool) inherit(old *pool) {
	p.quorum, p.looked, p.kept, p.began = old.quorum, old.looked, old.kept, old.began
	p.strays = map[netip.AddrPort]*member{}
	for _, members := range []map[netip.AddrPort]*member{old.index, old.strays} {
		for addr, m := range members {
			if mine := p.index[addr]; mine != nil {
				server := mine.server
				*mine = *m
				mine.server = server
			} else {
				p.strays[addr] = m
			}
		}
	}
}

func (p *pool) isSorry(m *member) bool { return m.server == &p.service.Policy.Sorry }

// settle says what should be in the kernel for the service at time now, given
// what is there: have is that of each key, in the order of service.Keys, and so
// is the result. p.next is when to look again.
func (p *pool) settle(now time.Time, c circumstances, have []*holding) []wanting {
	p.next = time.Time{}
	p.judge(c, have)
	final := make([]wanting, len(p.service.Keys))
	for i, k := range p.service.Keys {
		final[i] = wanting{
			spec:    canonical(k, p.service.Spec),
			servers: make([]placement, 0, len(p.members)),
		}
	}
	serving := weightIn(have)
	for _, m := range p.members {
		p.place(now, m, have, serving, final)
	}
	strays := p.straysIn(c, have)
	for _, addr := range slices.SortedFunc(maps.Keys(strays), netip.AddrPort.Compare) {
		p.placeStray(now, addr, strays[addr], have, final)
	}
	p.counts = nil // they are of this moment
	return final
}

// recall finds out from the kernel's table what an earlier process had decided on
// the quorum. Where there is no sorry server it does not tell.
func (p *pool) recall(have []*holding) {
	if p.looked {
		return
	}
	p.looked = true
	sorry, others := 0, 0
	for _, m := range p.members {
		weight, _ := present(have, m.server.Address)
		if p.isSorry(m) {
			sorry = weight
		} else {
			others += weight
		}
	}
	switch {
	case !p.service.Policy.Sorry.Address.IsValid():
	case sorry > 0 && others == 0:
		p.quorum = QuorumLost
	case sorry == 0 && others > 0:
		// Not more than that: who is live now is not known yet.
		p.kept = true
	}
}

// judge gives every member its verdict.
func (p *pool) judge(c circumstances, have []*holding) {
	p.recall(have)
	live, maybe, unjudged := 0, 0, false
	for _, m := range p.members {
		if p.isSorry(m) {
			continue
		}
		m.verdict = c.judge(p.service, m.server, m.fit)
		switch m.verdict.Reason {
		case ReasonUp, ReasonUnchecked:
			m.fit = true
		case ReasonDown:
			m.fit = false
		}
		if m.verdict.Intent == Keep {
			switch weight, held := present(have, m.server.Address); {
			case !held || weight == 0:
				m.verdict.Weight = 0 // whoever set that knew why
			case m.verdict.Unsaid:
				m.verdict.Weight = weight
			}
		}
		lives := 0
		if m.verdict.Intent == Hold || m.verdict.Intent == Keep {
			lives = m.verdict.Weight
		}
		live += lives
		if m.verdict.Reason == ReasonUnproved {
			unjudged, maybe = true, maybe+max(m.verdict.Full-lives, 0)
		}
	}
	p.quorum = p.quorum.next(live, maybe, unjudged, p.kept, p.service.Policy)
	p.vacant = live == 0 && maybe > 0 && p.quorum != QuorumLost
	if !p.service.Policy.Sorry.Address.IsValid() {
		return
	}
	for _, m := range p.members {
		switch v := &m.verdict; {
		case p.isSorry(m):
			*v = forSorry(p.service, p.quorum)
			if weight, held := present(have, m.server.Address); v.Intent == Keep && held {
				v.Weight = min(v.Weight, weight) // it was on its way out
			}
		case p.quorum == QuorumLost && (v.Intent == Hold && v.Weight > 0 || v.Intent == Keep):
			*v = Verdict{Intent: Drain, Reason: ReasonNoQuorum}
		}
	}
}

// present returns the largest weight that the kernel has for a server under any
// key, and whether it is there at all.
func present(have []*holding, addr netip.AddrPort) (weight int, held bool) {
	for _, h := range have {
		if h == nil {
			continue
		}
		if s, ok := h.servers[addr]; ok {
			weight, held = max(weight, s.Weight), true
		}
	}
	return weight, held
}

// weightIn returns the weight of all servers in the kernel.
func weightIn(have []*holding) int {
	sum := 0
	for _, h := range have {
		if h == nil {
			continue
		}
		for _, s := range h.servers {
			sum += s.Weight
		}
	}
	return sum
}

// place enters a member into final.
func (p *pool) place(now time.Time, m *member, have []*holding, serving int, final []wanting) {
	addr, v := m.server.Address, m.verdict
	if v.Intent == Drain {
		m.serves, m.ramp = false, time.Time{}
		p.placeDraining(now, addr, m, have, final)
		return
	}
	m.drain, m.idle = time.Time{}, time.Time{}
	spec := m.server.Spec
	switch v.Intent {
	case Absent:
		m.seen, m.serves, m.ramp = true, false, time.Time{}
		return
	case Keep:
		// It is as before until it is known better, in a slow start, at weight 0
		// or at what its check once said too. That is no look: what it joins with
		// comes later.
		for i, h := range have {
			if s, ok := h.server(addr); ok {
				spec.Weight = v.Weight
				if p.service.Policy.SlowStart > 0 || v.Unsaid {
					spec.Weight = min(v.Weight, s.Weight)
				}
				final[i].place(addr, spec)
			}
		}
		return
	}
	spec.Weight = p.grow(now, m, have, serving)
	for i := range final {
		final[i].place(addr, spec)
	}
}

// grow returns the weight of a member that is to serve: less than its own
// during a slow start.
func (p *pool) grow(now time.Time, m *member, have []*holding, serving int) int {
	full, slow := m.verdict.Weight, p.service.Policy.SlowStart
	weight, held := present(have, m.server.Address)
	first := !m.seen
	joins := full > 0 && !m.serves
	m.seen, m.serves = true, full > 0
	if slow <= 0 || full <= 1 {
		m.ramp = time.Time{}
		return full
	}
	switch {
	case joins && serving == 0:
		p.began = now
	case p.began.IsZero():
		p.began = now.Add(-slow) // another process has filled it
	}
	if joins {
		m.ramp = time.Time{}
		switch {
		case first && held && weight > 0 && weight < full:
			// Another process began this.
			m.ramp = now.Add(-time.Duration(float64(slow) * float64(weight) / float64(full)))
		case first && held && weight > 0:
		case !m.filled.Equal(p.began) && now.Sub(p.began) < slow:
			// The verdicts that fill a service come within a second or so, when
			// it is new and when an outage of all its servers is over.
		case serving > weight*len(p.service.Keys): // others do
			m.ramp = now
		}
		m.filled = p.began
	}
	if m.ramp.IsZero() {
		return full
	}
	gone := now.Sub(m.ramp)
	if gone >= slow {
		m.ramp = time.Time{}
		return full
	}
	grown := max(int(float64(full)*float64(gone)/float64(slow)), 1)
	step := m.ramp.Add(time.Duration(float64(slow) * float64(grown+1) / float64(full)))
	if soonest := now.Add(rampEvery); step.Before(soonest) {
		step = soonest
	}
	p.again(step)
	return grown
}

// placeStray enters a server that no configuration names into final if it may
// stay a little: as it is, or draining.
func (p *pool) placeStray(now time.Time, addr netip.AddrPort, m *member, have []*holding, final []wanting) {
	if m.verdict.Intent != Keep {
		p.placeDraining(now, addr, m, have, final)
		return
	}
	m.drain, m.idle, m.seen = time.Time{}, time.Time{}, true
	for i, h := range have {
		if s, ok := h.server(addr); ok {
			final[i].place(addr, s)
		}
	}
}

// placeDraining enters a server that has to go into final if it may stay a
// little, with weight 0.
func (p *pool) placeDraining(now time.Time, addr netip.AddrPort, m *member, have []*holding, final []wanting) {
	m.seen = true
	if _, held := present(have, addr); !held {
		m.drain, m.idle, m.conns = time.Time{}, time.Time{}, 0
		return
	}
	limit := p.service.Policy.Drain
	if limit <= 0 && !m.verdict.ByHand {
		return
	}
	if m.drain.IsZero() || m.byHand && !m.verdict.ByHand {
		m.drain, m.idle = now, time.Time{} // what a hand has drained for hours has its time, too
	}
	m.byHand = m.verdict.ByHand
	deadline := m.verdict.Deadline
	if !m.verdict.ByHand {
		deadline = m.drain.Add(limit)
	}
	if !deadline.IsZero() && !now.Before(deadline) {
		return
	}
	if p.counts != nil {
		m.conns = p.counts[addr]
		switch {
		case m.conns > 0:
			m.idle = time.Time{}
		case m.idle.IsZero():
			// The handshake of a last connection may be under way.
			m.idle = now
		case now.Sub(m.idle) >= quietFor:
			return
		}
	}
	p.again(now.Add(countEvery))
	if !deadline.IsZero() {
		p.again(deadline)
	}
	for i, h := range have {
		if s, ok := h.server(addr); ok {
			s.Weight = 0
			final[i].place(addr, s)
		}
	}
}

// again makes p.next no later than t.
func (p *pool) again(t time.Time) {
	if p.next.IsZero() || t.Before(p.next) {
		p.next = t
	}
}

// straysIn returns the servers in the kernel that no configuration names, and
// forgets those that are gone.
func (p *pool) straysIn(c circumstances, have []*holding) map[netip.AddrPort]*member {
	var found map[netip.AddrPort]*member
	for _, h := range have {
		if h == nil {
			continue
		}
		for addr := range h.servers {
			if p.index[addr] != nil || found[addr] != nil {
				continue
			}
			m := p.strays[addr]
			if m == nil {
				m = &member{}
			}
			m.verdict = c.judgeStray(p.service, addr)
			if weight, _ := present(have, addr); weight > 0 && p.vacant && m.fit && !m.verdict.ByHand {
				// A reload has dropped it. It goes when there is somebody else, or
				// nobody.
				m.verdict = Verdict{Intent: Keep, Reason: ReasonReplaced, Weight: weight}
			}
			if found == nil {
				found = map[netip.AddrPort]*member{}
			}
			found[addr] = m
		}
	}
	p.strays = found
	return found
}

// drains reports whether a server that the kernel has is to go once its
// connections have ended, so that they have to be counted.
func (p *pool) drains() bool {
	for _, m := range p.members {
		if !m.drain.IsZero() {
			return true
		}
	}
	for _, m := range p.strays {
		if !m.drain.IsZero() {
			return true
		}
	}
	return false
}

// verdictOn returns the verdict on a server, the zero Verdict if there is none.
func (p *pool) verdictOn(addr netip.AddrPort) Verdict {
	if m := p.index[addr]; m != nil {
		return m.verdict
	}
	if m := p.strays[addr]; m != nil {
		return m.verdict
	}
	return Verdict{}
}
