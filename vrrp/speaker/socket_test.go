package speaker

import (
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/director/link"
	"github.com/understudy-ha/understudy/vrrp"
)

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

func TestBeforeTheLinkIsKnownNothingIsClaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := new(lan).join("a", "192.0.2.1")
		a.want = desired{}
		a.Set([]Router{web(150, time.Second)})
		a.start(t)
		time.Sleep(time.Minute)
		if s := a.expect(t, vrrp.StateInit, vrrp.ReasonNone); s.Counters.Transitions != 0 {
			t.Errorf("%d transitions", s.Counters.Transitions)
		}
		a.SetLink(link.State{})
		a.expect(t, vrrp.StateFault, vrrp.ReasonLinkDown)
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
