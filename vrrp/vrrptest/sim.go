package vrrptest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"github.com/understudy-ha/understudy/vrrp"
)

// rounds is how many times a run goes from chaos to order.
const rounds = 40

// traceLength is how many steps of each router a report of a failure shows.
const traceLength = 60

// Run drives a LAN that follows from seed through random faults, checks what
// the protocol promises after every step, and returns what it counted. The
// error describes the first promise broken, the routers, the faults and, unless
// build puts something else in the place of vrrp.New, the last steps of every
// router as traces.
func Run(seed uint64, build func(vrrp.Config) Elector) (Stats, error) {
	return run(seed, build, func(*checker) {})
}

// run is Run with a checker that alter has changed.
func run(seed uint64, build func(vrrp.Config) Elector, alter func(*checker)) (Stats, error) {
	s := newSim(seed, build)
	alter(s.lan.check)
	if s.run() == nil {
		return s.lan.Stats, nil
	}
	// The same again, this time taking notes.
	var recorders []*vrrp.Recorder
	if build == nil {
		build = func(c vrrp.Config) Elector {
			r := vrrp.Record(vrrp.New(c), traceLength)
			recorders = append(recorders, r)
			return r
		}
	}
	s = newSim(seed, build)
	alter(s.lan.check)
	s.notes = new(strings.Builder)
	err := s.run()
	if err == nil {
		return s.lan.Stats, fmt.Errorf("seed %d: fails, but not when it is run again", seed)
	}
	for _, r := range recorders[max(0, len(recorders)-2*len(s.lan.nodes)):] {
		b, _ := r.AppendText(nil)
		fmt.Fprintf(s.notes, "\n%s", b)
	}
	return s.lan.Stats, fmt.Errorf("seed %d: %w\n%s", seed, err, s.notes)
}

// sim is one run.
type sim struct {
	lan   *LAN
	rng   *rand.Rand // of the faults; the LAN has its own
	notes *strings.Builder
	unit  time.Duration // the longest interval, which faults are measured in
	least time.Duration // the shortest
}

func newSim(seed uint64, build func(vrrp.Config) Elector) *sim {
	s := &sim{
		lan: NewLAN(seed, build),
		rng: rand.New(rand.NewPCG(seed, 0x4c41_4e)),
	}
	s.populate()
	s.lan.check = newChecker(s.lan)
	return s
}

var (
	intervalsV3 = []time.Duration{
		10 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
		time.Second, time.Second, time.Second, 2 * time.Second, 3 * time.Second, 5 * time.Second,
	}
	intervalsV2 = []time.Duration{time.Second, time.Second, 2 * time.Second, 5 * time.Second}
	// Few different ones, so that ties are common.
	priorities = []uint8{1, 50, 100, 100, 100, 101, 150, 200, 254, vrrp.PriorityOwner}
)

// populate adds two to five directors, with one virtual router or a group.
func (s *sim) populate() {
	version, intervals := vrrp.V3, intervalsV3
	if s.rng.IntN(3) == 0 {
		version, intervals = vrrp.V2, intervalsV2
	}
	interval := pick(s.rng, intervals)
	members := 1
	if s.rng.IntN(3) == 0 {
		members = 2 + s.rng.IntN(2)
	}
	mixed := version == vrrp.V3 && members == 1 && s.rng.IntN(3) == 0
	preempt := s.rng.IntN(3) > 0
	delay := s.rng.IntN(4) == 0
	s.unit, s.least = interval, interval
	for i := range 2 + s.rng.IntN(max(2, 5-members)) {
		c := vrrp.Config{
			Name:      string(rune('a' + i)),
			VRID:      51,
			Version:   version,
			Priority:  pick(s.rng, priorities),
			Interval:  interval,
			Preempt:   preempt,
			Primary:   netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)}),
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, 100})},
		}
		if mixed {
			c.Interval = pick(s.rng, intervals)
		}
		if s.rng.IntN(8) == 0 {
			c.Preempt = !c.Preempt
		}
		c.Hold = s.rng.IntN(6) == 0
		if delay {
			c.PreemptDelay = s.span(0, 10)
		}
		s.unit, s.least = max(s.unit, c.Interval), min(s.least, c.Interval)
		if members == 1 {
			s.lan.Add(c)
			continue
		}
		group := make([]vrrp.Config, members)
		for i := range group {
			group[i] = c
			group[i].Name = fmt.Sprintf("%s%d", c.Name, i+1)
		}
		s.lan.AddGroup(group...)
	}
	// Once the shortest interval is known: any router may come to have it, and
	// one whose process always wakes up too late for it keeps no promise.
	for _, i := range s.directors() {
		s.lan.Clock(i, s.span(0, 1000), int64(s.rng.IntN(20_001)-10_000), s.least/50)
	}
}

