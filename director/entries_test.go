package director_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/directortest"
	"github.com/understudy-ha/understudy/health"
)

// counting is a Balancer that counts what it is asked for.
type counting struct {
	director.Balancer
	mu      sync.Mutex
	lists   int
	batches int
	changes int
	slow    time.Duration // of a listing
	fail    map[director.Key]error
}

func (c *counting) List(ctx context.Context) (map[director.Key]director.Spec, error) {
	c.mu.Lock()
	c.lists++
	slow := c.slow
	c.mu.Unlock()
	list, err := c.Balancer.List(ctx)
	time.Sleep(slow)
	return list, err
}

func (c *counting) Apply(ctx context.Context, changes []directortest.EntryChange) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.batches++
	c.changes += len(changes)
	var errs []error
	for _, change := range changes {
		err := c.fail[change.Key]
		if err == nil {
			err = c.Balancer.Apply(ctx, []directortest.EntryChange{change})
		} else {
			err = &director.ChangeError[director.Key]{Op: change.Op, Key: change.Key, Err: err}
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// since returns what was asked since the last call.
func (c *counting) since() (lists, batches, changes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	lists, batches, changes = c.lists, c.batches, c.changes
	c.lists, c.batches, c.changes = 0, 0, 0
	return lists, batches, changes
}

// farm is a configuration of so many services of ten checked servers each.
func farm(services int) director.Config {
	var c director.Config
	for i := range services {
		s := director.Service{
			Name: fmt.Sprint("s", i), Spec: director.ServiceSpec{Scheduler: "rr"},
			Keys: []director.ServiceKey{directortest.Service(director.TCP, fmt.Sprintf("192.0.%d.%d:80", i/250, 1+i%250))},
		}
		for k := range 10 {
			addr := netip.MustParseAddrPort(fmt.Sprintf("10.%d.%d.%d:80", i/250, 1+i%250, 1+k))
			s.Servers = append(s.Servers, director.Server{
				Address: addr, Spec: director.ServerSpec{Weight: 1},
				Check: health.Check{Type: health.TypeTCP, Target: addr},
			})
		}
		c.Services = append(c.Services, s)
	}
	return c
}

// settle runs the director with a farm, all of it up, in the kernel that b stands
// before, and returns its configuration.
func (s *stage) settle(b director.Balancer, services int) director.Config {
	s.options.IPVS = b
	s.down = map[netip.AddrPort]bool{}
	s.run()
	config := farm(services)
	s.d.Set(config)
	s.is(health.Up)
	return config
}

// settledStage is a stage with a farm in the kernel.
func settledStage(t *testing.T, services int) (*stage, *counting, director.Config) {
	s := newStage(t)
	c := &counting{Balancer: s.options.IPVS}
	config := s.settle(c, services)
	c.since()
	return s, c, config
}

// judge makes the verdict on one server what is said.
func (s *stage) judge(c health.Check, down bool) {
	s.mu.Lock()
	s.down[c.Target] = down
	s.mu.Unlock()
	s.d.RingCheck(c)
	synctest.Wait()
}

func TestOneVerdictIsOneChangeWithoutListing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, config := settledStage(t, 20)
		server := config.Services[3].Servers[4]
		for _, down := range []bool{true, false} {
			s.judge(server.Check, down)
			if lists, batches, changes := c.since(); lists != 0 || batches != 1 || changes != 1 {
				t.Errorf("down %v: %d listings, %d batches of %d changes; want one of one without listing", down, lists, batches, changes)
			}
			if _, held := s.kernel.Entries()[director.Key{Service: config.Services[3].Keys[0], Server: server.Address}]; held == down {
				t.Errorf("down %v: the server is in the table: %v", down, held)
			}
		}
	})
}

func TestVerdictDoesNotWaitForAListing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, config := settledStage(t, 20)
		c.mu.Lock()
		c.slow = time.Minute
		c.mu.Unlock()
		time.Sleep(3 * time.Second) // a listing is under way
		synctest.Wait()
		if lists, _, _ := c.since(); lists != 1 {
			t.Fatalf("%d listings are under way", lists)
		}
		began := time.Now()
		server := config.Services[3].Servers[4]
		s.judge(server.Check, true)
		if _, _, changes := c.since(); changes != 1 || time.Since(began) != 0 {
			t.Errorf("%d changes after %v, want one at once", changes, time.Since(began))
		}
		// The listing began before the change and still shows the server.
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if _, _, changes := c.since(); changes != 0 {
			t.Errorf("%d changes after a listing that was overtaken, want none", changes)
		}
		if n := s.lines("repaired drift"); n != 0 {
			t.Errorf("%d lines about drift, want none", n)
		}
	})
}

func TestReloadOfOneServerIsOneChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, _ := settledStage(t, 20)
		next := farm(20)
		next.Services[7].Servers[2].Spec.Weight = 5
		s.d.Set(next)
		synctest.Wait()
		if _, batches, changes := c.since(); batches != 1 || changes != 1 {
			t.Errorf("%d batches of %d changes, want one of one", batches, changes)
		}
		s.d.Set(next)
		synctest.Wait()
		if _, batches, changes := c.since(); batches != 0 || changes != 0 {
			t.Errorf("%d batches of %d changes for nothing new", batches, changes)
		}
	})
}

func TestAdoptingWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, config := settledStage(t, 20)
		// Another process finds what this one has made; nothing is judged yet.
		o := s.options
		o.Health = func(health.Check) health.Status { return health.Status{} }
		second := director.New(o)
		second.Set(config)
		if err := second.PassEntries(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, batches, changes := c.since(); batches != 0 || changes != 0 {
			t.Errorf("%d batches of %d changes, want none", batches, changes)
		}
	})
}

func TestStoppedBeforeTheFirstLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, config := settledStage(t, 3)
		second := director.New(s.options)
		second.Set(config)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := second.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if left := s.kernel.Entries(); len(left) != 0 {
			t.Errorf("%d entries are left", len(left))
		}
	})
}

func TestReservedServicesAreLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		reserved := directortest.Service(director.UDP, "127.0.0.9:9")
		s.options.Reserved = map[director.ServiceKey]bool{reserved: true}
		s.kernel.ByHand(func(h directortest.Hand) {
			_ = h.Service(reserved, director.ServiceSpec{Scheduler: "rr"})
			_ = h.Service(director.ServiceKey{FWMark: 9}, director.ServiceSpec{Scheduler: "rr"})
		})
		s.run()
		c := farm(1)
		c.Exclusive = true
		s.d.Set(c)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		held := s.kernel.Entries()
		if _, ok := held[director.Key{Service: reserved}]; !ok {
			t.Error("the reserved service was removed")
		}
		if _, ok := held[director.Key{Service: director.ServiceKey{FWMark: 9}}]; ok {
			t.Error("a foreign service is left in an exclusive table")
		}
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		if held := s.kernel.Entries(); len(held) != 1 {
			t.Errorf("%d entries after the stop, want the reserved one", len(held))
		}
	})
}

func TestAttend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, config := settledStage(t, 2)
		server := config.Services[0].Servers[0].Address
		key := director.Key{Service: config.Services[0].Keys[0], Server: server}
		s.order(director.Order{Drain: true})
		s.kernel.ByHand(func(h directortest.Hand) { h.Count(key, director.Counters{Active: 2}) })
		if err := s.d.Attend(t.Context(), "s0"); err != nil {
			t.Fatal(err)
		}
		if spec, held := s.kernel.Entries()[key]; !held || spec.Server.Weight != 0 {
			t.Errorf("after the order was attended to the server has %v, %v", spec, held)
		}
		s.kernel.ByHand(func(h directortest.Hand) { h.Count(key, director.Counters{Inactive: 2}) })
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if _, held := s.kernel.Entries()[key]; held {
			t.Error("the drained server without connections is still there")
		}
		c.since()

		c.mu.Lock()
		c.fail = map[director.Key]error{key: errors.New("no memory")}
		c.mu.Unlock()
		s.order(director.Order{})
		if err := s.d.Attend(t.Context(), "s0"); err == nil {
			t.Error("Attend says nothing of a change that failed")
		}
		if got := s.d.Status(t.Context()); got.IPVSLane.Err == "" || got.Services[0].Servers[0].Err != "no memory" {
			t.Errorf("status has %q and %q", got.IPVSLane.Err, got.Services[0].Servers[0].Err)
		}
		// What failed does not keep the others from being looked after.
		s.judge(config.Services[1].Servers[5].Check, true)
		if got := s.d.Status(t.Context()); got.IPVSLane.Err == "" || got.Services[1].Servers[5].Held {
			t.Errorf("status has %q, and another server held %v", got.IPVSLane.Err, got.Services[1].Servers[5].Held)
		}
		c.mu.Lock()
		c.fail = nil
		c.mu.Unlock()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if _, held := s.kernel.Entries()[key]; !held {
			t.Error("what failed was not tried again")
		}
		if got := s.d.Status(t.Context()); got.IPVSLane.Err != "" || !s.d.Loaded() {
			t.Errorf("status has %q, loaded %v", got.IPVSLane.Err, s.d.Loaded())
		}
	})
}

