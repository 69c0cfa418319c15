package speaker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/vrrp"
)

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
