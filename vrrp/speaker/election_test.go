package speaker

import (
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

// TestACleanStopWaitsForTheSuccessor: a master that stops says farewell and is master
// until it hears its successor; then it lingers, and Run returns.
func TestACleanStopWaitsForTheSuccessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a, b := pair(t, time.Second)
		mark, at := l.mark(), time.Now()
		skew := time.Second * 156 / 256
		time.AfterFunc(skew-time.Millisecond, func() {
			if s := a.Status()[0]; s.State != vrrp.StateMaster || !s.Leaving {
				t.Errorf("before the successor speaks: %v, leaving=%t", s.State, s.Leaving)
			}
		})
		time.AfterFunc(skew+time.Millisecond, func() {
			if s := a.Status()[0]; s.State != vrrp.StateInit || !s.Lingering {
				t.Errorf("after the successor has spoken: %v, lingering=%t", s.State, s.Lingering)
			}
		})
		a.stop(t)
		if d := time.Since(at); d != skew+vrrp.Linger {
			t.Errorf("Run returned after %v, want %v", d, skew+vrrp.Linger)
		}
		last := l.packets("a", mark)
		if len(last) != 1 || last[0].advert.Priority != 0 || !last[0].at.Equal(at) {
			t.Fatalf("sent on stop: %+v", last)
		}
		if s := a.one(t); s.State != vrrp.StateInit || s.Reason != vrrp.ReasonShutdown || s.Lingering {
			t.Errorf("after Run: %v (%v), lingering=%t", s.State, s.Reason, s.Lingering)
		}
		if last := a.bells[len(a.bells)-1]; last.status[0].State != vrrp.StateInit || last.status[0].Lingering {
			t.Error("no bell for the end")
		}
		b.expect(t, vrrp.StateMaster, vrrp.ReasonFarewell)

		// Nobody follows: it waits for whoever there may be, and then goes all the same.
		mark, at = l.mark(), time.Now()
		b.stop(t)
		if d := time.Since(at); d != time.Second+skew+vrrp.Linger {
			t.Errorf("Run returned after %v, want %v", d, time.Second+skew+vrrp.Linger)
		}
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
