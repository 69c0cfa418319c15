package director_test

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/directortest"
)

// troubled is a Balancer of which the answers get lost, or that does not answer
// at all.
type troubled struct {
	director.Balancer
	mu   sync.Mutex
	lost bool  // changes are made, and said to have failed
	deaf bool  // connections are not counted
	mute error // changes are made, and nobody knows which
	list error
	slow time.Duration        // from the moment that a listing shows to its end
	miss *director.ServiceKey // what listings that begin now pass over
}

func (b *troubled) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

func (b *troubled) List(ctx context.Context) (map[director.Key]director.Spec, error) {
	b.mu.Lock()
	slow, err, miss := b.slow, b.list, b.miss
	b.mu.Unlock()
	if err != nil {
		return nil, err
	}
	list, err := b.Balancer.List(ctx)
	if miss != nil {
		maps.DeleteFunc(list, func(k director.Key, _ director.Spec) bool { return k.Service == *miss })
	}
	select {
	case <-time.After(slow):
	case <-ctx.Done():
	}
	return list, err
}

func (b *troubled) Connections(ctx context.Context, k director.ServiceKey) (map[netip.AddrPort]director.Counters, error) {
	b.mu.Lock()
	deaf := b.deaf
	b.mu.Unlock()
	if deaf {
		return nil, errors.New("not now")
	}
	return b.Balancer.Connections(ctx, k)
}

func (b *troubled) Apply(ctx context.Context, changes []directortest.EntryChange) error {
	b.mu.Lock()
	lost, mute := b.lost, b.mute
	b.mu.Unlock()
	err := b.Balancer.Apply(ctx, changes)
	if mute != nil {
		return mute
	}
	if lost {
		var errs []error
		for _, c := range changes {
			errs = append(errs, &director.ChangeError[director.Key]{Op: c.Op, Key: c.Key, Err: errors.New("no answer")})
		}
		return errors.Join(errs...)
	}
	return err
}

// troubledStage is a stage with a farm in a kernel that can be troubled.
func troubledStage(t *testing.T, services int) (*stage, *troubled, director.Config) {
	s := newStage(t)
	b := &troubled{Balancer: s.options.IPVS}
	return s, b, s.settle(b, services)
}

func (s *stage) holds(k director.Key) bool {
	_, held := s.kernel.Entries()[k]
	return held
}

func keyOf(s director.Service, i int) director.Key {
	return director.Key{Service: s.Keys[0], Server: s.Servers[i].Address}
}

func TestWhatFailsForeverKeepsNoListingFromBeingMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, config := settledStage(t, 2)
		// A server that drains is looked at every half second; another one
		// of its service is refused by the kernel.
		drained, refused := keyOf(config.Services[0], 0), keyOf(config.Services[0], 1)
		s.kernel.ByHand(func(h directortest.Hand) { h.Count(drained, director.Counters{Active: 2}) })
		s.order(director.Order{Drain: true})
		if err := s.d.Attend(t.Context(), "s0"); err != nil {
			t.Fatal(err)
		}
		s.judge(config.Services[0].Servers[1].Check, true)
		c.mu.Lock()
		c.fail = map[director.Key]error{refused: errors.New("refused")}
		c.mu.Unlock()
		s.judge(config.Services[0].Servers[1].Check, false)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		other := keyOf(config.Services[1], 5)
		s.kernel.ByHand(func(h directortest.Hand) { _ = h.Delete(other) })
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !s.holds(other) {
			t.Error("what was deleted by hand is not back after 10 s")
		}
		if s.lines("repaired drift") != 1 {
			t.Errorf("%d lines about drift, want one", s.lines("repaired drift"))
		}
	})
}

func TestAnswerIsLostDuringAListing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b, config := troubledStage(t, 2)
		server := config.Services[0].Servers[1]
		s.judge(server.Check, true)
		b.set(func() { b.slow = time.Second })
		time.Sleep(2500 * time.Millisecond) // a listing is under way
		b.set(func() { b.lost = true })
		s.judge(server.Check, false) // it is there now, and nobody knows
		b.set(func() { b.lost = false })
		s.judge(server.Check, true)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if s.holds(keyOf(config.Services[0], 1)) {
			t.Error("a server that is down is in the table after 10 s")
		}
		if n := s.lines("repaired drift"); n != 0 {
			t.Errorf("%d lines about drift, want none", n)
		}
	})
}