// directors returns a virtual router of each.
func (s *sim) directors() (first []int) {
	for i, n := range s.lan.nodes {
		if n.place == 0 {
			first = append(first, i)
		}
	}
	return first
}

// span returns a random time of from to to units.
func (s *sim) span(from, to float64) time.Duration {
	return time.Duration((from + s.rng.Float64()*(to-from)) * float64(s.unit))
}

func pick[T any](rng *rand.Rand, from []T) T { return from[rng.IntN(len(from))] }

func (s *sim) run() error {
	for _, i := range s.directors() {
		s.note("start %s", s.name(i))
		s.lan.Start(i)
		if s.rng.IntN(2) == 0 {
			s.wait(s.span(0, 5))
		}
	}
	for range rounds {
		for range s.rng.IntN(8) {
			s.fault()
			s.wait(s.span(0, 3))
		}
		s.order()
		if s.rng.IntN(4) > 0 {
			s.leave()
			s.wait(s.span(0, 8))
		}
		if s.lan.err != nil {
			break
		}
	}
	return s.lan.err
}

func (s *sim) wait(d time.Duration) { _ = s.lan.RunUntil(s.lan.now + d) }

// order repairs the network, or what of it must be whole, and waits until
// everything has settled, and longer.
func (s *sim) order() {
	l := s.lan
	network := Network{Delay: s.fraction(s.least / 20)}
	if s.rng.IntN(3) == 0 {
		network.Jitter, network.Duplicate, network.Loop = s.fraction(s.least/8)+1, 0.1, 0.1
	}
	s.note("calm, network %+v", network)
	l.SetNetwork(network)
	if l.part == nil || len(l.groups) > 0 || s.rng.IntN(2) == 0 {
		s.note("heal")
		l.Heal()
	} else {
		l.Partition(l.part)
	}
	for i := range l.nodes {
		if s.rng.IntN(3) > 0 {
			s.note("up and start %s", s.name(i))
			l.SetLink(i, true)
			l.Mend(i)
			l.Start(i)
		}
	}
	if until := l.check.settledAt; until != eternity {
		_ = l.RunUntil(until + s.span(0, 20))
	} else {
		l.fail("the faults of this run leave a network that nothing is promised of")
	}
}

func (s *sim) fraction(d time.Duration) time.Duration {
	return time.Duration(s.rng.Float64() * float64(d))
}

// leave takes the master away, on which the checker expects another in time. A
// planned leave must lose nothing, and a short restart must not be noticed.
func (s *sim) leave() {
	l := s.lan
	for i, n := range l.nodes {
		if n.state != vrrp.StateMaster {
			continue
		}
		switch s.rng.IntN(9) {
		case 0:
			s.note("stop %s", s.name(i))
			l.Stop(i)
		case 1:
			s.note("crash %s", s.name(i))
			l.Crash(i)
		case 2:
			s.note("link of %s down", s.name(i))
			l.SetLink(i, false)
		case 3, 4:
			reason := pick(s.rng, planned)
			s.note("leave %s reason=%v", s.name(i), reason)
			l.Leave(i, reason)
			s.wait(s.span(0, 8))
		case 5:
			s.note("handover %s, which is held back from then on", s.name(i))
			for _, m := range n.host.members {
				c := m.config
				c.Hold = true
				l.Reconfigure(m.id, c)
			}
			s.wait(l.check.settledAt + 1 - l.now)
			l.Leave(i, vrrp.ReasonHandover)
			s.wait(s.span(0, 8))
		default:
			s.note("kill %s", s.name(i))
			l.Kill(i)
			s.wait(time.Duration(s.rng.Float64() * 3.5 * float64(n.config.Interval)))
			s.note("start %s", s.name(i))
			l.Start(i)
			s.wait(s.span(0, 8))
		}
		return
	}
}

