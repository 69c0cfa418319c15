package link

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// namespace runs f on a thread of its own in a new network namespace. The
// thread ends with f, and the namespace with the last socket in it.
func namespace(t *testing.T, f func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root for a network namespace")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread must not be used again
		if _, err := netns.New(); err != nil {
			t.Errorf("create network namespace: %v", err)
			return
		}
		f()
	}()
	<-done
}

// plumb adds an IPv4 address to an interface, tagged with protocol unless that
// is 0.
func plumb(index int, prefix netip.Prefix, protocol uint8) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	msg := nl.NewIfAddrmsg(unix.AF_INET)
	msg.Index, msg.Prefixlen = uint32(index), uint8(prefix.Bits())
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFA_LOCAL, prefix.Addr().AsSlice()))
	if protocol != 0 {
		req.AddData(nl.NewRtAttr(attrProto, []byte{protocol}))
	}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

func TestNetnsWatcherFollowsTheKernel(t *testing.T) {
	namespace(t, func() {
		// The goroutines started here run outside of the namespace, so the
		// subscription is made on this thread and the kernel changed before
		// each look at it.
		k, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			t.Error(err)
			return
		}
		defer k.Close()

		w := New(slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()

		must := func(err error) {
			if err != nil {
				t.Error(err)
				cancel()
			}
		}
		set := func(name string, f func(netlink.Link) error) {
			l, err := k.LinkByName(name)
			must(err)
			if err == nil {
				must(f(l))
			}
		}
		addresses := func(s ...string) []netip.Prefix {
			var out []netip.Prefix
			for _, a := range s {
				out = append(out, netip.MustParsePrefix(a))
			}
			return out
		}
		add := func() error {
			attrs := netlink.NewLinkAttrs()
			attrs.Name = "one0"
			return k.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "two0", PeerHardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 2}})
		}
		tag := func(s string, protocol uint8) func(netlink.Link) error {
			return func(l netlink.Link) error { return plumb(l.Attrs().Index, netip.MustParsePrefix(s), protocol) }
		}

		var index int
		steps := []struct {
			name string
			do   func()
			want func(State) bool
		}{
			{"no such interface", func() {}, func(s State) bool { return s.Index == 0 }},
			{"created", func() { must(add()) }, func(s State) bool { index = s.Index; return s.Index > 0 && !s.Up && len(s.HWAddr) == 6 }},
			{"up without carrier, with addresses", func() {
				set("one0", tag("192.0.2.9/24", 0))
				set("one0", tag("192.0.2.200/32", Protocol))
				set("one0", tag("192.0.2.1/24", 0))
				set("one0", k.LinkSetUp)
			}, func(s State) bool {
				return !s.Up && len(s.Addresses) == 2 && State{Addresses: addresses("192.0.2.9/24", "192.0.2.1/24")}.Equal(State{Addresses: s.Addresses})
			}},
			{"carrier", func() { set("two0", k.LinkSetUp) }, func(s State) bool { return s.Up }},
			{"carrier lost", func() { set("two0", k.LinkSetDown) }, func(s State) bool { return s.Index == index && !s.Up }},
			{"deleted", func() { set("one0", k.LinkDel) }, func(s State) bool { return s.Index == 0 && !s.Up && s.Addresses == nil }},
			{"created again", func() { must(add()) }, func(s State) bool { return s.Index > 0 && s.Index != index }},
		}
		next := 0
		w.Watch("one0", func(s State) {
			if next == len(steps) || !steps[next].want(s) {
				return
			}
			if next++; next == len(steps) {
				cancel()
				return
			}
			steps[next].do() // the next state shows it
		})
		start := time.Now()
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
		if next != len(steps) {
			s, _ := w.State("one0")
			t.Errorf("stuck at %q with %+v", steps[next].name, s)
		}
		t.Logf("took %v", time.Since(start))
	})
}

func TestNetnsRemovedVIPIsAHint(t *testing.T) {
	namespace(t, func() {
		w := New(slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		vip := netip.MustParsePrefix("192.0.2.200/32")
		hints := 0
		w.Changed = func() {
			switch hints++; hints {
			case 1:
				// No hint for what we plumb ourselves, only for its end.
				if err := plumb(1, vip, Protocol); err != nil {
					t.Error(err)
				}
				lo, err := netlink.LinkByIndex(1)
				if err == nil {
					err = netlink.AddrDel(lo, &netlink.Addr{IPNet: &net.IPNet{IP: vip.Addr().AsSlice(), Mask: net.CIDRMask(32, 32)}})
				}
				if err != nil {
					t.Error(err)
				}
			case 2:
				cancel()
			}
		}
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
		if hints != 2 {
			t.Errorf("%d hints, want 2: the listing, the address removed", hints)
		}
	})
}
