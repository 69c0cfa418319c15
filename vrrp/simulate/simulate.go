package simulate

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/understudy-ha/understudy/vrrp"
	"github.com/understudy-ha/understudy/vrrp/vrrptest"
)

// Director is one of those that have a virtual router.
type Director struct {
	Name     string // for people
	Assumed  bool   // nobody has configured it
	Priority uint8
	Config   vrrp.Config // Primary decides between equal priorities
}

// Options say how much is simulated, and what is to be outlived.
type Options struct {
	Seed  uint64
	Hours float64       // for each rate of loss; less where the interval is short (maxIntervals)
	Pause time.Duration // of the master, that the interval advised outlives; 0: none
	Loss  float64       // 0..1, with which the interval advised has at most one needless takeover a day
}

// maxIntervals bounds what is simulated of one rate of loss.
const maxIntervals = 200_000

// Losses are the rates of loss that Run tries.
var Losses = []float64{0.01, 0.02, 0.05, 0.10, 0.20, 0.30, 0.50}

// trials is how often each event is tried, each time at another point between two
// advertisements.
const trials = 40

// network is what every trial begins with.
var network = vrrptest.Network{Delay: 100 * time.Microsecond, Jitter: 100 * time.Microsecond}

// Span is the shortest and the longest time that something took. Never says that it
// did not happen at least once.
type Span struct {
	Shortest, Longest time.Duration
	Never             bool
}

func (s *Span) add(d time.Duration, happened bool) {
	if !happened {
		s.Never = true
		return
	}
	if s.Longest == 0 || d < s.Shortest {
		s.Shortest = d
	}
	s.Longest = max(s.Longest, d)
}

// Report is what Run found out.
type Report struct {
	Start    Span // from the start of all until one is master
	Crash    Span // from the end of the master, or of its link, until another one is master
	CrashGap Span // how long nobody answers for the addresses then
	Stop     Span // from the farewell of a master that is stopped until another one is master
	StopGap  Span
	Return   Span          // from the start of the best until it is master again
	Restart  time.Duration // the shortest end of the process of the master that another one takes notice of
	Pause    time.Duration // the shortest pause of the master that makes another one master
	Certain  time.Duration // the shortest that always does
	Backup   bool          // a pause of a backup, however long, makes it master beside the other one
	Delay    time.Duration // the shortest sudden delay of what the master sends that makes another one master
	Jitter   time.Duration // the smallest variation of the delay that does
	Losses   []Loss
	Deaf     Cut // the backup does not hear the master
	Mute     Cut // the master does not hear the backup
	Advice   Advice
}

// Loss is what a rate of loss leads to.
type Loss struct {
	Rate      float64
	Takeovers int           // needless ones
	First     time.Duration // until the first of them; 0: there was none
	Simulated time.Duration
}

// PerDay returns how many needless takeovers there are in a day.
func (l Loss) PerDay() float64 {
	return float64(l.Takeovers) * float64(24*time.Hour) / float64(l.Simulated)
}

// Cut is what happens when one director does not hear another one for Length.
type Cut struct {
	Length time.Duration
	Two    time.Duration // how long there were two masters
	After  time.Duration // and how long of it after it was mended
}

// Advice is the shortest interval that outlives what Options ask for.
type Advice struct {
	Interval time.Duration // 0: there is none
	Noticed  time.Duration // by when a crash is noticed with it
}

// RunAll runs every election. Those with the same timing have the same Report, which is
// made once.
func RunAll(elections []Election, o Options) []Report {
	known := map[string]Report{}
	var all []Report
	for _, e := range elections {
		var timing []byte
		for _, c := range newElection(e.Directors, o).configs {
			timing = fmt.Appendf(timing, "%d %d %v %t %v %t\n", c.Version, c.Priority, c.Interval, c.Preempt, c.PreemptDelay, c.Password != "")
		}
		r, ok := known[string(timing)]
		if !ok {
			r = Run(e.Directors, o)
			known[string(timing)] = r
		}
		all = append(all, r)
	}
	return all
}

