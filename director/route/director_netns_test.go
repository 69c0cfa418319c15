package route

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/addr"
)

// host is a network namespace with a director in it.
type host struct {
	t     *testing.T
	calls chan func() // made in the namespace

	mu   sync.Mutex
	role director.RoleState
	d    *director.Director
	kill func()
	end  func()
}

// newHost makes a namespace with an interface and starts a director.
func newHost(t *testing.T) *host {
	h := &host{t: t, calls: make(chan func())}
	ready := make(chan bool)
	go func() {
		defer close(ready)
		runtime.LockOSThread() // for good
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("unshare: %v", err)
			return
		}
		ready <- true
		for f := range h.calls {
			f()
		}
	}()
	if !<-ready {
		t.FailNow()
	}
	t.Cleanup(func() { close(h.calls) })
	for _, c := range []string{"link add va type veth peer name vb", "link set lo up", "link set va up", "link set vb up",
		"addr add 192.0.2.1/24 dev va", "addr add 2001:db8::1/64 dev va nodad"} {
		h.ip(c)
	}
	return h
}

// do runs f in the namespace.
func (h *host) do(f func()) {
	done := make(chan struct{})
	h.calls <- func() { defer close(done); f() }
	<-done
}

func (h *host) ip(command string) string {
	h.t.Helper()
	var out string
	var err error
	h.do(func() { out, err = run(command) })
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// mortal is a table of a process that may be killed. It is told then that there is
// nothing, and that all went well, so that it ends.
type mortal[K, V comparable] struct {
	director.Table[K, V]
	alive func() bool
}

func (m mortal[K, V]) List(ctx context.Context) (map[K]V, error) {
	if !m.alive() {
		return nil, nil
	}
	return m.Table.List(ctx)
}

func (m mortal[K, V]) Apply(ctx context.Context, c []director.Change[K, V]) error {
	if !m.alive() {
		return nil
	}
	return m.Table.Apply(ctx, c)
}

func (m mortal[K, V]) SetLinks(names []string) {
	if t, ok := m.Table.(interface{ SetLinks([]string) }); ok {
		t.SetLinks(names)
	}
}

func (m mortal[K, V]) SetKeys(keys []director.RoutingKey) {
	if t, ok := m.Table.(interface {
		SetKeys([]director.RoutingKey)
	}); ok {
		t.SetKeys(keys)
	}
}

// start runs a director, as a new process does: its role is not known.
func (h *host) start(c director.Config) {
	h.t.Helper()
	var addresses *addr.Table
	var routes *Table
	var err, err2 error
	h.do(func() {
		addresses, err = addr.New()
		routes, err2 = New()
	})
	if err := errors.Join(err, err2); err != nil {
		h.t.Fatal(err)
	}
	h.mu.Lock()
	h.role = director.RoleState{}
	h.mu.Unlock()
	var dead atomic.Bool
	alive := func() bool { return !dead.Load() }
	d := director.New(director.Options{
		Addresses: mortal[director.AddrKey, director.AddrSpec]{addresses, alive},
		Routes:    mortal[director.RoutingKey, director.RoutingSpec]{routes, alive},
		Resync:    50 * time.Millisecond,
		Roles: func() map[string]director.RoleState {
			h.mu.Lock()
			defer h.mu.Unlock()
			return map[string]director.RoleState{"a": h.role}
		},
	})
	ctx, cancel := context.WithCancel(h.t.Context())
	ended := make(chan error, 1)
	go func() {
		err := d.Run(ctx)
		ended <- errors.Join(err, addresses.Close(), routes.Close())
	}()
	stop := sync.OnceValue(func() error { cancel(); return <-ended })
	h.d = d
	h.end = func() {
		h.t.Helper()
		if err := stop(); err != nil {
			h.t.Error(err)
		}
	}
	h.kill = func() {
		dead.Store(true)
		h.end()
	}
	h.t.Cleanup(func() { _ = stop() })
	d.Set(c)
}

func (h *host) become(r director.Role) {
	h.mu.Lock()
	h.role = director.RoleState{Role: r, Epoch: h.role.Epoch + 1}
	h.mu.Unlock()
	h.d.RingAddresses()
}

// shows waits until the tools of the host show want, the routes of the tables and
// the rules that concern the test.
func (h *host) shows(want string) {
	h.t.Helper()
	want = strings.TrimSpace(want)
	got := ""
	for limit := time.Now().Add(10 * time.Second); time.Now().Before(limit); time.Sleep(5 * time.Millisecond) {
		got = ""
		h.do(func() {
			for _, c := range []string{"-4 route show table 100", "-6 route show table 100", "-4 rule show priority 1000", "-6 rule show priority 1000"} {
				out, _ := run(c) // there may be no such table yet
				for line := range strings.Lines(out) {
					got += strings.Join(strings.Fields(line), " ") + "\n"
				}
			}
		})
		if got = strings.TrimSpace(got); got == want {
			return
		}
	}
	h.t.Fatalf("the tools show\n%s\nwant\n%s", got, want)
}

func TestNetnsDirector(t *testing.T) {
	needRoot(t)
	at := netip.MustParsePrefix
	config := director.Config{Routers: []director.VirtualRouter{{
		Name: "a", Link: "va", Addresses: []netip.Prefix{at("198.51.100.100/24"), at("2001:db8:1::100/64")},
		Routes: []director.Route{
			{
				RouteKey:  director.RouteKey{Table: 100, Destination: at("0.0.0.0/0")},
				RouteSpec: director.RouteSpec{Via: netip.MustParseAddr("198.51.100.1"), Source: netip.MustParseAddr("198.51.100.100")},
			},
			{
				RouteKey:  director.RouteKey{Table: 100, Destination: at("::/0")},
				RouteSpec: director.RouteSpec{Via: netip.MustParseAddr("2001:db8:1::1")},
			},
			{RouteKey: director.RouteKey{Table: 100, Destination: at("203.0.113.0/24")}, RouteSpec: director.RouteSpec{Type: director.Blackhole}},
		},
		Rules: []director.Rule{
			{Priority: 1000, From: at("198.51.100.100/32"), Table: 100},
			{Priority: 1000, From: at("2001:db8:1::100/128"), Table: 100, IPv6: true},
		},
	}}}
	const (
		route4  = "default via 198.51.100.1 dev va proto 117 src 198.51.100.100\n"
		hole    = "blackhole 203.0.113.0/24 proto 117\n"
		foreign = "10.0.0.0/8 via 192.0.2.9 dev va\n"
		route6  = "default via 2001:db8:1::1 dev va proto 117 metric 1024 pref medium\n"
		rule4   = "1000: from 198.51.100.100 lookup 100 proto 117\n"
		rule6   = "1000: from 2001:db8:1::100 lookup 100 proto 117\n"
		all     = route4 + foreign + hole + route6 + rule4 + rule6
	)
	master, backup := newHost(t), newHost(t)
	for _, h := range []*host{master, backup} {
		h.ip("route add 10.0.0.0/8 via 192.0.2.9 table 100")
		h.start(config)
	}
	backup.become(director.RoleBackup)
	master.become(director.RoleMaster)
	master.shows(all)
	backup.shows(foreign)

	for _, c := range []string{
		"route del default table 100", "-6 route del default table 100", "route del blackhole 203.0.113.0/24 table 100",
		"rule del priority 1000", "-6 rule del priority 1000", "route replace default via 192.0.2.7 table 100",
		"addr del 198.51.100.100/24 dev va", "route flush table 100 proto 117",
	} {
		master.ip(c)
		if strings.Contains(c, "replace") {
			// It may have come in the place of ours, or before that was put back.
			// In either case it is not ours to remove.
			if strings.Contains(master.ip("route show table 100"), "192.0.2.7") {
				master.ip("route del default via 192.0.2.7 table 100")
			}
		}
		master.shows(all)
	}
	// The interface goes down and up: the kernel takes the routes over it along.
	master.ip("link set vb down")
	master.ip("link set va down")
	master.ip("link set vb up")
	master.ip("link set va up")
	// and those of others do not come back
	master.shows(strings.Replace(all, foreign, "", 1))
	master.ip("route add 10.0.0.0/8 via 192.0.2.9 table 100")

	master.kill()
	master.shows(all)
	master.start(config)
	time.Sleep(200 * time.Millisecond) // in which it changes nothing
	master.shows(all)
	master.become(director.RoleBackup)
	master.shows(foreign)
	backup.become(director.RoleMaster)
	backup.shows(all)

	// What a killed process has left, and the next one's configuration does not
	// name.
	backup.kill()
	none := director.Config{Routers: []director.VirtualRouter{{Name: "a", Link: "va", Addresses: config.Routers[0].Addresses}}}
	backup.start(none)
	backup.become(director.RoleMaster)
	backup.shows(foreign)

	master.become(director.RoleMaster)
	master.shows(all)
	master.end()
	master.shows(foreign)
	if got := master.ip("addr show dev va"); strings.Contains(got, "198.51.100.100") {
		t.Errorf("an address is left: %s", got)
	}
}

// TestNetnsDirectorEqual: what is there already is used, and stays.
func TestNetnsDirectorEqual(t *testing.T) {
	needRoot(t)
	h := newHost(t)
	h.ip("route add default via 192.0.2.9 table 100")
	h.ip("rule add from 198.51.100.100 table 100 priority 1000")
	const theirs = "default via 192.0.2.9 dev va\n1000: from 198.51.100.100 lookup 100\n"
	h.start(director.Config{Routers: []director.VirtualRouter{{
		Name: "a", Link: "va", Addresses: []netip.Prefix{netip.MustParsePrefix("198.51.100.100/24")},
		Routes: []director.Route{{
			RouteKey:  director.RouteKey{Table: 100, Destination: netip.MustParsePrefix("0.0.0.0/0")},
			RouteSpec: director.RouteSpec{Via: netip.MustParseAddr("192.0.2.9")},
		}},
		Rules: []director.Rule{{Priority: 1000, From: netip.MustParsePrefix("198.51.100.100/32"), Table: 100}},
	}}})
	h.become(director.RoleMaster)
	held := func() int {
		n := 0
		for _, r := range h.d.Status(t.Context()).Routing {
			if r.Held && !r.Ours && r.Err == "" {
				n++
			}
		}
		return n
	}
	for limit := time.Now().Add(10 * time.Second); held() != 2; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("status: %+v", h.d.Status(t.Context()).Routing)
		}
	}
	h.shows(theirs)
	h.become(director.RoleBackup)
	for limit := time.Now().Add(10 * time.Second); strings.Contains(h.ip("addr show dev va"), "198.51.100.100"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the address does not go")
		}
	}
	h.end()
	h.shows(theirs)
}