// TestStatusOfManyFailures has every change of a table fail.
func TestStatusOfManyFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, _ := settledStage(t, 0)
		config := farm(50)
		c.mu.Lock()
		c.fail = map[director.Key]error{}
		for key := range directortest.Full(config) {
			c.fail[key] = errors.New("refused")
		}
		c.mu.Unlock()
		s.d.Set(config)
		synctest.Wait()
		got := s.d.Status(t.Context())
		lines := strings.Split(got.IPVSLane.Err, "\n")
		if len(lines) != 6 || lines[0] != "create tcp 192.0.0.1:80: refused" || lines[5] != "and 545 more" {
			t.Errorf("the lane says %q", lines)
		}
		if got.Services[49].Servers[9].Err != "refused" {
			t.Errorf("the last server says %q", got.Services[49].Servers[9].Err)
		}
	})
}

func TestLargeTablesAreListedLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c, _ := settledStage(t, 2)
		c.mu.Lock()
		c.slow = time.Second
		c.mu.Unlock()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if lists, _, _ := c.since(); lists < 5 || lists > 7 {
			t.Errorf("%d listings of a second each in five minutes, want a fiftieth of the time", lists)
		}
	})
}

// ordersFake is an order store in memory.
type ordersFake struct {
	list []director.NamedOrder
	err  error
}

func (f *ordersFake) Load() ([]director.NamedOrder, error) { return f.list, f.err }
func (f *ordersFake) Store(list []director.NamedOrder) error {
	if f.err == nil {
		f.list = list
	}
	return f.err
}

func TestOrders(t *testing.T) {
	store := &ordersFake{}
	o, err := director.NewOrders(store)
	if err != nil {
		t.Fatal(err)
	}
	name := director.ServerName{Service: "web", Server: real1.Server}
	drain := func(order director.Order) director.Order {
		order.Drain = true
		return order
	}
	weigh := func(order director.Order) director.Order {
		order.Weighted, order.Weight = true, 5
		return order
	}
	if got, err := o.Change(name, drain); err != nil || !got.Drain {
		t.Errorf("Change = %+v, %v", got, err)
	}
	if got, err := o.Change(name, weigh); err != nil || !got.Drain || got.Weight != 5 {
		t.Errorf("Change = %+v, %v", got, err)
	}
	again, err := director.NewOrders(store)
	if got := again.Lookup(name); err != nil || !got.Drain || got.Weight != 5 {
		t.Errorf("after a restart the order is %+v, %v", got, err)
	}
	store.err = errors.New("read-only file system")
	if got, err := o.Change(name, func(director.Order) director.Order { return director.Order{} }); err == nil || !got.Drain || !o.Lookup(name).Drain {
		t.Errorf("an order that cannot be stored: %+v, %v, in force %+v", got, err, o.Lookup(name))
	}
	if empty, err := director.NewOrders(store); err == nil || len(empty.List()) != 0 {
		t.Errorf("orders that cannot be read: %v, %v", empty.List(), err)
	}
	store.err = nil
	if _, err := o.Change(name, func(director.Order) director.Order { return director.Order{} }); err != nil || len(store.list) != 0 {
		t.Errorf("undone: %v, stored %v", err, store.list)
	}
}

// TestStatusOfWhatDrains: a server that no configuration names any more has
// nothing but what the kernel and the operator say of it.
func TestStatusOfWhatDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.run()
		config := farm(1)
		config.Services[0].Policy.Drain = time.Hour
		for i := range config.Services[0].Servers {
			config.Services[0].Servers[i].Spec = director.ServerSpec{Weight: 7, Forward: director.TUN}
		}
		s.d.Set(config)
		s.is(health.Up)
		gone := config.Services[0].Servers[0].Address
		s.kernel.ByHand(func(h directortest.Hand) {
			h.Count(director.Key{Service: config.Services[0].Keys[0], Server: gone}, director.Counters{Active: 1})
		})
		order := director.Order{Drain: true, Since: time.Now()}
		s.order(order)
		less := farm(1)
		less.Services[0].Policy, less.Services[0].Servers = config.Services[0].Policy, config.Services[0].Servers[1:]
		s.d.Set(less)
		synctest.Wait()
		servers := s.d.Status(t.Context()).Services[0].Servers
		got := servers[len(servers)-1]
		if got.Address != gone || got.Order != order || got.Want != (director.ServerSpec{Forward: director.TUN}) {
			t.Errorf("the dropped server is %+v", got)
		}
	})
}

func TestOpenConnections(t *testing.T) {
	c := director.Counters{Active: 1, Inactive: 2, Persistent: 4}
	for k, want := range map[director.ServiceKey]int{
		{Protocol: director.TCP}: 1, {Protocol: director.SCTP}: 1, {Protocol: director.UDP}: 3, {FWMark: 1}: 3,
	} {
		if got := c.Open(k); got != want {
			t.Errorf("%v: %d are open, want %d", k, got, want)
		}
	}
}
