package speaker

import (
	"container/heap"
	"slices"
	"time"

	"github.com/understudy-ha/understudy/vrrp"
)

// leave ends taking part, and reports whether every master has been succeeded.
func (l *loop) leave(now time.Time) (done bool) {
	l.leaving = append(l.leaving, l.order...)
	l.order = nil
	for _, in := range l.leaving {
		if in.running {
			l.halt(now, in, vrrp.ReasonShutdown)
		}
	}
	l.part(now)
	l.finish(now)
	return len(l.leaving) == 0
}

// part lets go of the routers that are no longer wanted and have been succeeded.
func (l *loop) part(now time.Time) {
	if len(l.leaving) == 0 {
		l.release()
		return
	}
	if l.conn == nil { // nobody can be heard any more
		for _, in := range l.leaving {
			l.step(now, in, vrrp.Stop{Reason: vrrp.ReasonSocket})
		}
	}
	before := len(l.leaving)
	l.leaving = slices.DeleteFunc(l.leaving, func(in *instance) bool {
		if s := in.router.Status(); s.Leaving || s.Lingering {
			return false
		}
		if in.place >= 0 {
			heap.Remove(&l.queue, in.place)
		}
		if l.byVRID[in.want.VRID] == in {
			l.byVRID[in.want.VRID] = nil
		}
		return true
	})
	switch {
	case len(l.leaving) == before || l.conn == nil:
	case len(l.order)+len(l.leaving) == 0:
		l.disconnect()
	default:
		l.admit(now)
	}
	if len(l.leaving) == 0 {
		l.release()
	}
}

// release tells who waits for the departure of routers.
func (l *loop) release() {
	for _, c := range l.departed {
		close(c)
	}
	l.departed = nil
}

// end closes what Run has opened.
func (l *loop) end() {
	l.disconnect()
	l.s.mu.Lock()
	l.s.over = true
	l.departed = append(l.departed, l.s.want.departed...)
	l.s.want.departed = nil
	l.s.mu.Unlock()
	l.release()
}
