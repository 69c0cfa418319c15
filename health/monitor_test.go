package health

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestMonitorDetects(t *testing.T) {
	const slack = 5 * time.Millisecond // the resolution of until, with a margin
	for _, offset := range []time.Duration{0, 1, 250, 500, 750, 996} {
		for _, hangs := range []bool{false, true} {
			t.Run(fmt.Sprintf("offset %d hangs %v", offset, hangs), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := start(t, 0)
					c := tcp(1)
					l.Set([]Check{c})
					if s := l.Lookup(c); s.State != Unknown || !s.Checked.IsZero() || s.Since != time.Now() {
						t.Errorf("before the first probe: %+v", s)
					}
					if took := l.until(t, c, Up); took > c.Interval+slack {
						t.Errorf("the first pass took %v", took)
					}
					time.Sleep(10*c.Interval + offset*time.Millisecond)
					synctest.Wait()
					if n := len(l.probes(c.Target)); n != 11 {
						t.Errorf("%d probes in 10 intervals", n)
					}

					l.change(func() {
						if hangs {
							l.hang[c.Target] = time.Hour
						} else {
							l.dead[c.Target] = errRefused
						}
					})
					took := l.until(t, c, Down)
					if bound := time.Duration(c.Fall)*c.Interval + c.Timeout; took > bound+slack {
						t.Errorf("down after %v, the bound is %v", took, bound)
					}
					want := "connect: connection refused"
					if hangs {
						want = "timeout after 400ms"
					}
					if s := l.Lookup(c); s.Err != want || s.Fails != c.Fall || s.Passes != 0 {
						t.Errorf("down: %+v, want the error %q", s, want)
					}

					time.Sleep(3*c.Interval + offset*time.Millisecond)
					l.change(func() { clear(l.dead); clear(l.hang) })
					if took, bound := l.until(t, c, Up), time.Duration(c.Rise)*c.Interval; took > bound+slack {
						t.Errorf("up after %v, the bound is %v", took, bound)
					}
					synctest.Wait()
					if n := l.bells.Load(); n != 3 {
						t.Errorf("the bell rang %d times, want 3", n)
					}
					for _, line := range []string{
						"level=INFO msg=\"server is up\" check=tcp target=10.0.0.1:80 state=up was=unknown",
						"level=WARN msg=\"server is down\" check=tcp target=10.0.0.1:80 state=down was=up err=\"" + want,
						"level=INFO msg=\"server is up\" check=tcp target=10.0.0.1:80 state=up was=down",
					} {
						if strings.Count(l.log.String(), line) != 1 {
							t.Errorf("the log lacks %q:\n%s", line, &l.log)
						}
					}
					if n := strings.Count(l.log.String(), "\n"); n != 3 {
						t.Errorf("%d lines in the log, want 3:\n%s", n, &l.log)
					}
				})
			})
		}
	}
}

func TestMonitorUnknownShowsItsError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, 0)
		c := tcp(1)
		l.change(func() { l.dead[c.Target] = errRefused })
		l.Set([]Check{c})
		time.Sleep(c.Interval) // the first probe, and not the second but one
		synctest.Wait()
		if s := l.Lookup(c); s.State != Unknown || s.Err == "" || s.Fails == 0 {
			t.Errorf("after the first failure: %+v", s)
		}
		if n := l.bells.Load(); n != 1 {
			t.Errorf("the bell rang %d times for the first result, want once", n)
		}
		l.until(t, c, Down)
		if n := l.bells.Load(); n != 2 {
			t.Errorf("the bell rang %d times, want twice", n)
		}
	})
}

func TestMonitorKeepsTheRate(t *testing.T) {
	tests := []struct {
		name     string
		takes    time.Duration
		interval time.Duration
		timeout  time.Duration
		want     []time.Duration // of the probes after the first
	}{
		{"quick", 0, 100, 50, []time.Duration{100, 200, 300, 400, 500, 600}},
		{"slow", 40, 100, 50, []time.Duration{100, 200, 300, 400, 500, 600}},
		{"as long as the interval", 200, 100, 100, []time.Duration{100, 200, 300, 400, 500, 600}},
		{"longer than the interval", 150, 100, 500, []time.Duration{150, 300, 450, 600}},
		{"much longer than the interval", 350, 100, 500, []time.Duration{350, 700}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := start(t, 0)
				c := tcp(1)
				c.Interval, c.Timeout = test.interval*time.Millisecond, test.timeout*time.Millisecond
				l.change(func() { l.hang[c.Target] = test.takes * time.Millisecond })
				l.Set([]Check{c})
				time.Sleep(2 * time.Second)
				synctest.Wait()
				probes := l.probes(c.Target)
				var got []time.Duration
				for _, at := range probes[1 : len(test.want)+1] {
					got = append(got, at.Sub(probes[0])/time.Millisecond)
				}
				if !slices.Equal(got, test.want) {
					t.Errorf("probes at %d ms, want %d", got, test.want)
				}
				if l.most != 1 {
					t.Errorf("%d probes of one server at once", l.most)
				}
			})
		})
	}
}

