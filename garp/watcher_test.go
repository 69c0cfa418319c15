package garp

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWatcherTellsOfConflicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e, log, rings := watchFake(t)
		v4, v6, elsewhere := on("eth0", "10.0.0.1"), on("eth0", "fd00::1"), on("eth1", "10.0.0.2")
		w.Set(watchOf(DefaultTiming, v4, v6, elsewhere))
		time.Sleep(10 * time.Second)
		e.claim(t, 10, theirMAC, "10.0.0.1")
		e.claim(t, 10, ourMAC, "10.0.0.1")
		e.claim(t, 10, theirMAC, "10.0.0.3")
		e.claim(t, 10, theirMAC, "10.0.0.2") // held on another link
		e.claim(t, 10, theirMAC, "fd00::1")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if *rings != 1 {
			t.Errorf("the bell rang %d times for two conflicts, want once", *rings)
		}
		first := synctestStart.Add(10 * time.Second)
		want := []Conflict{
			{v4, theirMAC, ARP, netip.Addr{}, first, first, 1},
			{v6, theirMAC, ND, netip.MustParseAddr("fd00::1"), first, first, 1},
		}
		same := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
		if diff := cmp.Diff(want, w.Conflicts(), same); diff != "" {
			t.Errorf("conflicts (-want +got):\n%s", diff)
		}
		w.Set(watchOf(DefaultTiming, v4, elsewhere))
		synctest.Wait()
		if diff := cmp.Diff(want[:1], w.Conflicts(), same); diff != "" {
			t.Errorf("conflicts (-want +got):\n%s", diff)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if list := w.Conflicts(); len(list) > 0 || *rings != 3 {
			t.Errorf("conflicts %v, the bell rang %d times, want none and 3", list, *rings)
		}
		wantLog := []string{
			`level=WARN msg="address is claimed by somebody else too" link=eth0 address=10.0.0.1 mac=02:00:00:00:00:09`,
			`level=WARN msg="address is claimed by somebody else too" link=eth0 address=fd00::1 mac=02:00:00:00:00:09 source=fd00::1`,
			`level=INFO msg="address is not claimed by anybody else any more" link=eth0 address=fd00::1 mac=02:00:00:00:00:09 source=fd00::1 claims=1 last=2000-01-01T00:00:10.000Z`,
			`level=INFO msg="address is not claimed by anybody else any more" link=eth0 address=10.0.0.1 mac=02:00:00:00:00:09 claims=1 last=2000-01-01T00:00:10.000Z`,
		}
		if diff := cmp.Diff(wantLog, log.take()); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
		wantProbes := []string{
			"1s 10 10.0.0.1", "1s 10 fd00::1", "1s 11 10.0.0.2",
			"1m1s 10 10.0.0.1", "1m1s 11 10.0.0.2", "1m9s 10 10.0.0.1",
		}
		if diff := cmp.Diff(wantProbes, e.take()); diff != "" {
			t.Errorf("probes (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(WatcherStatus{Claims: 2, Probes: 6, Links: map[string]error{}}, w.Status()); diff != "" {
			t.Errorf("Status (-want +got):\n%s", diff)
		}
		w.Set(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := e.take(); len(got) > 0 || len(e.open) > 0 || e.opens != 3 {
			t.Errorf("after everything was withdrawn: probes %v, %d sockets open, %d were opened, want 3", got, len(e.open), e.opens)
		}
	})
}

// Filters follow what is set without another socket.
func TestWatcherRebuildsTheFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e, _, _ := watchFake(t)
		quick := Timing{Expire: time.Hour}
		w.Set(watchOf(quick, on("eth0", "10.0.0.1")))
		synctest.Wait()
		w.Set(watchOf(quick, on("eth0", "10.0.0.2")))
		synctest.Wait()
		e.claim(t, 10, theirMAC, "10.0.0.1")
		e.claim(t, 10, theirMAC, "10.0.0.2")
		synctest.Wait()
		if list := w.Conflicts(); len(list) != 1 || list[0].Target != on("eth0", "10.0.0.2") || e.opens != 1 {
			t.Errorf("conflicts %+v with %d sockets, want one over 10.0.0.2 with one", list, e.opens)
		}
	})
}

// What floods the socket costs a bounded amount, and is counted.
func TestWatcherBoundsAFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e, _, _ := watchFake(t)
		w.Set(watchOf(Timing{Expire: time.Hour}, on("eth0", "10.0.0.1")))
		synctest.Wait()
		const sent = 5000
		for range sent / 5 {
			for range 5 {
				e.claim(t, 10, theirMAC, "10.0.0.1")
			}
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		if got := w.Status().Claims; got > 2*perSecond {
			t.Errorf("%d claims were taken in a second, want %d at most", got, perSecond)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		st := w.Status()
		if st.Missed == 0 || st.Claims+st.Missed != sent {
			t.Errorf("%d taken and %d missed, want %d together", st.Claims, st.Missed, sent)
		}
		e.claim(t, 10, MAC{2, 0, 0, 0, 0, 7}, "10.0.0.1")
		synctest.Wait()
		if got := len(w.Conflicts()); got != 2 {
			t.Errorf("%d conflicts after the flood, want that of the flood and another", got)
		}
	})
}

