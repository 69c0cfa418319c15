package speaker

import (
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/director/link"
	"github.com/understudy-ha/understudy/vrrp"
)

// pair is two hosts that elect the first, at its end.
func pair(t *testing.T, interval time.Duration) (l *lan, a, b *host) {
	t.Helper()
	l = new(lan)
	a, b = l.join("a", "192.0.2.1"), l.join("b", "192.0.2.2")
	a.Set([]Router{web(150, interval)})
	b.Set([]Router{web(100, interval)})
	a.start(t)
	b.start(t)
	time.Sleep(4 * interval)
	synctest.Wait()
	return l, a, b
}

func TestTheBetterRouterBecomesMasterOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		l, a, b := pair(t, time.Second)
		s := a.expect(t, vrrp.StateMaster, vrrp.ReasonMasterDown)
		if want := 3*time.Second + time.Second*106/256; s.Since.Sub(begin).Round(time.Millisecond) != want.Round(time.Millisecond) {
			t.Errorf("master after %v, want %v", s.Since.Sub(begin), want)
		}
		if s.Master != addr("192.0.2.1") || s.Config.Primary != addr("192.0.2.1") || s.Link != "eth0" {
			t.Errorf("status %+v", s)
		}
		s = b.expect(t, vrrp.StateBackup, vrrp.ReasonStartup)
		if s.Master != addr("192.0.2.1") || s.MasterPriority != 150 || !s.Settled {
			t.Errorf("status %+v", s)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := len(l.packets("a", 0)); n != 11 {
			t.Errorf("%d advertisements in 10s, want 11", n)
		}
		if n := len(l.packets("b", 0)); n != 0 {
			t.Errorf("%d advertisements from the backup", n)
		}
		c := b.one(t).Counters
		if c.Received != 11 || c.Transitions != 1 || c.LateTicks != 0 || c.Drops != [vrrp.NumDrops]uint64{} {
			t.Errorf("counters of the backup %+v", c)
		}
		if c := a.one(t).Counters; c.Sent != 11 || c.SendErrors != 0 || c.Transitions != 2 || c.LateTicks != 0 {
			t.Errorf("counters of the master %+v", c)
		}
	})
}

func TestANewMasterSpeaksBeforeTheBell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a, _ := pair(t, time.Second)
		first := l.packets("a", 0)[0]
		for _, b := range a.bells {
			if len(b.status) == 0 || b.status[0].State != vrrp.StateMaster {
				continue
			}
			if b.sent == 0 {
				t.Error("the bell rang before the advertisement was sent")
			}
			if !b.at.Equal(first.at) || !b.status[0].Since.Equal(first.at) {
				t.Errorf("bell at %v, transition at %v, advertisement at %v", b.at, b.status[0].Since, first.at)
			}
			return
		}
		t.Error("no bell showed a master")
	})
}

func TestACleanStopSaysFarewellBeforeRunReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a, b := pair(t, time.Second)
		mark, at := l.mark(), time.Now()
		a.stop(t)
		last := l.packets("a", mark)
		if len(last) != 1 || last[0].advert.Priority != 0 || !last[0].at.Equal(at) {
			t.Fatalf("sent on stop: %+v", last)
		}
		if s := a.one(t); s.State != vrrp.StateInit || s.Reason != vrrp.ReasonShutdown {
			t.Errorf("after Run: %v (%v)", s.State, s.Reason)
		}
		if last := a.bells[len(a.bells)-1]; last.status[0].State != vrrp.StateInit {
			t.Error("no bell for the stop")
		}
		time.Sleep(time.Second*156/256 - time.Millisecond)
		b.expect(t, vrrp.StateBackup, vrrp.ReasonStartup)
		time.Sleep(time.Millisecond)
		b.expect(t, vrrp.StateMaster, vrrp.ReasonFarewell)
		mark = l.mark()
		b.stop(t)
		if last := l.packets("b", mark); len(last) != 1 || last[0].advert.Priority != 0 {
			t.Errorf("sent on stop: %+v", last)
		}
	})
}

func TestABackupStopsInSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _, b := pair(t, time.Second)
		b.stop(t)
		if n := len(l.packets("b", 0)); n != 0 {
			t.Errorf("%d packets", n)
		}
	})
}

