package speaker

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/vrrp"
)

// TestALinkLostWhileLingeringEndsIt: nobody answers on a link that is down, and
// Run does not wait for the end of it.
func TestALinkLostWhileLingeringEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t, time.Second)
		broken := web(150, time.Second)
		broken.Fault = vrrp.ReasonTrack
		a.Set([]Router{broken})
		time.Sleep(time.Second * 156 / 256)
		b.expect(t, vrrp.StateMaster, vrrp.ReasonFarewell)
		if s := a.expect(t, vrrp.StateFault, vrrp.ReasonTrack); !s.Lingering {
			t.Fatal("it does not linger")
		}
		down := up1("192.0.2.1")
		down.Up = false
		a.SetLink(down)
		if s := a.expect(t, vrrp.StateFault, vrrp.ReasonLinkDown); s.Lingering {
			t.Error("it lingers on a link that is down")
		}
		at := time.Now()
		a.stop(t)
		if d := time.Since(at); d != 0 {
			t.Errorf("Run returned after %v", d)
		}
	})
}

// TestALinkLostEndsADeparture: nobody can be heard any more, and who has removed a
// virtual router does not wait until the link is back.
func TestALinkLostEndsADeparture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, _ := pair(t, time.Second)
		down := up1("192.0.2.1")
		down.Up = false
		var departed <-chan struct{}
		for range 2 {
			a.Set([]Router{web(150, time.Second)})
			synctest.Wait()
			a.SetLink(up1("192.0.2.1"))
			time.Sleep(5 * time.Second)
			departed = a.Set(nil)
			synctest.Wait()
			a.SetLink(down)
			synctest.Wait()
		}
		select {
		case <-departed:
		default:
			t.Error("it is still leaving")
		}
	})
}

// TestSetDuringTheEndOfRun: whoever sets the routers while Run returns does not wait
// for ever.
func TestSetDuringTheEndOfRun(t *testing.T) {
	for range 200 {
		s := New("eth0", Options{Log: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		go cancel()
		for over := false; !over; {
			select {
			case <-ended:
				over = true
			default:
			}
			select {
			case <-s.Set(nil):
			case <-time.After(10 * time.Second):
				t.Fatal("nobody says that they have left")
			}
		}
	}
}
