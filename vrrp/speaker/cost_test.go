package speaker

import (
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/director/link"
	"github.com/understudy-ha/understudy/vrrp"
)

// silent is a conn on which nothing arrives and everything is sent.
type silent struct{}

func (silent) group() netip.Addr                   { return group4 }
func (silent) admit(admission) error               { return nil }
func (silent) receive([]packet, bool) (int, error) { return 0, nil }
func (silent) send(ps []packet) (int, error)       { return len(ps), nil }
func (silent) setReadDeadline(time.Time) error     { return nil }
func (silent) Close() error                        { return nil }

// busy is a loop with 255 virtual routers that take part from now on.
func busy(now time.Time, priority uint8) *loop {
	s := New("eth0", Options{Log: slog.New(slog.DiscardHandler)})
	s.open = func(int) (conn, error) { return silent{}, nil }
	l := &loop{s: s, log: newJournal(s.log), packets: make([]packet, batch)}
	var routers []Router
	for v := 1; v <= 255; v++ {
		r := web(priority, 10*time.Millisecond)
		r.Name, r.VRID = fmt.Sprint(v), uint8(v)
		routers = append(routers, r)
	}
	l.settle(now, desired{routers: routers, told: true, link: link.State{Index: 1, Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}}})
	l.finish(now)
	return l
}

// BenchmarkReceived is what an advertisement costs a backup beside its system call.
func BenchmarkReceived(b *testing.B) {
	now := time.Now()
	l := busy(now, 100)
	var packets []packet
	src := addr("192.0.2.2")
	for _, in := range l.order {
		packets = append(packets, packet{src: src, dst: group4, ttl: wantTTL, message: advertisement(b, in.want, 150, src, group4)})
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%255 == 0 {
			now = now.Add(10 * time.Millisecond)
		}
		l.hear(now, packets[i%255:][:1])
		if i%255 == 254 {
			l.finish(now)
		}
	}
	if s := l.order[0].router.Status(); s.State != vrrp.StateBackup {
		b.Fatalf("%+v", s)
	}
}

// BenchmarkSent is what an advertisement costs a master beside its system call.
func BenchmarkSent(b *testing.B) {
	now := time.Now()
	l := busy(now, 255)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%255 == 0 {
			now = now.Add(10 * time.Millisecond)
			l.tick(now)
			l.finish(now)
		}
	}
	if s := l.order[0].router.Status(); s.State != vrrp.StateMaster {
		b.Fatalf("%+v", s)
	}
}