func TestALinkLostIsAFaultAndALinkBackIsInitAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a, b := pair(t, time.Second)
		mark := l.mark()
		down := up1("192.0.2.1")
		down.Up = false
		a.with(func() { a.cut = true })
		a.SetLink(down)
		a.expect(t, vrrp.StateFault, vrrp.ReasonLinkDown)
		if n := len(l.packets("a", mark)); n != 0 {
			t.Errorf("%d packets sent to a link that is down", n)
		}
		if !a.sockets[0].closed {
			t.Error("socket still open")
		}
		time.Sleep(4 * time.Second)
		b.expect(t, vrrp.StateMaster, vrrp.ReasonMasterDown)
		a.expect(t, vrrp.StateFault, vrrp.ReasonLinkDown)

		a.with(func() { a.cut = false })
		a.SetLink(up1("192.0.2.1"))
		a.expect(t, vrrp.StateBackup, vrrp.ReasonStartup)
		time.Sleep(4 * time.Second)
		a.expect(t, vrrp.StateMaster, vrrp.ReasonPreempt)
		b.expect(t, vrrp.StateBackup, vrrp.ReasonHigherPriority)

		a.SetLink(link.State{})
		a.expect(t, vrrp.StateFault, vrrp.ReasonLinkDown)
	})
}

func TestAnInterfaceReplacedUnderItsNameGetsANewSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, _ := pair(t, time.Second)
		other := up1("192.0.2.1")
		other.Index = 9
		a.SetLink(other)
		a.expect(t, vrrp.StateBackup, vrrp.ReasonStartup)
		if len(a.sockets) != 2 || !a.sockets[0].closed || a.sockets[1].closed {
			t.Errorf("%d sockets", len(a.sockets))
		}
		if !a.sockets[1].multicast || !a.sockets[1].ids.has(51) {
			t.Error("the new socket admits nothing")
		}
	})
}

func TestWithoutAnAddressThereIsAFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a, _ := pair(t, time.Second)
		mark := l.mark()
		a.SetLink(up1("192.0.2.200", "fe80::1")) // a virtual address and one of another family
		if s := a.expect(t, vrrp.StateFault, vrrp.ReasonNoAddress); s.Config.Primary.IsValid() {
			t.Errorf("primary address %v", s.Config.Primary)
		}
		if n := len(l.packets("a", mark)); n != 0 {
			t.Errorf("%d packets without an address", n)
		}
		a.with(func() { a.addrs = []netip.Addr{addr("192.0.2.7")} })
		a.SetLink(up1("192.0.2.200", "192.0.2.7"))
		if s := a.expect(t, vrrp.StateBackup, vrrp.ReasonStartup); s.Config.Primary != addr("192.0.2.7") {
			t.Errorf("primary address %v", s.Config.Primary)
		}
	})
}

func TestAChangedPrimaryAddressIsUsedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a, b := pair(t, time.Second)
		a.with(func() { a.addrs = []netip.Addr{addr("192.0.2.7")} })
		a.SetLink(up1("192.0.2.7"))
		time.Sleep(2 * time.Second)
		if s := a.expect(t, vrrp.StateMaster, vrrp.ReasonMasterDown); s.Master != addr("192.0.2.7") || s.Epoch != 1 {
			t.Errorf("status %+v", s)
		}
		all := l.packets("a", 0)
		if last := all[len(all)-1]; last.src != addr("192.0.2.7") {
			t.Errorf("source %v", last.src)
		}
		if s := b.one(t); s.Master != addr("192.0.2.7") {
			t.Errorf("backup knows %v", s.Master)
		}
	})
}

