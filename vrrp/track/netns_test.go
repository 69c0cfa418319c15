package track

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/link"
)

// again runs the test a second time, in a process with a network namespace of its
// own, so that all goroutines of a Tracker are in it. It reports whether this is
// that process, and the test is to be done.
func again(t *testing.T) bool {
	t.Helper()
	if inside() {
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("needs root for a network namespace")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "_test.go:") {
			t.Log(strings.TrimSpace(line))
		}
	}
	return false
}

// watched is a Tracker that follows the kernel, and the bell that it rings.
type watched struct {
	*Tracker
	bell chan struct{}
}

func watch(t *testing.T, items ...Item) *watched {
	t.Helper()
	follower := link.New(slog.New(slog.DiscardHandler))
	w := &watched{bell: make(chan struct{}, 1)}
	w.Tracker = New(Options{
		Bell: func() {
			select {
			case w.bell <- struct{}{}:
			default:
			}
		},
		Links: func(name string, f func(exists, up bool)) func() {
			return follower.Watch(name, func(s link.State) { f(s.Index > 0, s.Up) })
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- follower.Run(ctx) }()
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	w.Set(one(items...))
	return w
}

// until waits for a result and returns how long it took from the call of do. It
// checks after each ring only: that is how the daemon learns of it.
func (w *watched) until(t *testing.T, what string, do func() error, good func(Result) bool) time.Duration {
	t.Helper()
	start := time.Now()
	if err := do(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	for end := time.After(3 * time.Second); ; {
		if r := w.Lookup("web"); !r.Pending && good(r) {
			return time.Since(start)
		}
		select {
		case <-w.bell:
		case <-end:
			t.Fatalf("%s: %+v", what, w.Lookup("web"))
		}
	}
}

// bound is what a reaction may take in the median on a machine that does much else.
const bound = 200 * time.Millisecond

func summary(t *testing.T, what string, took []time.Duration) {
	t.Helper()
	slices.Sort(took)
	t.Logf("%s: %d times, median %v, longest %v", what, len(took), took[len(took)/2].Round(time.Microsecond), took[len(took)-1].Round(time.Microsecond))
	if median := took[len(took)/2]; median > bound {
		t.Errorf("%s: took %v", what, median)
	}
}

func veth(t *testing.T, name, peer string) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: peer}); err != nil {
		t.Fatal(err)
	}
}

func set(name string, f func(netlink.Link) error) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return f(l)
}

func fault(r Result) bool  { return r.Fault }
func passes(r Result) bool { return !r.Fault && r.Items[0].State == Pass }

func TestNetnsInterface(t *testing.T) {
	if !again(t) {
		return
	}
	w := watch(t, Item{Target: Target{Kind: Interface, Name: "one0"}})
	w.until(t, "no such interface", func() error { return nil }, fault)
	veth(t, "one0", "two0")
	up := func(name string) func() error { return func() error { return set(name, netlink.LinkSetUp) } }
	down := func(name string) func() error { return func() error { return set(name, netlink.LinkSetDown) } }
	w.until(t, "up", func() error { _ = up("two0")(); return up("one0")() }, passes)
	var lost, back []time.Duration
	for range 20 {
		lost = append(lost, w.until(t, "carrier lost", down("two0"), fault))
		back = append(back, w.until(t, "carrier back", up("two0"), passes))
	}
	summary(t, "carrier lost", lost)
	summary(t, "carrier back", back)
	var off []time.Duration
	for range 5 {
		off = append(off, w.until(t, "switched off", down("one0"), fault))
		w.until(t, "switched on", up("one0"), passes)
	}
	summary(t, "switched off", off)
	w.until(t, "deleted", func() error { return set("one0", netlink.LinkDel) }, fault)
}