func TestAServiceIsMissedWhileAServerOfItIsDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b, config := troubledStage(t, 2)
		b.set(func() { b.slow = time.Second })
		time.Sleep(3500 * time.Millisecond) // the next listing is 50 s away
		synctest.Wait()
		other := directortest.Service(director.TCP, "192.0.2.99:80")
		config = farm(2)
		config.Services[0].Keys = append(config.Services[0].Keys, other)
		s.d.Set(config)
		synctest.Wait()
		s.kernel.ByHand(func(h directortest.Hand) {
			h.Count(keyOf(config.Services[0], 0), director.Counters{Active: 1})
			_ = h.Delete(director.Key{Service: other})
		})
		s.order(director.Order{Drain: true})
		if err := s.d.Attend(t.Context(), "s0"); err == nil {
			t.Error("nothing is said of the service that is missing")
		}
		// It is looked at, and fails, more often than a listing takes.
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if !s.holds(director.Key{Service: other}) {
			t.Error("the service is missing after 5 s")
		}
	})
}

// TestAListingIsOvertakenByADeletion has the kernel pass over a service because
// we have deleted another one meanwhile.
func TestAListingIsOvertakenByADeletion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b, config := troubledStage(t, 3)
		missed := config.Services[1].Keys[0]
		b.set(func() { b.slow, b.miss = time.Second, &missed })
		time.Sleep(2500 * time.Millisecond) // a listing is under way
		b.set(func() { b.slow, b.miss = 0, nil })
		s.kernel.EntryJournal()
		config.Services = config.Services[:2]
		s.d.Set(config)
		time.Sleep(700 * time.Millisecond) // it has ended
		synctest.Wait()
		if n := s.lines("repaired drift"); n != 0 {
			t.Errorf("%d lines about drift, want none", n)
		}
		if j := s.kernel.EntryJournal(); len(j) != 1 || j[0].Op != director.Delete {
			t.Errorf("%d changes, want the deletion: %v", len(j), j)
		}
		// What somebody else has done meanwhile is seen soon.
		b.set(func() { b.slow = time.Second })
		time.Sleep(2 * time.Second)
		config.Services = config.Services[:1]
		s.kernel.ByHand(func(h directortest.Hand) { _ = h.Delete(keyOf(config.Services[0], 3)) })
		s.d.Set(config)
		b.set(func() { b.slow = 0 })
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		if !s.holds(keyOf(config.Services[0], 3)) {
			t.Error("what was deleted by hand is not back")
		}
	})
}

func TestOutcomeIsNotKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b, config := troubledStage(t, 2)
		// One that is known to have failed, and one of which nothing is known.
		b.set(func() { b.lost = true })
		s.judge(config.Services[0].Servers[1].Check, true)
		b.set(func() { b.lost, b.mute = false, errors.New("no answer in time") })
		s.judge(config.Services[1].Servers[1].Check, true)
		b.set(func() { b.mute = nil })
		s.judge(config.Services[1].Servers[1].Check, false)
		if !s.holds(keyOf(config.Services[1], 1)) {
			t.Error("what the kernel held was believed though nobody knew")
		}
	})
}

func TestStatusSaysThatTheTableCannotBeListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b, config := troubledStage(t, 2)
		b.set(func() { b.list = errors.New("ip_vs is not loaded") })
		time.Sleep(5 * time.Second)
		for range 2 { // verdicts that change something do not hide it
			if got := s.d.Status(t.Context()).IPVSLane.Err; got != "ip_vs is not loaded" {
				t.Errorf("status has %q", got)
			}
			s.judge(config.Services[0].Servers[1].Check, true)
		}
		b.set(func() { b.list = nil })
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := s.d.Status(t.Context()).IPVSLane.Err; got != "" {
			t.Errorf("status has %q", got)
		}
	})
}