func TestAStalledProcessHearsBeforeItTakesOver(t *testing.T) {
	const interval = 100 * time.Millisecond
	tests := []struct {
		name string
		// do happens to the backup, whose clock stands still until frozen.
		do   func(t *testing.T, a, b *host)
		want vrrp.State
	}{
		{"master alive", func(_ *testing.T, _, b *host) {
			b.with(func() { b.frozen = time.Now().Add(10 * interval) })
			time.Sleep(10 * interval)
		}, vrrp.StateBackup},
		{"master alive, its last advertisement still in the driver", func(t *testing.T, a, b *host) {
			b.with(func() { b.frozen = time.Now().Add(10 * interval); b.cut = true })
			time.Sleep(10*interval + grace/2)
			b.with(func() {
				b.cut = false
				b.inject(packet{src: addr("192.0.2.1"), dst: group4, ttl: wantTTL, message: advertisement(t, web(150, interval), 150, addr("192.0.2.1"), group4)})
			})
			time.Sleep(grace)
		}, vrrp.StateBackup},
		{"master alive, awake again in good time but not in the same instant", func(t *testing.T, a, b *host) {
			// The deadline falls into a stall too short for patience, and so
			// does an advertisement after it.
			a.with(func() { a.cut = true })
			heard := a.lan.packets("a", 0)
			due := heard[len(heard)-1].at.Add(b.one(t).Config.MasterDownInterval(interval))
			time.Sleep(time.Until(due.Add(-time.Millisecond)))
			b.with(func() { b.frozen = due.Add(2 * time.Millisecond) })
			time.Sleep(2 * time.Millisecond)
			b.with(func() {
				b.inject(packet{src: addr("192.0.2.1"), dst: group4, ttl: wantTTL, message: advertisement(t, web(150, interval), 150, addr("192.0.2.1"), group4)})
			})
			time.Sleep(2 * time.Millisecond)
		}, vrrp.StateBackup},
		{"master gone before", func(t *testing.T, a, b *host) {
			b.with(func() { b.frozen = time.Now().Add(10 * interval); b.cut = true })
			time.Sleep(10*interval + 2*grace)
		}, vrrp.StateMaster},
		{"master gone meanwhile", func(t *testing.T, a, b *host) {
			b.with(func() { b.frozen = time.Now().Add(10 * interval) })
			time.Sleep(5 * interval)
			a.with(func() { a.cut = true })
			time.Sleep(9 * interval)
		}, vrrp.StateMaster},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, a, b := pair(t, interval)
				tt.do(t, a, b)
				synctest.Wait()
				s := b.one(t)
				if s.State != tt.want {
					t.Errorf("%v (%v), want %v", s.State, s.Reason, tt.want)
				}
				if tt.want == vrrp.StateBackup && s.Counters.Transitions != 1 {
					t.Errorf("%d transitions, want the one at the start", s.Counters.Transitions)
				}
			})
		})
	}
}

func TestAStalledProcessHearsForEveryRouter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const interval = 100 * time.Millisecond
		l := new(lan)
		a, b := l.join("a", "192.0.2.1"), l.join("b", "192.0.2.2")
		a.Set(many(255, 150, interval))
		b.Set(many(255, 100, interval))
		a.start(t)
		b.start(t)
		time.Sleep(time.Second)
		// Three rounds of advertisements wait, the fourth would be too late.
		b.with(func() { b.frozen = time.Now().Add(time.Second); b.cut = true })
		time.Sleep(700 * time.Millisecond)
		b.with(func() { b.cut = false })
		time.Sleep(time.Second)
		synctest.Wait()
		for _, s := range b.Status() {
			if s.State != vrrp.StateBackup || s.Counters.Transitions != 1 {
				t.Errorf("%s is %v after %d transitions", s.Config.Name, s.State, s.Counters.Transitions)
			}
		}
	})
}

func TestALateTickIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const interval = 100 * time.Millisecond
		_, a, _ := pair(t, interval)
		a.with(func() { a.frozen = time.Now().Add(10 * interval) })
		time.Sleep(20 * interval)
		if n := a.expect(t, vrrp.StateMaster, vrrp.ReasonMasterDown).Counters.LateTicks; n != 1 {
			t.Errorf("%d late ticks, want 1", n)
		}
	})
}

func TestAFloodPutsOffNoTakeover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const interval = 100 * time.Millisecond
		_, a, b := pair(t, interval)
		a.with(func() { a.cut = true })
		bad := packet{src: addr("192.0.2.66"), dst: group4, ttl: 254, message: []byte{0x31, 51, 255}}
		for range 40 {
			b.with(func() {
				for range batch*drainReads + 1 {
					b.inject(bad)
				}
			})
			time.Sleep(interval / 10)
		}
		if s := b.expect(t, vrrp.StateMaster, vrrp.ReasonMasterDown); s.Counters.Drops[vrrp.DropTTL] < 1000 {
			t.Errorf("counters %+v", s.Counters)
		}
	})
}

func TestASendErrorIsCountedAndSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t, time.Second)
		a.with(func() { a.sendErr = errors.New("network is down"); a.sends = 0 })
		time.Sleep(10 * time.Second)
		b.expect(t, vrrp.StateMaster, vrrp.ReasonMasterDown)
		s := a.expect(t, vrrp.StateMaster, vrrp.ReasonMasterDown)
		if n := s.Counters.SendErrors; n < 10 || n > 30 || a.sends != int(n) {
			t.Errorf("%d errors in %d calls", n, a.sends)
		}
		if n := a.logs.count("level=ERROR"); n != 1 {
			t.Errorf("%d errors logged:\n%s", n, a.logs)
		}
		a.with(func() { a.sendErr = nil })
		time.Sleep(2 * time.Second)
		b.expect(t, vrrp.StateBackup, vrrp.ReasonHigherPriority)
		if n := a.logs.count("sent again"); n != 1 {
			t.Errorf("%d recoveries logged:\n%s", n, a.logs)
		}
	})
}