func TestMonitorSpreadsTheStart(t *testing.T) {
	first := func(t *testing.T, interval time.Duration) (offsets []time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			l := start(t, 0)
			var checks []Check
			for n := range 1000 {
				c := tcp(n)
				c.Interval = interval
				checks = append(checks, c)
			}
			begin := time.Now()
			l.Set(checks)
			time.Sleep(interval)
			synctest.Wait()
			for _, c := range checks {
				probes := l.probes(c.Target)
				if len(probes) == 0 {
					t.Fatalf("%v was not probed within %v", c.Target, interval)
				}
				offsets = append(offsets, probes[0].Sub(begin))
			}
		})
		return offsets
	}
	for _, interval := range []time.Duration{200 * time.Millisecond, time.Minute} {
		span := min(interval, time.Second)
		offsets := first(t, interval)
		tenths := make([]int, 10)
		for _, o := range offsets {
			if o >= span {
				t.Fatalf("first probe after %v, want less than %v", o, span)
			}
			tenths[o*10/span]++
		}
		if slices.Min(tenths) < 50 || slices.Max(tenths) > 200 {
			t.Errorf("first probes by tenths of %v: %v", span, tenths)
		}
		if again := first(t, interval); !slices.Equal(again, offsets) {
			t.Errorf("the first probes differ from one start to the next")
		}
	}
}

func TestMonitorBoundsProbesInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, 7)
		var checks []Check
		for n := range 50 {
			c := tcp(n)
			checks = append(checks, c)
			l.change(func() { l.hang[c.Target] = 100 * time.Millisecond })
		}
		l.Set(checks)
		time.Sleep(time.Minute)
		synctest.Wait()
		if l.mostAll != 7 || l.most != 1 {
			t.Errorf("%d probes at once and %d of one server, want 7 and 1", l.mostAll, l.most)
		}
		for _, c := range checks { // 7 at once, 100 ms each: 70 a second for 50 checks
			if n := len(l.probes(c.Target)); n < 57 || l.Lookup(c).State != Up {
				t.Errorf("%v was probed %d times in a minute: %+v", c.Target, n, l.Lookup(c))
			}
		}
	})
}

func TestMonitorSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, 0)
		stays, goes, comes, none := tcp(1), tcp(2), tcp(3), Check{Type: TypeNone, Target: tcp(4).Target}
		l.Set([]Check{stays, goes, stays, none})
		time.Sleep(5 * time.Second)
		synctest.Wait()
		before := l.Lookup(stays)
		if before.State != Up || l.Lookup(goes).State != Up || len(l.Snapshot()) != 2 {
			t.Fatalf("verdicts %+v", l.Snapshot())
		}
		if l.Lookup(none).State != Up || len(l.probes(none.Target)) != 0 {
			t.Errorf("the check that is none: %+v, and %d probes", l.Lookup(none), len(l.probes(none.Target)))
		}
		probes := l.probes(stays.Target)
		if len(probes) != 5 {
			t.Errorf("%d probes of a check that was set twice, want 5", len(probes))
		}

		l.Set([]Check{stays, comes})
		if l.Lookup(stays) != before || l.Lookup(goes) != (Status{}) || l.Lookup(comes).State != Unknown {
			t.Errorf("verdicts after another Set: %+v", l.Snapshot())
		}
		gone := len(l.probes(goes.Target))
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if n := len(l.probes(goes.Target)); n != gone {
			t.Errorf("%d probes of a check that was taken away", n-gone)
		}
		probes = l.probes(stays.Target)
		for i, at := range probes[1:] {
			if at.Sub(probes[i]) != stays.Interval {
				t.Errorf("probes %d and %d are %v apart", i, i+1, at.Sub(probes[i]))
			}
		}
		if l.Lookup(comes).State != Up || l.Lookup(stays).Since != before.Since {
			t.Errorf("verdicts: %+v", l.Snapshot())
		}

		// One that comes back begins anew, even while its old probe hangs.
		l.change(func() { l.hang[stays.Target] = time.Hour })
		for l.now() == 0 {
			time.Sleep(time.Millisecond)
			synctest.Wait()
		}
		l.Set(nil)
		synctest.Wait()
		if n := l.now(); n != 0 {
			t.Errorf("%d probes in flight of checks that were taken away", n)
		}
		l.change(func() { clear(l.hang) })
		l.Set([]Check{stays})
		if s := l.Lookup(stays); s.State != Unknown || s.Fails != 0 {
			t.Errorf("a check that came back: %+v", s)
		}
		l.until(t, stays, Up)
	})
}

func TestMonitorCannotProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, 0)
		unknown, refused := tcp(1), tcp(2)
		unknown.Type = "carrier pigeon"
		refused.Target = netip.AddrPortFrom(refused.Target.Addr(), 0)
		l.Set([]Check{unknown, refused})
		l.until(t, unknown, Down)
		l.until(t, refused, Down)
		if err := l.Lookup(unknown).Err; err != `no such type of check: "carrier pigeon"` {
			t.Errorf("error %q", err)
		}
		if err := l.Lookup(refused).Err; err != "no port" {
			t.Errorf("error %q", err)
		}
	})
}

func TestMonitorEndsDuringProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, 0)
		c := tcp(1)
		c.Interval, c.Timeout = time.Hour, time.Hour
		l.change(func() { l.hang[c.Target] = time.Hour })
		l.Set([]Check{c})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := l.now(); n != 1 {
			t.Fatalf("%d probes in flight, want 1", n)
		}
	}) // the clean-up ends Run, and says so if a probe is left
}
