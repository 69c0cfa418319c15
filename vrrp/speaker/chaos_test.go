package speaker

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/vrrp"
)

// TestGroupsComeToRest breaks links, reloads and hands over at random moments. When
// all is well again, one director is master of all, and the other one of nothing.
func TestGroupsComeToRest(t *testing.T) {
	for seed := range uint64(50) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { comeToRest(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

// chaotic is a director as it is set to be.
type chaotic struct {
	director
	addr      string
	priority  uint8
	grouped   bool
	fault     [2]vrrp.Reason
	handovers uint64
	absent    bool // the inner virtual router is not configured
}

func (c *chaotic) hosts() []*host { return []*host{c.outer, c.inner} }

func (c *chaotic) reload(regroup bool) {
	if regroup || c.grouped != (c.group != nil) {
		c.group = nil
		if c.grouped {
			n := 2
			if c.absent {
				n = 1
			}
			c.group = NewGroup(n, func(_, _ vrrp.State) {})
		}
	}
	for i, h := range c.hosts() {
		if i == 1 && c.absent {
			h.Set(nil)
			continue
		}
		r := web(c.priority, []time.Duration{time.Second, 100 * time.Millisecond}[i])
		r.Grouped, r.Group, r.Place = c.grouped, c.group, i
		r.Fault, r.Handovers = c.fault[i], c.handovers
		h.Set([]Router{r})
	}
}

func (c *chaotic) link(i int, up bool) {
	state := up1(c.addr)
	state.Up = up
	h := c.hosts()[i]
	h.with(func() { h.cut = !up })
	h.SetLink(state)
}

func comeToRest(t *testing.T, rnd *rand.Rand) {
	x, y := site()
	a := &chaotic{director: x, addr: "192.0.2.1", priority: 150, grouped: true}
	b := &chaotic{director: y, addr: "192.0.2.2", priority: 100, grouped: true}
	both := []*chaotic{a, b}
	for _, d := range both {
		d.reload(true)
		d.start(t)
	}
	for range 40 {
		time.Sleep(time.Duration(rnd.Int64N(int64(2 * time.Second))))
		if rnd.IntN(4) == 0 {
			time.Sleep(5 * time.Second)
		}
		d, i := both[rnd.IntN(2)], rnd.IntN(2)
		switch rnd.IntN(9) {
		case 0, 1:
			d.link(i, false)
		case 2, 3:
			d.link(i, true)
		case 4:
			d.fault[i] = []vrrp.Reason{vrrp.ReasonNone, vrrp.ReasonTrack}[rnd.IntN(2)]
			d.reload(false)
		case 5:
			d.grouped = rnd.IntN(2) == 0
			d.reload(true)
		case 6:
			d.handovers++
			d.reload(false)
		case 7:
			d.priority = uint8(50 + rnd.IntN(200))
			d.reload(false)
		case 8:
			d.absent = !d.absent
			d.reload(true)
		}
	}
	for _, d := range both {
		d.grouped, d.fault, d.absent = true, [2]vrrp.Reason{}, false
		d.reload(true)
		d.link(0, true)
		d.link(1, true)
	}
	time.Sleep(30 * time.Second)
	synctest.Wait()
	var states [2][2]vrrp.State
	for i, d := range both {
		for j, h := range d.hosts() {
			states[i][j] = h.one(t).State
		}
	}
	m, s := [2]vrrp.State{vrrp.StateMaster, vrrp.StateMaster}, [2]vrrp.State{vrrp.StateBackup, vrrp.StateBackup}
	if states != [2][2]vrrp.State{m, s} && states != [2][2]vrrp.State{s, m} {
		t.Errorf("at rest: %v with priorities %d and %d", states, a.priority, b.priority)
	}
}

// TestEveryDepartureEnds breaks links and sockets and reloads at random moments: who
// waits for routers to leave, or for Run to return, does not wait for longer than a
// master does for its successor and lingers.
func TestEveryDepartureEnds(t *testing.T) {
	for seed := range uint64(50) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { depart(t, rand.New(rand.NewPCG(seed, 2))) })
		})
	}
}

func depart(t *testing.T, rnd *rand.Rand) {
	const bound = 2*time.Second + vrrp.Linger + 10*time.Millisecond
	l := new(lan)
	a, b := l.join("a", "192.0.2.1"), l.join("b", "192.0.2.2")
	a.Set([]Router{web(150, time.Second)})
	b.Set([]Router{web(100, time.Second)})
	a.start(t)
	b.start(t)
	handovers := uint64(0)
	var last atomic.Int64
	var waits sync.WaitGroup
	for range 40 {
		time.Sleep(time.Duration(rnd.Int64N(int64(time.Second))))
		if rnd.IntN(4) == 0 {
			time.Sleep(5 * time.Second)
		}
		switch rnd.IntN(8) {
		case 0, 1:
			state := up1("192.0.2.1")
			state.Up = rnd.IntN(2) == 0
			a.SetLink(state)
		case 2:
			a.with(func() {
				a.recvErr = errors.New("receive")
				a.sockets[len(a.sockets)-1].nudge()
			})
		case 3:
			a.with(func() { a.admitErr = errors.New("admit") })
		case 4:
			a.with(func() {
				a.openErr = nil
				if rnd.IntN(2) == 0 {
					a.openErr = errors.New("open")
				}
			})
		default:
			var list []Router
			for range rnd.IntN(3) {
				r := web([]uint8{50, 150, 255}[rnd.IntN(3)], time.Second)
				r.VRID = uint8(51 + rnd.IntN(2))
				r.Version = []vrrp.Version{vrrp.V2, vrrp.V3}[rnd.IntN(2)]
				r.Preempt = rnd.IntN(2) == 0
				r.Fault = []vrrp.Reason{vrrp.ReasonNone, vrrp.ReasonNone, vrrp.ReasonTrack}[rnd.IntN(3)]
				handovers += uint64(rnd.IntN(2))
				r.Handovers = handovers
				list = append(list, r)
			}
			departed := a.Set(list)
			last.Store(time.Now().UnixNano())
			waits.Go(func() {
				<-departed // with those that were removed since
				if d := time.Since(time.Unix(0, last.Load())); d > bound {
					t.Errorf("still leaving after %v", d)
				}
			})
		}
	}
	began := time.Now()
	a.stop(t)
	if d := time.Since(began); d > bound {
		t.Errorf("Run returned after %v", d)
	}
	waits.Wait()
	for _, s := range a.Status() {
		if s.Leaving || s.Lingering || s.State == vrrp.StateMaster {
			t.Errorf("in the end: %v, leaving=%t, lingering=%t", s.State, s.Leaving, s.Lingering)
		}
	}
}
