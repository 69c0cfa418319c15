package vrrp

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// script turns bytes into events and times.
type script struct{ b []byte }

func (s *script) next() byte {
	if len(s.b) == 0 {
		return 0
	}
	x := s.b[0]
	s.b = s.b[1:]
	return x
}

func (s *script) config(version Version) Config {
	flags := s.next()
	c := Config{
		Name: "fuzz", VRID: 1 + flags>>7, Version: version, Priority: max(1, s.next()),
		Interval:     time.Duration(s.next()) * 100 * ms, // 0 too
		Preempt:      flags&1 != 0,
		PreemptDelay: time.Duration(flags>>1&3) * time.Second,
		Hold:         flags>>6&1 != 0,
		Grouped:      flags&48 == 48,
		Primary:      s.addr(),
	}
	if flags&8 != 0 {
		c.Password = "p"
	}
	return c
}

func (s *script) addr() netip.Addr {
	x := s.next()
	if x == 0 {
		return netip.Addr{}
	}
	if x == 1 {
		return src6
	}
	return netip.AddrFrom4([4]byte{192, 0, 2, x & 3})
}

func (s *script) event(c Config) Event {
	switch x := s.next(); x % 13 {
	case 0:
		return Start{}
	case 1:
		return Stop{Reason: Reason(s.next() % NumReasons)}
	case 2:
		version := c.Version
		if x&0x80 != 0 {
			version ^= V2 ^ V3
		}
		return Reconfigure{Config: s.config(version)}
	case 3, 4, 5:
		rx := Received{Src: s.addr(), Advert: Advertisement{
			Version: c.Version, VRID: c.VRID, Priority: s.next(), Interval: c.Interval, Password: c.Password,
		}}
		if c.Password != "" {
			rx.Advert.AuthType = AuthSimple
		}
		if x&0x80 != 0 {
			rx.Advert.Interval = time.Duration(s.next()) * 10 * ms
		}
		if x&0x40 != 0 {
			rx.Advert.AuthType = s.next()
		}
		return rx
	case 6:
		return Leave{Reason: Reason(s.next() % NumReasons)}
	case 7:
		return Resume{}
	case 8:
		return Lead{}
	case 9:
		return Concede{}
	case 10:
		return Expect{}
	default:
		return Tick{}
	}
}

// FuzzRouter steps a router through what it likes and checks what always holds.
func FuzzRouter(f *testing.F) {
	f.Add([]byte{3, 100, 10, 9, 0, 0, 6, 255, 6, 10, 3, 10, 200, 4, 3, 10, 0, 6, 255, 1, 1})
	f.Add([]byte{2, 255, 1, 9, 0, 0, 3, 10, 255, 6, 100, 2, 5, 50, 2, 9, 6, 200, 1, 10})
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &script{b}
		version := V3
		if s.next()&1 == 0 {
			version = V2
		}
		now := t0
		rec := Record(New(s.config(version)), 20)
		answers := 0
		for len(s.b) > 0 {
			// Mostly forward, sometimes to the deadline, sometimes back.
			switch x := s.next(); {
			case x > 250:
				now = now.Add(-time.Hour)
			case x > 180 && !rec.Deadline().IsZero():
				now = rec.Deadline()
			default:
				now = now.Add(time.Duration(x) * 10 * ms)
			}
			before, deadline, was := rec.Status(), rec.Deadline(), *rec.Router
			ev := s.event(rec.Config())
			out := rec.Step(now, ev)
			after := rec.Status()
			seen := rec.now // now, or later if time went back

			if out.Transition != (before.State != after.State) {
				t.Fatalf("%T: from %v to %v, and the output says %v", ev, before.State, after.State, out)
			}
			if out.Transition && (out.From != before.State || out.To != after.State || out.Reason == ReasonNone || !after.Since.Equal(seen)) {
				t.Fatalf("%T: from %v to %v since %v, and the output says %v", ev, before.State, after.State, after.Since, out)
			}
			if want := before.Epoch; after.State == StateMaster && out.Transition {
				if after.Epoch != want+1 {
					t.Fatalf("epoch %d after %d", after.Epoch, want)
				}
			} else if after.Epoch != want {
				t.Fatalf("%T: epoch %d after %d", ev, after.Epoch, want)
			}
			if running := after.State == StateBackup && !after.Wants || after.State == StateMaster; running == rec.timer().IsZero() {
				t.Fatalf("%v with its timer at %v", after.State, rec.timer())
			}
			leaving := !before.Leaving && before.State == StateMaster && (after.State == StateInit || after.State == StateFault)
			parting := !before.Leaving && after.Leaving
			switch {
			case leaving != (out.Advertise && out.Transition && after.State != StateMaster):
				t.Fatalf("%T: leaving=%t, %v", ev, leaving, out)
			case leaving && out.Priority != 0:
				t.Fatalf("%T: a farewell with %v", ev, out)
			case parting != (out.Advertise && !out.Transition && out.Priority == 0):
				t.Fatalf("%T: leaving=%t, %v", ev, parting, out)
			case out.Advertise && !leaving && !parting && (after.State != StateMaster || out.Priority != rec.Config().Priority):
				t.Fatalf("%T: %v with priority %d advertises %v", ev, after.State, rec.Config().Priority, out)
			case !out.Advertise && out.Priority != 0:
				t.Fatalf("%T: %v", ev, out)
			}

			switch ev.(type) {
			case Tick:
				if seen.Before(deadline) || deadline.IsZero() {
					was.now = seen
					if diff := cmp.Diff(was, *rec.Router, cmp.AllowUnexported(Router{}), equalAddrs); diff != "" || out != nothing {
						t.Fatalf("an early tick: %v (-before +after)\n%s", out, diff)
					}
				} else {
					timer := was.timer()
					due := !timer.IsZero() && !seen.Before(timer)
					if due {
						answers = 0
					}
					if due && !out.Advertise && !after.Wants && !before.Leaving || !rec.Deadline().IsZero() && !rec.Deadline().After(seen) {
						t.Fatalf("a tick at %v: %v and deadline %v", seen, out, rec.Deadline())
					}
				}
			case Received:
				if out.Drop != DropNone && out.Transition {
					t.Fatalf("dropped, but %v", out)
				}
				if out.Advertise {
					if answers++; answers > answersPerInterval {
						t.Fatalf("%d answers without a tick", answers)
					}
				}
			}
			if _, ok := ev.(Received); !ok && out.Drop != DropNone {
				t.Fatalf("%T dropped: %v", ev, out)
			}
			if out.Transition {
				answers = 0
			}
		}

		text, err := rec.AppendText(nil)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := ParseTrace(text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if again, _ := parsed.Replay().AppendText(nil); !bytes.Equal(again, text) {
			t.Fatalf("(-recorded +replayed)\n%s", cmp.Diff(string(text), string(again)))
		}
	})
}
