package speaker

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/vrrp"
)

// director is two Speakers, each with one virtual router.
type director struct {
	outer, inner *host
	group        *Group
}

// site is two links, and two directors on both of them.
func site() (a, b director) {
	outer, inner := new(lan), new(lan)
	return director{outer.join("a", "192.0.2.1"), inner.join("a", "192.0.2.1"), nil},
		director{outer.join("b", "192.0.2.2"), inner.join("b", "192.0.2.2"), nil}
}

// set gives the virtual routers priorities, as a group if grouped.
func (d *director) set(outer, inner uint8, grouped bool) {
	d.group = nil
	if grouped {
		d.group = NewGroup(2, func(_, _ vrrp.State) {})
	}
	for i, h := range []*host{d.outer, d.inner} {
		r := web([]uint8{outer, inner}[i], time.Second)
		r.Grouped, r.Group, r.Place = grouped, d.group, i
		h.Set([]Router{r})
	}
}

func (d *director) start(t *testing.T) {
	d.outer.start(t)
	d.inner.start(t)
}

func (d *director) expect(t *testing.T, outer, inner vrrp.State) {
	t.Helper()
	synctest.Wait()
	if o, i := d.outer.one(t), d.inner.one(t); o.State != outer || i.State != inner {
		t.Errorf("%s is %v (%v) and %v (%v), want %v and %v", d.outer.name, o.State, o.Reason, i.State, i.Reason, outer, inner)
	}
}

func TestAGroupChangesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := site()
		a.set(150, 150, true)
		b.set(100, 100, true)
		a.start(t)
		b.start(t)
		time.Sleep(5 * time.Second)
		a.expect(t, vrrp.StateMaster, vrrp.StateMaster)
		b.expect(t, vrrp.StateBackup, vrrp.StateBackup)
		down := up1("192.0.2.1")
		down.Up = false
		a.inner.SetLink(down)
		time.Sleep(time.Second)
		a.expect(t, vrrp.StateFault, vrrp.StateFault)
		b.expect(t, vrrp.StateMaster, vrrp.StateMaster)
		a.inner.SetLink(up1("192.0.2.1"))
		time.Sleep(5 * time.Second)
		a.expect(t, vrrp.StateMaster, vrrp.StateMaster)
		b.expect(t, vrrp.StateBackup, vrrp.StateBackup)
	})
}

// TestAMemberWithANewVRID: what is left of the old one is not taken for the new one.
func TestAMemberWithANewVRID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := site()
		a.set(150, 150, true)
		b.set(100, 100, true)
		a.start(t)
		b.start(t)
		time.Sleep(5 * time.Second)
		r := web(150, time.Second)
		r.Grouped, r.Group, r.Place, r.VRID = true, a.group, 0, 77
		r.Addresses = []netip.Addr{addr("192.0.2.77")}
		a.outer.Set([]Router{r})
		for range 1000 {
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
			if s, g := a.outer.one(t).State, a.group.State(); s != vrrp.StateInit && g == vrrp.StateInit {
				t.Fatalf("the group is %v with a member that is %v", g, s)
			}
		}
		a.expect(t, vrrp.StateMaster, vrrp.StateMaster)
	})
}

func TestAGroupOfOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := new(lan).join("a", "192.0.2.1")
		r := web(150, time.Second)
		r.Grouped, r.Group = true, NewGroup(1, func(_, _ vrrp.State) {})
		a.Set([]Router{r})
		a.start(t)
		time.Sleep(5 * time.Second)
		a.expect(t, vrrp.StateMaster, vrrp.ReasonMasterDown)
	})
}