func ipNet(s string) *net.IPNet {
	p := netip.MustParsePrefix(s)
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func TestNetnsRoute(t *testing.T) {
	if !again(t) {
		return
	}
	veth(t, "one0", "two0")
	for _, name := range []string{"lo", "one0", "two0"} {
		if err := set(name, netlink.LinkSetUp); err != nil {
			t.Fatal(err)
		}
	}
	index := 0
	if err := set("one0", func(l netlink.Link) error { index = l.Attrs().Index; return nil }); err != nil {
		t.Fatal(err)
	}
	// IPv6 addresses go when their interface goes down.
	plumb := func(address string) error {
		return set("one0", func(l netlink.Link) error {
			return netlink.AddrReplace(l, &netlink.Addr{IPNet: ipNet(address), Flags: unix.IFA_F_NODAD})
		})
	}
	if got := interfaceIndex("one0"); got != index {
		t.Errorf("index %d, want %d", got, index)
	}
	for _, family := range []struct{ dst, via, other, another, address string }{
		{"0.0.0.0/0", "192.0.2.1", "192.0.2.2", "198.51.100.0/24", "192.0.2.9/24"},
		{"2001:db8:1::/48", "2001:db8::1", "2001:db8::2", "2001:db8:2::/48", "2001:db8::9/64"},
	} {
		t.Run(family.dst, func(t *testing.T) {
			if err := plumb(family.address); err != nil {
				t.Fatal(err)
			}
			route := func(dst, via string) *netlink.Route {
				return &netlink.Route{Dst: ipNet(dst), Gw: net.IP(netip.MustParseAddr(via).AsSlice()), LinkIndex: index}
			}
			ours := route(family.dst, family.via)
			add := func(r *netlink.Route) func() error { return func() error { return netlink.RouteAdd(r) } }
			del := func(r *netlink.Route) func() error { return func() error { return netlink.RouteDel(r) } }
			target := Target{Kind: Route, Prefix: prefix(family.dst), Via: address(family.via), Device: "one0"}
			w := watch(t, Item{Target: target}, Item{Target: Target{Kind: Route, Prefix: prefix(family.dst)}, Weight: 10})
			w.until(t, "absent", func() error { return nil }, fault)
			var came, went []time.Duration
			for range 20 {
				came = append(came, w.until(t, "added", func() error { return retry(add(ours)) }, passes))
				went = append(went, w.until(t, "deleted", del(ours), fault))
			}
			summary(t, family.dst+" added", came)
			summary(t, family.dst+" deleted", went)

			w.until(t, "by another gateway", add(route(family.dst, family.other)), func(r Result) bool { return r.Fault && r.Adjust == 10 })
			w.until(t, "and by ours, with another metric", func() error {
				r := route(family.dst, family.via)
				r.Priority = 500
				return netlink.RouteAdd(r)
			}, passes)
			w.until(t, "ours deleted", func() error {
				r := route(family.dst, family.via)
				r.Priority = 500
				return netlink.RouteDel(r)
			}, fault)
			w.until(t, "the other deleted", del(route(family.dst, family.other)), func(r Result) bool { return r.Fault && r.Adjust == 0 })

			w.until(t, "several next hops", func() error {
				r := &netlink.Route{Dst: ipNet(family.dst)}
				for _, via := range []string{family.other, family.via} {
					r.MultiPath = append(r.MultiPath, &netlink.NexthopInfo{LinkIndex: index, Gw: net.IP(netip.MustParseAddr(via).AsSlice())})
				}
				return netlink.RouteAdd(r)
			}, passes)
			w.until(t, "deleted", func() error { return netlink.RouteDel(&netlink.Route{Dst: ipNet(family.dst)}) }, fault)

			blackhole := &netlink.Route{Dst: ipNet(family.dst), Type: unix.RTN_BLACKHOLE, Priority: 7}
			elsewhere := route(family.dst, family.via)
			elsewhere.Table = 77
			w.until(t, "a blackhole, and another table", func() error {
				for _, r := range []*netlink.Route{blackhole, elsewhere, route(family.another, family.via)} {
					if err := netlink.RouteAdd(r); err != nil {
						return err
					}
				}
				return nil
			}, fault)
			w.until(t, "ours", add(ours), passes)

			var cut []time.Duration
			for range 5 {
				cut = append(cut, w.until(t, "no carrier", func() error { return set("two0", netlink.LinkSetDown) }, fault))
				w.until(t, "carrier", func() error { return set("two0", netlink.LinkSetUp) }, passes)
			}
			summary(t, family.dst+" without carrier", cut)
			cut = nil
			for range 3 {
				cut = append(cut, w.until(t, "interface down", func() error { return set("one0", netlink.LinkSetDown) }, fault))
				w.until(t, "interface up", func() error {
					if err := set("one0", netlink.LinkSetUp); err != nil {
						return err
					}
					if err := plumb(family.address); err != nil {
						return err
					}
					return retry(func() error { return netlink.RouteReplace(ours) })
				}, passes)
			}
			summary(t, family.dst+", its interface down", cut)
			for _, r := range []*netlink.Route{blackhole, elsewhere, ours} {
				_ = netlink.RouteDel(r)
			}
		})
	}
}

// retry waits for the kernel to have got ready what it does in the background.
func retry(f func() error) error {
	var err error
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if err = f(); err == nil {
			return nil
		}
	}
	return err
}

// TestNetnsManyRoutes logs what a look costs among many routes, and checks that
// those that nobody tracks cause none.
func TestNetnsManyRoutes(t *testing.T) {
	if !again(t) {
		return
	}
	if err := set("lo", netlink.LinkSetUp); err != nil {
		t.Fatal(err)
	}
	var routes []*netlink.Route
	for n := range 5000 {
		routes = append(routes, &netlink.Route{Dst: ipNet(fmt.Sprintf("10.%d.%d.0/24", n/250, n%250)), LinkIndex: 1, Scope: unix.RT_SCOPE_LINK})
	}
	for _, r := range routes {
		if err := netlink.RouteAdd(r); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	found, err := listRoutes(true, false, func(p netip.Prefix) bool { return p == prefix("10.7.7.0/24") })
	if err != nil || len(found) != 1 {
		t.Errorf("%v, %v", found, err)
	}
	t.Logf("%d routes listed in %v", len(routes), time.Since(start).Round(time.Microsecond))
	w := watch(t, Item{Target: Target{Kind: Route, Prefix: prefix("10.7.7.0/24")}})
	w.until(t, "there", func() error { return nil }, passes)
	for _, r := range routes[:1000] {
		if err := netlink.RouteDel(r); err != nil {
			t.Fatal(err)
		}
	}
	if r := w.Lookup("web"); r.Fault {
		t.Errorf("%+v", r)
	}
	ours := routes[7*250+7]
	took := w.until(t, "deleted among them", func() error { return netlink.RouteDel(ours) }, fault)
	t.Logf("one deleted among %d: %v", len(routes), took.Round(time.Microsecond))
}
