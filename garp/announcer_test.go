package garp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeLinks are links that a test drives.
type fakeLinks struct {
	mu      sync.Mutex
	devices map[string]device
	router  bool
	refuse  error // what open returns for eth0
	broken  error // what send returns on eth0
	opens   int
	sockets map[*fakeSocket]bool // open
	sent    []string             // "time index operation-or-flags hardware-address address"
	onSend  func()
}

type fakeSocket struct {
	links *fakeLinks
	dev   device
}

func (l *fakeLinks) lookup(name string) (device, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d, ok := l.devices[name]
	if !ok {
		return device{}, fmt.Errorf("look up link %s: %w", name, syscall.ENODEV)
	}
	return d, nil
}

func (l *fakeLinks) routes(string) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.router, nil
}

func (l *fakeLinks) open(d device) (socket, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opens++
	if l.refuse != nil && d.index%10 == 0 {
		return nil, l.refuse
	}
	s := &fakeSocket{l, d}
	l.sockets[s] = true
	return s, nil
}

func (s *fakeSocket) lookup(name string) (device, error) { return s.links.lookup(name) }

func (s *fakeSocket) limit(time.Time) error { return nil }

func (s *fakeSocket) send(frame []byte) error {
	s.links.mu.Lock()
	defer s.links.mu.Unlock()
	if s.links.onSend != nil {
		s.links.onSend()
	}
	switch {
	case !s.links.sockets[s]:
		return errors.New("the socket is closed")
	case !slices.ContainsFunc(slices.Collect(maps.Values(s.links.devices)), func(d device) bool { return d.index == s.dev.index }):
		return syscall.ENXIO
	case s.links.broken != nil && s.dev.index%10 == 0:
		return s.links.broken
	}
	what, address := fmt.Sprintf("op%d", frame[21]), netip.AddrFrom4([4]byte(frame[28:32]))
	if frame[12] == 0x86 {
		what, address = fmt.Sprintf("na%02x", frame[58]), netip.AddrFrom16([16]byte(frame[62:78]))
	}
	s.links.sent = append(s.links.sent, fmt.Sprintf("%v %d %s %v %v", time.Since(synctestStart), s.dev.index,
		what, net.HardwareAddr(frame[6:12]), address))
	return nil
}

func (s *fakeSocket) close() error {
	s.links.mu.Lock()
	defer s.links.mu.Unlock()
	delete(s.links.sockets, s)
	return nil
}

// change lets f write what the announcer reads.
func (l *fakeLinks) change(f func(l *fakeLinks)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l)
}

// synctestStart is the time in every new bubble.
var synctestStart = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// start runs an announcer on fake links until the test ends.
func start(t *testing.T) (*Announcer, *fakeLinks, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	a := New(Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	l := &fakeLinks{
		devices: map[string]device{
			"eth0": {index: 10, hw: net.HardwareAddr{2, 0, 0, 0, 0, 1}},
			"eth1": {index: 11, hw: net.HardwareAddr{2, 0, 0, 0, 0, 2}},
		},
		sockets: map[*fakeSocket]bool{},
	}
	a.links = l // before Run, which is the only one to use it
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if len(l.sockets) > 0 {
			t.Errorf("%d sockets are left open", len(l.sockets))
		}
	})
	return a, l, &log
}

func on(link, address string) Target {
	return Target{Link: link, Address: netip.MustParseAddr(address)}
}

// take returns the frames sent since it was last called.
func (l *fakeLinks) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	sent := l.sent
	l.sent = nil
	return sent
}

func TestAnnouncerFollowsTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l, log := start(t)
		a.Set(map[Target]Claim{
			on("eth0", "10.0.0.1"): {Schedule: Schedule{Count: 1, RepeatAfter: time.Second}},
			on("eth1", "10.0.0.2"): {Schedule: Schedule{Count: 1, Refresh: 2 * time.Second}},
		})
		time.Sleep(3 * time.Second)
		synctest.Wait()
		want := []string{
			"0s 10 op1 02:00:00:00:00:01 10.0.0.1", "0s 10 op2 02:00:00:00:00:01 10.0.0.1",
			"0s 11 op1 02:00:00:00:00:02 10.0.0.2", "0s 11 op2 02:00:00:00:00:02 10.0.0.2",
			"1s 10 op1 02:00:00:00:00:01 10.0.0.1", "1s 10 op2 02:00:00:00:00:01 10.0.0.1",
			"2s 11 op1 02:00:00:00:00:02 10.0.0.2", "2s 11 op2 02:00:00:00:00:02 10.0.0.2",
		}
		if diff := cmp.Diff(want, l.take()); diff != "" {
			t.Errorf("frames (-want +got):\n%s", diff)
		}
		if l.opens != 2 {
			t.Errorf("%d sockets were opened, want 2", l.opens)
		}
		wantStatus := Status{Frames: 8, Targets: map[Target]TargetStatus{
			on("eth0", "10.0.0.1"): {Frames: 4, Last: synctestStart.Add(time.Second)},
			on("eth1", "10.0.0.2"): {Frames: 4, Last: synctestStart.Add(2 * time.Second)},
		}}
		if diff := cmp.Diff(wantStatus, a.Status(), cmp.Comparer(func(a, b Target) bool { return a == b })); diff != "" {
			t.Errorf("Status (-want +got):\n%s", diff)
		}
		a.Set(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(l.sent) > 0 || len(l.sockets) > 0 || len(a.Status().Targets) > 0 {
			t.Errorf("after everything was withdrawn: frames %v, %d sockets, status %v", l.sent, len(l.sockets), a.Status())
		}
		if log.Len() > 0 {
			t.Errorf("log:\n%s", log)
		}
	})
}

func TestAnnouncerUsesTheCurrentDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l, _ := start(t)
		a.Set(map[Target]Claim{on("eth0", "10.0.0.1"): {Schedule: Schedule{Count: 4, Interval: time.Second}}})
		synctest.Wait()
		l.change(func(l *fakeLinks) { l.devices["eth0"] = device{index: 10, hw: net.HardwareAddr{2, 0, 0, 0, 0, 9}} })
		time.Sleep(time.Second)
		synctest.Wait()
		l.change(func(l *fakeLinks) { // renamed, and another one in its place
			l.devices["old0"] = l.devices["eth0"]
			l.devices["eth0"] = device{index: 20, hw: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
		})
		time.Sleep(time.Second)
		synctest.Wait()
		l.change(func(l *fakeLinks) { // gone, and another one in its place
			l.devices["eth0"] = device{index: 30, hw: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
		})
		time.Sleep(time.Second)
		synctest.Wait()
		want := []string{
			"0s 10 op1 02:00:00:00:00:01 10.0.0.1", "0s 10 op2 02:00:00:00:00:01 10.0.0.1",
			"1s 10 op1 02:00:00:00:00:09 10.0.0.1", "1s 10 op2 02:00:00:00:00:09 10.0.0.1",
			"2s 20 op1 02:00:00:00:00:01 10.0.0.1", "2s 20 op2 02:00:00:00:00:01 10.0.0.1",
			"3s 30 op1 02:00:00:00:00:01 10.0.0.1", "3s 30 op2 02:00:00:00:00:01 10.0.0.1",
		}
		if diff := cmp.Diff(want, l.take()); diff != "" {
			t.Errorf("frames (-want +got):\n%s", diff)
		}
		if len(l.sockets) != 1 || a.Status().Errors != 0 {
			t.Errorf("%d sockets are open, and %d errors, want 1 and none", len(l.sockets), a.Status().Errors)
		}
	})
}

func TestAnnouncerRetries(t *testing.T) {
	tests := []struct {
		name   string
		breach func(l *fakeLinks)
		mend   func(l *fakeLinks)
		opens  int // at most while broken
		err    error
	}{
		{"link is down", func(l *fakeLinks) { l.broken = syscall.ENETDOWN }, func(l *fakeLinks) { l.broken = nil }, 20, syscall.ENETDOWN},
		{"socket is refused", func(l *fakeLinks) { l.refuse = syscall.EPERM }, func(l *fakeLinks) { l.refuse = nil }, 20, syscall.EPERM},
		{
			"no such link", func(l *fakeLinks) { delete(l.devices, "eth0") },
			func(l *fakeLinks) { l.devices["eth0"] = device{index: 10, hw: net.HardwareAddr{2, 0, 0, 0, 0, 1}} }, 1, syscall.ENODEV,
		},
		{
			"no hardware address", func(l *fakeLinks) { l.devices["eth0"] = device{index: 10} },
			func(l *fakeLinks) { l.devices["eth0"] = device{index: 10, hw: net.HardwareAddr{2, 0, 0, 0, 0, 1}} }, 1, nil,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, l, log := start(t)
				l.change(test.breach)
				claims := map[Target]Claim{on("eth1", "10.0.0.9"): {Schedule: Schedule{Count: 1}}}
				for n := range 100 {
					claims[on("eth0", fmt.Sprintf("10.0.1.%d", n))] = Claim{Schedule: Schedule{Count: 1}}
				}
				a.Set(claims)
				time.Sleep(300 * time.Millisecond)
				synctest.Wait()
				if diff := cmp.Diff([]string{"0s 11 op1 02:00:00:00:00:02 10.0.0.9", "0s 11 op2 02:00:00:00:00:02 10.0.0.9"}, l.take()); diff != "" {
					t.Errorf("frames while one link is broken (-want +got):\n%s", diff)
				}
				st := a.Status().Targets[on("eth0", "10.0.1.50")]
				if st.Err == nil || test.err != nil && !errors.Is(st.Err, test.err) || st.Errors != 3 || st.Frames != 0 {
					t.Errorf("status while broken: %+v, want three errors that are %v", st, test.err)
				}
				l.change(func(l *fakeLinks) {
					if l.opens > test.opens {
						t.Errorf("%d attempts to open a socket in 300 ms", l.opens)
					}
					test.mend(l)
				})
				time.Sleep(time.Second)
				synctest.Wait()
				if got := len(l.take()); got != 200 {
					t.Errorf("%d frames were sent after the repair, want 2 for each of 100 targets", got)
				}
				if st := a.Status().Targets[on("eth0", "10.0.1.50")]; st.Err != nil || st.Frames != 2 {
					t.Errorf("status after the repair: %+v", st)
				}
				warned := strings.Count(log.String(), "level=WARN msg=\"announcement failed\" link=eth0")
				well := strings.Count(log.String(), "level=INFO msg=\"announcements succeed again\" link=eth0")
				if warned != 1 || well != 1 || strings.Count(log.String(), "\n") != 2 {
					t.Errorf("%d warnings and %d all-clears, want one each:\n%s", warned, well, log)
				}
			})
		})
	}
}

func TestAnnouncerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l, _ := start(t)
		l.change(func(l *fakeLinks) { l.broken = syscall.ENOBUFS })
		a.Set(map[Target]Claim{on("eth0", "10.0.0.1"): {Schedule: Schedule{Count: 1}}})
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := a.Status().Errors; got != retries+1 {
			t.Errorf("%d errors in an hour, want %d", got, retries+1)
		}
	})
}

func TestAnnouncerIPv6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l, log := start(t)
		once := Claim{Schedule: Schedule{Count: 1, RepeatAfter: time.Second}}
		a.Set(map[Target]Claim{on("eth0", "fd00::200"): once, on("eth0", "10.0.0.1"): once})
		synctest.Wait()
		l.change(func(l *fakeLinks) { // forwarding is switched on
			l.router = true
		})
		time.Sleep(time.Minute)
		synctest.Wait()
		want := []string{
			"0s 10 op1 02:00:00:00:00:01 10.0.0.1", "0s 10 op2 02:00:00:00:00:01 10.0.0.1",
			"0s 10 na20 02:00:00:00:00:01 fd00::200",
			"1s 10 op1 02:00:00:00:00:01 10.0.0.1", "1s 10 op2 02:00:00:00:00:01 10.0.0.1",
			"1s 10 naa0 02:00:00:00:00:01 fd00::200",
		}
		if diff := cmp.Diff(want, l.take()); diff != "" {
			t.Errorf("frames (-want +got):\n%s", diff)
		}
		if l.opens != 1 || log.Len() > 0 {
			t.Errorf("%d sockets were opened, want 1; log:\n%s", l.opens, log)
		}
	})
}

func TestAnnouncerRefusesWhatIsNoAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l, log := start(t)
		claims := map[Target]Claim{
			on("eth0", "ff02::1"): {Schedule: Schedule{Count: 1}, Epoch: 1},
			{Link: "eth0"}:        {Schedule: Schedule{Count: 1}},
		}
		a.Set(claims)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(l.sent) > 0 || log.Len() > 0 {
			t.Errorf("frames %v, log %q, want none", l.sent, log)
		}
		for target := range claims {
			if err := a.Status().Targets[target].Err; !errors.Is(err, errInvalid) {
				t.Errorf("%v: error %v, want %v", target, err, errInvalid)
			}
		}
		if len(claims) != 2 {
			t.Errorf("Set changed the map to %v", claims)
		}
	})
}

// New claims and the end are noticed in the middle of a long burst.
func TestAnnouncerIsInterruptible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l, _ := start(t)
		claims := map[Target]Claim{}
		for n := range 250 {
			claims[on("eth0", fmt.Sprintf("10.0.1.%d", n))] = Claim{Schedule: Schedule{Count: 10}}
		}
		sends := 0
		l.change(func(l *fakeLinks) {
			l.onSend = func() {
				if sends++; sends == 100 {
					a.Set(map[Target]Claim{on("eth1", "10.0.0.9"): {Schedule: Schedule{Count: 1}}})
				}
			}
		})
		a.Set(claims)
		time.Sleep(time.Second) // it rests between bursts
		sent := l.take()
		if len(sent) > 100+2*burst+2 || !strings.HasSuffix(sent[len(sent)-1], "10.0.0.9") {
			t.Errorf("%d frames were sent, the last %q, want the claim set after 100 soon", len(sent), sent[len(sent)-1])
		}
	})
	synctest.Test(t, func(t *testing.T) {
		a := New(Options{})
		ctx, cancel := context.WithCancel(t.Context())
		l := &fakeLinks{devices: map[string]device{"eth0": {index: 10, hw: make(net.HardwareAddr, 6)}}, sockets: map[*fakeSocket]bool{}}
		l.onSend = func() {
			if len(l.sent) == 100 {
				cancel()
			}
		}
		a.links = l
		a.Set(map[Target]Claim{on("eth0", "10.0.0.1"): {Schedule: Schedule{Count: 100000}}})
		if err := a.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
		if len(l.sent) > 100+2*burst || len(l.sockets) > 0 {
			t.Errorf("%d frames were sent and %d sockets left", len(l.sent), len(l.sockets))
		}
	})
}