func TestAVerdictThatIsAheadOfItsHintIsNoDrift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, config := settledStage(t, 2)
		s.mu.Lock()
		s.down[config.Services[0].Servers[1].Address] = true
		s.mu.Unlock()
		time.Sleep(3 * time.Second) // a listing comes before the hint
		synctest.Wait()
		if s.holds(keyOf(config.Services[0], 1)) {
			t.Error("the server is still in the table")
		}
		if n := s.lines("repaired drift"); n != 0 {
			t.Errorf("%d lines about drift, want none", n)
		}
	})
}

func TestDrainIsNotShortened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b, config := troubledStage(t, 1)
		dropped := keyOf(config.Services[0], 9)
		less := farm(1)
		less.Services[0].Servers = less.Services[0].Servers[:9]
		less.Services[0].Policy.Drain = 20 * time.Second
		b.set(func() { b.deaf = true }) // that none is counted does not mean that there is none
		s.d.Set(less)
		time.Sleep(15 * time.Second)
		if !s.holds(dropped) {
			t.Error("a server of which the connections are not known is gone")
		}
		s.d.Set(less) // a reload is no new beginning
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if s.holds(dropped) {
			t.Error("the drained server is still there when its time is up")
		}
	})
}

func TestAttendMindsItsOwnService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, config := settledStage(t, 2)
		c.mu.Lock()
		c.fail = map[director.Key]error{keyOf(config.Services[1], 1): errors.New("refused")}
		c.mu.Unlock()
		s.mu.Lock()
		s.down[config.Services[1].Servers[1].Address] = true
		s.mu.Unlock()
		s.d.RingServices()
		if err := s.d.Attend(t.Context(), "s0"); err != nil {
			t.Errorf("the failure of another service: %v", err)
		}
		s.d.RingServices()
		if err := s.d.Attend(t.Context(), "s1"); err == nil {
			t.Error("nothing is said of a failure")
		}
	})
}

// slowDisk is an order store that is looked at while it stores.
type slowDisk struct{ storing func() }

func (slowDisk) Load() ([]director.NamedOrder, error) { return nil, nil }
func (d *slowDisk) Store([]director.NamedOrder) error {
	d.storing()
	return nil
}

func TestOrdersAreReadWhileTheDiskIsSlow(t *testing.T) {
	disk := &slowDisk{}
	o, _ := director.NewOrders(disk)
	name := director.ServerName{Service: "web", Server: real1.Server}
	disk.storing = func() {
		read := make(chan bool)
		go func() { read <- o.Lookup(name).Drain }()
		select {
		case drains := <-read:
			if drains {
				t.Error("the order is in force before it was stored")
			}
		case <-time.After(10 * time.Second):
			t.Error("who looks an order up waits for the disk")
			go func() { <-read }()
		}
	}
	if _, err := o.Change(name, func(director.Order) director.Order { return director.Order{Drain: true} }); err != nil || !o.Lookup(name).Drain {
		t.Errorf("the order was not taken: %v", err)
	}
}

// gate is a table of addresses that changes nothing before it is opened.
type gate struct {
	director.Table[director.AddrKey, director.AddrSpec]
	open chan struct{}
}

func (g gate) Apply(ctx context.Context, changes []director.Change[director.AddrKey, director.AddrSpec]) error {
	select {
	case <-g.open:
		return g.Table.Apply(ctx, changes)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// What the kernel does not hold yet is not announced: whoever believed it would not be
// answered.
func TestNothingIsAnnouncedBeforeItIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		g := gate{s.options.Addresses, make(chan struct{})}
		s.options.Addresses = g
		s.run()
		s.d.Set(config)
		s.become(director.RoleMaster, 1)
		time.Sleep(time.Minute)
		synctest.Wait()
		s.shows(serviceLine)
		if s.epoch() != 0 {
			t.Error("announced before it is there")
		}
		close(g.open)
		synctest.Wait()
		s.shows(addressLine + serviceLine)
		if s.epoch() == 0 {
			t.Error("not announced")
		}
	})
}
