package speaker

import (
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/understudy-ha/understudy/vrrp"
	"github.com/understudy-ha/understudy/vrrp/reign"
)

// memory is how many steps of each router the flight recorder keeps.
const memory = 256

// instance is one virtual router at work. The loop owns it; public, counters and
// what mu guards are read by others.
type instance struct {
	want    Router
	config  vrrp.Config // as last told to the router: want.Config with the primary address
	running bool        // Start was the last of Start, Stop and Leave
	own     vrrp.Reason // why it cannot take part, whatever its group says
	began   bool        // has taken part
	reign   *reign.Slot // for the process after this one; nil: it will not know
	fresh   bool        // was not there when handovers were last counted
	handed  uint64      // want.Handovers that were carried out
	place   int         // in the heap of deadlines
	due     time.Time   // the router's deadline, as the heap knows it
	changed bool        // to be published by the next finish
	rivals  vrrp.Rivals
	raised  int                           // conditions that hold
	worded  [vrrp.NumConditions]time.Time // when each was last put into words
	refused string                        // the last error of a send; "" after a success

	public   atomic.Pointer[public]
	plumbed  atomic.Bool // the addresses are in place
	counters counters

	mu       sync.Mutex
	router   *vrrp.Recorder // stepped under mu; read by the loop without
	lastDrop LastDrop

	conditions [vrrp.NumConditions]Condition // written under mu by the loop, which reads them without
}

// public is what the loop publishes of an instance after a change.
type public struct {
	Config  vrrp.Config
	Unicast bool
	Status  vrrp.Status
}

func newInstance(want Router) *instance {
	in := &instance{
		want:   want,
		config: want.Config,
		router: vrrp.Record(vrrp.New(want.Config), memory),
		place:  -1,
		fresh:  true,
	}
	in.publish()
	return in
}

func (in *instance) step(now time.Time, ev vrrp.Event) vrrp.Output {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.router.Step(now, ev)
}

func (in *instance) trace() vrrp.Trace {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.router.Trace()
}

func (in *instance) dropped(now time.Time, drop vrrp.Drop, src netip.Addr) (first bool) {
	in.mu.Lock()
	in.lastDrop = LastDrop{Drop: drop, Source: src, At: now}
	in.mu.Unlock()
	return in.counters.drops[drop].Add(1) == 1
}

// etherSource returns the virtual MAC, if there is one, once the addresses are in
// place. A frame that comes from it moves the switch's idea of where it is, and with
// that the clients' packets, to this host: not before it can answer.
func (in *instance) etherSource() [6]byte {
	if in.plumbed.Load() {
		return in.want.VirtualMAC
	}
	return [6]byte{}
}

func (in *instance) unicast() bool { return len(in.want.UnicastPeers) > 0 }

// publish makes the state visible and reports whether it is worth a bell.
func (in *instance) publish() bool {
	next := &public{Config: in.config, Unicast: in.unicast(), Status: in.router.Status()}
	before := in.public.Swap(next)
	in.changed = false
	return before == nil || before.Config.Name != next.Config.Name || before.Status.State != next.Status.State || before.Status.Reason != next.Status.Reason ||
		before.Status.Epoch != next.Status.Epoch || before.Status.Contests != next.Status.Contests || before.Status.Repeats != next.Status.Repeats ||
		before.Status.Leaving != next.Status.Leaving || before.Status.Lingering != next.Status.Lingering || before.Status.Settled != next.Status.Settled
}

func (in *instance) snapshot() Status {
	p := in.public.Load()
	s := Status{Config: p.Config, Unicast: p.Unicast, Status: p.Status, Counters: in.counters.load()}
	in.mu.Lock()
	defer in.mu.Unlock()
	s.LastDrop = in.lastDrop
	s.Conditions = in.standing()
	return s
}

// same reports whether a and b are one virtual router, perhaps configured
// differently.
func same(a, b Router) bool { return a.VRID == b.VRID && a.Version == b.Version }

func equal(a, b vrrp.Config) bool { return reflect.DeepEqual(a, b) }

// deadlines is the instances that have one, as a container/heap: the earliest
// first.
type deadlines []*instance

func (h deadlines) Len() int           { return len(h) }
func (h deadlines) Less(i, j int) bool { return h[i].due.Before(h[j].due) }

func (h deadlines) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *deadlines) Push(x any) {
	in := x.(*instance)
	in.place = len(*h)
	*h = append(*h, in)
}

func (h *deadlines) Pop() any {
	last := len(*h) - 1
	in := (*h)[last]
	in.place = -1
	*h = slices.Delete(*h, last, last+1)
	return in
}