func TestASocketThatCannotBeOpenedIsAFaultUntilItCan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(lan)
		a := l.join("a", "192.0.2.1")
		a.openErr = errors.New("operation not permitted")
		a.Set([]Router{web(150, time.Second)})
		a.start(t)
		a.expect(t, vrrp.StateFault, vrrp.ReasonSocket)
		time.Sleep(time.Minute)
		a.expect(t, vrrp.StateFault, vrrp.ReasonSocket)
		if n := a.logs.count("level=ERROR"); n != 1 {
			t.Errorf("%d errors logged:\n%s", n, a.logs)
		}
		a.with(func() { a.openErr = nil })
		time.Sleep(lastPause + 4*time.Second)
		a.expect(t, vrrp.StateMaster, vrrp.ReasonMasterDown)
	})
}

func TestAReadErrorReplacesTheSocketWithoutAFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, _ := pair(t, time.Second)
		a.with(func() { a.recvErr = errors.New("no buffer space"); a.sockets[0].nudge() })
		time.Sleep(2 * time.Second)
		s := a.expect(t, vrrp.StateMaster, vrrp.ReasonMasterDown)
		if s.Epoch != 1 || s.Counters.Transitions != 2 || len(a.sockets) != 2 || !a.sockets[0].closed {
			t.Errorf("%d sockets, status %+v", len(a.sockets), s)
		}
		// A new socket that fails as well is a fault and gets a pause.
		a.with(func() { a.recvErr = errors.New("no buffer space"); a.sockets[1].nudge() })
		synctest.Wait()
		a.with(func() { a.recvErr = errors.New("no buffer space"); a.sockets[2].nudge() })
		a.expect(t, vrrp.StateFault, vrrp.ReasonSocket)
		time.Sleep(firstPause)
		a.expect(t, vrrp.StateBackup, vrrp.ReasonStartup)
	})
}

func TestAGroupThatCannotBeJoinedIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(lan)
		a := l.join("a", "192.0.2.1")
		a.admitErr = errors.New("no buffer space")
		a.Set([]Router{web(150, time.Second)})
		a.start(t)
		a.expect(t, vrrp.StateFault, vrrp.ReasonSocket)
		time.Sleep(firstPause)
		a.expect(t, vrrp.StateBackup, vrrp.ReasonStartup)
	})
}

func TestASocketThatRefusesAChangeIsReplacedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, _ := pair(t, time.Second)
		for n := range 3 {
			a.with(func() { a.admitErr = errors.New("out of memory") })
			a.Set(many(n+1, 150, time.Second))
			synctest.Wait()
			for _, s := range a.Status() {
				if s.State != vrrp.StateBackup {
					t.Errorf("%s is %v (%v)", s.Config.Name, s.State, s.Reason)
				}
			}
			time.Sleep(2 * steady)
		}
	})
}

func TestWhatIsSetFromTheBellIsSeenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(lan)
		a := l.join("a", "192.0.2.1")
		rung := false
		a.bell = func() {
			if !rung {
				rung = true
				a.Set([]Router{web(42, time.Hour)})
			}
		}
		a.Set([]Router{web(150, time.Hour)})
		a.start(t)
		if s := a.expect(t, vrrp.StateBackup, vrrp.ReasonStartup); s.Config.Priority != 42 {
			t.Errorf("priority %d, want 42", s.Config.Priority)
		}
	})
}

func TestABlockedLogDoesNotStopTheElection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(lan)
		a, b := l.join("a", "192.0.2.1"), l.join("b", "192.0.2.2")
		stuck := blocked{release: make(chan struct{})}
		a.log = slog.New(slog.NewTextHandler(stuck, nil))
		a.Set([]Router{web(150, 10*time.Millisecond)})
		b.Set([]Router{web(100, 10*time.Millisecond)})
		b.start(t)
		a.start(t)
		// More records than wait for the log.
		for range journalSize {
			a.SetLink(link.State{})
			synctest.Wait()
			a.SetLink(up1("192.0.2.1"))
			synctest.Wait()
		}
		time.Sleep(time.Second)
		a.expect(t, vrrp.StateMaster, vrrp.ReasonMasterDown)
		mark := l.mark()
		a.cancel()
		synctest.Wait()
		if last := l.packets("a", mark); len(last) != 1 || last[0].advert.Priority != 0 {
			t.Errorf("farewell with a blocked log: %+v", last)
		}
		close(stuck.release)
	})
}