var planned = []vrrp.Reason{vrrp.ReasonShutdown, vrrp.ReasonRemoved, vrrp.ReasonHandover, vrrp.ReasonTrack}

// fault does one random thing.
func (s *sim) fault() {
	l := s.lan
	i := s.rng.IntN(len(l.nodes))
	switch s.rng.IntN(18) {
	case 13:
		reason := pick(s.rng, planned)
		s.note("leave %s reason=%v", s.name(i), reason)
		l.Leave(i, reason)
	case 14:
		s.note("fault of %s", s.name(i))
		l.Leave(i, vrrp.ReasonTrack)
	case 15, 16:
		s.note("mend %s", s.name(i))
		l.Mend(i)
	case 17:
		s.note("kill %s", s.name(i))
		l.Kill(i)
		s.wait(s.span(0, 4))
		s.note("start %s", s.name(i))
		l.Start(i)
	case 0:
		n := Network{
			Delay:     s.fraction(2 * s.least),
			Jitter:    s.fraction(3*s.least) + 1,
			Loss:      s.rng.Float64() * 0.7,
			Duplicate: s.rng.Float64() * 0.5,
			Loop:      s.rng.Float64() * 0.5,
		}
		s.note("network %+v", n)
		l.SetNetwork(n)
	case 1:
		j := s.rng.IntN(len(l.nodes))
		s.note("cut %s>%s", s.name(i), s.name(j))
		l.Cut(i, j)
	case 2:
		part := make([]int, len(l.nodes))
		for i := range part {
			part[i] = s.rng.IntN(3)
		}
		s.note("partition %v", part)
		l.Partition(part)
	case 3:
		s.note("heal")
		l.Heal()
	case 4, 5:
		d := s.span(0, 6)
		s.note("stall %s %v", s.name(i), d)
		l.Stall(i, d)
	case 6:
		s.note("crash %s", s.name(i))
		l.Crash(i)
	case 7:
		s.note("stop %s", s.name(i))
		l.Stop(i)
	case 8, 9:
		s.note("start %s", s.name(i))
		l.Start(i)
	case 10:
		up := !l.nodes[i].link
		s.note("link of %s up=%t", s.name(i), up)
		l.SetLink(i, up)
	case 11:
		c := l.nodes[i].config
		c.Priority = pick(s.rng, priorities)
		s.reconfigure(i, c)
	case 12:
		c := l.nodes[i].config
		switch s.rng.IntN(4) {
		case 3:
			c.Hold = !c.Hold
		case 0:
			c.Preempt = !c.Preempt
		case 1:
			c.PreemptDelay = s.span(0, 4)
		case 2:
			if c.Version == vrrp.V3 {
				c.Interval = max(s.fraction(s.unit), s.least).Truncate(vrrp.UnitV3)
			}
		}
		s.reconfigure(i, c)
	}
}

// reconfigure gives a director another configuration. The members of a group are
// equally good, and equally patient.
func (s *sim) reconfigure(i int, c vrrp.Config) {
	if members := s.lan.nodes[i].host.members; len(members) > 1 {
		s.note("set the group of %s priority=%d preempt=%t hold=%t preempt_delay=%v", s.name(i), c.Priority, c.Preempt, c.Hold, c.PreemptDelay)
		for _, m := range members {
			mine := m.config
			mine.Priority, mine.Preempt, mine.Hold, mine.PreemptDelay = c.Priority, c.Preempt, c.Hold, c.PreemptDelay
			s.lan.Reconfigure(m.id, mine)
		}
		return
	}
	s.note("set %s priority=%d interval=%v preempt=%t hold=%t preempt_delay=%v",
		s.name(i), c.Priority, c.Interval, c.Preempt, c.Hold, c.PreemptDelay)
	s.lan.Reconfigure(i, c)
}

func (s *sim) name(i int) string { return s.lan.nodes[i].config.Name }

func (s *sim) note(format string, args ...any) {
	if s.notes == nil || s.lan.err != nil {
		return
	}
	if s.notes.Len() == 0 {
		for _, n := range s.lan.nodes {
			b, _ := n.config.AppendText(nil)
			fmt.Fprintf(s.notes, "router %s %s # clock %+dppm\n", n.config.Name, b, n.ppm)
		}
	}
	fmt.Fprintf(s.notes, "%v "+format+"\n", append([]any{s.lan.now}, args...)...)
}