// Run simulates the election of directors, two at least.
func Run(directors []Director, o Options) Report {
	e := newElection(directors, o)
	r := Report{
		Restart: e.shortest(3*e.longest, e.any, e.restart),
		Pause:   e.shortest(8*e.wait(), e.any, e.pause),
		Certain: e.shortest(8*e.wait(), e.all, e.pause),
		Backup:  e.pausedBackup(20 * e.wait()),
		Delay:   e.shortest(8*e.wait(), e.any, e.delay),
		Jitter:  e.shortest(8*e.wait(), e.any, e.jitter),
		Deaf:    e.cut(true),
		Mute:    e.cut(false),
	}
	e.start(&r)
	e.leave(&r)
	for _, rate := range Losses {
		r.Losses = append(r.Losses, e.loss(rate, o.Hours))
	}
	r.Advice = advise(directors, o)
	return r
}

// election is what trials are made of.
type election struct {
	configs  []vrrp.Config // the best first
	longest  time.Duration // interval
	seed     uint64
	patience time.Duration // the longest preempt delay
}

func newElection(directors []Director, o Options) *election {
	e := &election{seed: o.Seed}
	for _, d := range directors {
		c := d.Config
		c.Hold, c.Grouped = false, false
		c.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, 200})}
		e.configs = append(e.configs, c)
		e.longest = max(e.longest, c.Interval)
		e.patience = max(e.patience, c.PreemptDelay)
	}
	slices.SortStableFunc(e.configs, func(a, b vrrp.Config) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), b.Primary.Compare(a.Primary))
	})
	for i := range e.configs { // the order is what it decides, whatever the family
		e.configs[i].Primary = netip.AddrFrom4([4]byte{192, 0, 2, byte(100 - i)})
	}
	return e
}

// wait is longer than any backup waits.
func (e *election) wait() time.Duration { return max(4*e.longest, 3*e.longest+time.Second) }

// trial is one LAN that has settled, at a point between two advertisements.
type trial struct {
	*vrrptest.LAN
	rng    *rand.Rand
	n      int
	master int
	took   int // of another one than master since then
}

// begin returns trial number i: those with the same number are the same.
func (e *election) begin(i int) *trial {
	t := &trial{rng: rand.New(rand.NewPCG(e.seed, uint64(i))), n: len(e.configs)}
	t.LAN = vrrptest.NewLAN(t.rng.Uint64(), nil)
	t.SetNetwork(network)
	for _, c := range e.configs {
		id := t.Add(c)
		t.Clock(id, time.Duration(t.rng.Int64N(int64(time.Second))), t.rng.Int64N(101)-50, 200*time.Microsecond)
		t.Start(id)
	}
	t.pass(3*e.wait() + time.Duration(t.rng.Int64N(int64(e.longest))))
	t.master = max(t.leader(), 0)
	t.Observe = func(id int, out vrrp.Output) {
		if out.Transition && out.To == vrrp.StateMaster && id != t.master {
			t.took++
		}
	}
	return t
}

func (t *trial) pass(d time.Duration) { _ = t.RunUntil(t.Now() + d) }

// leader returns the number of a master, of the best if there are several, or -1.
func (t *trial) leader() int {
	for id := range t.n {
		if t.State(id) == vrrp.StateMaster {
			return id
		}
	}
	return -1
}

func (t *trial) masters() (n int) {
	for id := range t.n {
		if t.State(id) == vrrp.StateMaster {
			n++
		}
	}
	return n
}

// until lets time pass in small steps until done, or until limit is over.
func (t *trial) until(limit time.Duration, done func() bool) (took time.Duration, ok bool) {
	begun := t.Now()
	step := max(limit/20_000, 100*time.Microsecond)
	for t.Now()-begun < limit {
		if done() {
			return t.Now() - begun, true
		}
		t.pass(step)
	}
	return limit, done()
}

// all and any say of how many trials something must be true.
func (e *election) all(f func(i int) bool) bool {
	for i := range trials {
		if !f(i) {
			return false
		}
	}
	return true
}

func (e *election) any(f func(i int) bool) bool {
	return !e.all(func(i int) bool { return !f(i) })
}

// shortest returns the shortest time up to limit for which quantity trials of f come
// true, to about a thousandth, or 0 if even limit is too short.
func (e *election) shortest(limit time.Duration, quantity func(func(int) bool) bool, f func(t *trial, d time.Duration) bool) time.Duration {
	holds := func(d time.Duration) bool {
		return quantity(func(i int) bool { return f(e.begin(i), d) })
	}
	if !holds(limit) {
		return 0
	}
	low, high := time.Duration(0), limit
	for high-low > max(limit/5000, time.Millisecond) {
		if mid := (low + high) / 2; holds(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	return high
}