func TestWatcherSurvivesLinks(t *testing.T) {
	tests := []struct {
		name   string
		breach func(e *fakeEther)
		mend   func(e *fakeEther)
		err    error // nil: any
	}{
		{"link is gone", func(e *fakeEther) { delete(e.devices, "eth0") }, func(e *fakeEther) {}, syscall.ENODEV},
		{"link is down", func(e *fakeEther) { e.devices["eth0"] = device{index: 10, hw: ourMAC[:]} }, func(e *fakeEther) {}, syscall.ENETDOWN},
		{"no Ethernet", func(e *fakeEther) { e.devices["eth0"] = device{index: 10, up: true} }, func(e *fakeEther) {}, nil},
		{"socket is refused", func(e *fakeEther) { e.refuse = syscall.EPERM }, func(e *fakeEther) { e.refuse = nil }, syscall.EPERM},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, e, log, _ := watchFake(t)
				target := on("eth0", "10.0.0.1")
				w.Set(watchOf(Timing{Probe: 2 * time.Second, Expire: time.Hour}, target))
				time.Sleep(time.Second)
				e.change(test.breach)
				e.fail(10, &net.OpError{Op: "read", Err: syscall.ENETDOWN})
				time.Sleep(20*time.Second + time.Second/2)
				synctest.Wait()
				if err := w.Status().Links["eth0"]; err == nil || test.err != nil && !errors.Is(err, test.err) {
					t.Errorf("error while broken: %v, want %v", err, test.err)
				}
				if got := e.take(); len(got) != 1 || e.opens > 22 {
					t.Errorf("probes %v and %d attempts to open a socket, want one at first and at most one a second", got, e.opens)
				}
				e.change(func(e *fakeEther) {
					e.devices["eth0"] = device{index: 20, hw: ourMAC[:], up: true}
					test.mend(e)
				})
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if st := w.Status(); len(st.Links) > 0 || len(e.take()) == 0 {
					t.Errorf("status after the repair: %+v, want no failing link and a probe", st)
				}
				e.claim(t, 20, theirMAC, "10.0.0.1")
				synctest.Wait()
				if len(w.Conflicts()) != 1 {
					t.Error("a conflict after the repair goes unseen")
				}
				lines := log.take()
				warned := slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !strings.Contains(l, "go unseen") })
				well := slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !strings.Contains(l, "are seen again") })
				if len(warned) == 0 || len(warned) > 2 || len(well) != 1 {
					t.Errorf("log:\n%s", strings.Join(lines, "\n"))
				}
			})
		})
	}
}

// Another link of the same name and another hardware address are noticed even if
// nothing fails.
func TestWatcherLooksLinksUpAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e, _, _ := watchFake(t)
		w.Set(watchOf(Timing{Expire: time.Hour}, on("eth0", "10.0.0.1"), on("eth0", "fd00::1")))
		synctest.Wait()
		e.change(func(e *fakeEther) { e.devices["eth0"] = device{index: 10, hw: theirMAC[:], up: true} })
		time.Sleep(recheck)
		synctest.Wait()
		e.claim(t, 10, theirMAC, "10.0.0.1")
		synctest.Wait()
		if list := w.Conflicts(); len(list) > 0 || e.opens != 2 {
			t.Errorf("conflicts over our new hardware address: %+v, and %d sockets, want none and 2", list, e.opens)
		}
		e.change(func(e *fakeEther) { e.devices["eth0"] = device{index: 20, hw: theirMAC[:], up: true} })
		time.Sleep(recheck)
		synctest.Wait()
		e.claim(t, 20, ourMAC, "10.0.0.1")
		synctest.Wait()
		if list := w.Conflicts(); len(list) != 1 || e.opens != 4 {
			t.Errorf("conflicts on the new link: %+v, and %d sockets, want one and 4", list, e.opens)
		}
	})
}

func TestWatcherProbesThatFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e, _, _ := watchFake(t)
		e.change(func(e *fakeEther) { e.broken = syscall.ENOBUFS })
		w.Set(watchOf(DefaultTiming, on("eth0", "10.0.0.1")))
		time.Sleep(3*time.Second + time.Second/2)
		e.change(func(e *fakeEther) { e.broken = nil })
		time.Sleep(time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]string{"4s 10 10.0.0.1"}, e.take()); diff != "" {
			t.Errorf("probes (-want +got):\n%s", diff)
		}
		if st := w.Status(); st.Errors != 3 || st.Probes != 1 {
			t.Errorf("status %+v, want 3 errors and a probe", st)
		}
	})
}

// The probes for many addresses do not come all at one instant.
func TestWatcherSpreadsProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e, _, _ := watchFake(t)
		var targets []Target
		for n := range 250 {
			targets = append(targets, target(n))
		}
		w.Set(watchOf(DefaultTiming, targets...))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		at := map[string]int{}
		for _, p := range e.take() {
			at[strings.Fields(p)[0]]++
		}
		if diff := cmp.Diff(map[string]int{"1s": 64, "1.001s": 64, "1.002s": 64, "1.003s": 58}, at); diff != "" {
			t.Errorf("probes by time (-want +got):\n%s", diff)
		}
	})
}
