package genl

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// commands returns the command of a request.
func command(m message) uint8 { return m.body[0] }

// acknowledge answers as a kernel does that carries everything out.
func acknowledge(l *scripted, m message) {
	if m.flags&unix.NLM_F_ACK != 0 {
		l.error(m, 0)
	}
}

// setDests returns changes of n servers.
func setDests(n int) []Message {
	messages := make([]Message, n)
	for i := range messages {
		d := gue
		d.Address = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		messages[i] = Message{Op: SetDest, Service: sip, Dest: d}
	}
	return messages
}

// TestDoBatches shows how many system calls many messages are, and that only
// the last of each asks for an acknowledgement.
func TestDoBatches(t *testing.T) {
	asked := 0
	c, l := connect(t, func(l *scripted, m message) {
		if m.flags&unix.NLM_F_ACK != 0 {
			asked++
		}
		acknowledge(l, m)
	})
	if errs, err := c.Do(t.Context(), setDests(1000)); errs != nil || err != nil {
		t.Fatalf("Do = %v, %v", errs, err)
	}
	if want := (1000 + batchMessages - 1) / batchMessages; l.sends != want || asked != want || len(l.got) != 1000 {
		t.Errorf("%d messages in %d system calls, %d of them to be acknowledged; want 1000 in %d", len(l.got), l.sends, asked, want)
	}
	if errs, err := c.Do(t.Context(), nil); errs != nil || err != nil {
		t.Errorf("nothing to do: %v, %v", errs, err)
	}
}

// TestDoAttributes has failures anywhere, among them of messages that are not
// sent at all.
func TestDoAttributes(t *testing.T) {
	messages := setDests(400)
	want := map[int]error{0: unix.ESRCH, 1: unix.EEXIST, 127: unix.ENOENT, 128: unix.EINVAL, 300: unix.ESRCH, 399: unix.EPERM}
	unsent := map[int]bool{2: true, 126: true, 398: true}
	for i := range unsent {
		messages[i].Dest.Address = netip.Addr{}
	}
	fails := map[netip.Addr]error{}
	for i, err := range want {
		fails[messages[i].Dest.Address] = err
	}
	var p parser
	c, _ := connect(t, func(l *scripted, m message) {
		d, err := p.destination(unix.AF_INET, m.body)
		if err != nil {
			t.Error(err)
		}
		if errno, ok := fails[d.Address].(unix.Errno); ok {
			// Amid what is none of our business.
			l.push(packet(unix.NLMSG_ERROR, 0, m.seq, testPort+1, native.AppendUint32(nil, 0)))
			l.push(packet(unix.NLMSG_ERROR, 0, m.seq-1000, testPort, native.AppendUint32(nil, 0)))
			l.error(m, errno)
			return
		}
		acknowledge(l, m)
	})
	errs, err := c.Do(t.Context(), messages)
	if err != nil {
		t.Fatal(err)
	}
	for i, err := range errs {
		switch {
		case unsent[i] && err == nil, !unsent[i] && !errors.Is(err, want[i]), !unsent[i] && want[i] == nil && err != nil:
			t.Errorf("message %d: %v, want %v", i, err, want[i])
		}
	}
}

func TestKernelsWords(t *testing.T) {
	c, _ := connect(t, func(l *scripted, m message) {
		for _, flags := range []uint16{unix.NLM_F_CAPPED | unix.NLM_F_ACK_TLVS, unix.NLM_F_ACK_TLVS} {
			errno := unix.EINVAL
			b := native.AppendUint32(nil, uint32(-int32(errno)))
			b = append(b, packet(m.kind, m.flags, m.seq, m.port, m.body[:len(m.body)*int(1-flags&unix.NLM_F_CAPPED/unix.NLM_F_CAPPED)])...)
			l.push(packet(unix.NLMSG_ERROR, flags, m.seq, testPort, text(b, unix.NLMSGERR_ATTR_MSG, "not \x1bthat")))
		}
	})
	for range 2 {
		errs, err := c.Do(t.Context(), setDests(1))
		if err != nil || !errors.Is(errs[0], unix.EINVAL) || errs[0].Error() != `invalid argument: "not \x1bthat"` {
			t.Errorf("Do = %v, %v", errs, err)
		}
	}
}

// TestOutcomeUnknown has answers get lost in the second batch of three.
func TestOutcomeUnknown(t *testing.T) {
	for _, tt := range []struct {
		name string
		last func(l *scripted, m message)
		want error
	}{
		{"ENOBUFS", func(l *scripted, m message) { l.push(unix.ENOBUFS) }, unix.ENOBUFS},
		{"a short message", func(l *scripted, m message) { l.push(packet(unix.NLMSG_ERROR, 0, m.seq, testPort, []byte{1, 2})) }, errShort},
		{"half a header", func(l *scripted, m message) { l.push([]byte{20, 0, 0, 0, 2, 0}) }, errShort},
		{"a length beyond", func(l *scripted, m message) { l.push(append([]byte{255, 255}, make([]byte, 30)...)) }, errShort},
		{"too long", func(l *scripted, m message) { l.push(errLong) }, errLong},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lost := false
			c, l := connect(t, func(l *scripted, m message) {
				if len(l.got) == 2*batchMessages && !lost {
					lost = true
					tt.last(l, m)
					l.error(m, 0) // late
					return
				}
				acknowledge(l, m)
			})
			errs, err := c.Do(t.Context(), setDests(3*batchMessages))
			if !errors.Is(err, tt.want) {
				t.Fatalf("Do = %v, want %v", err, tt.want)
			}
			for i, err := range errs {
				if unknown := i >= batchMessages; (err != nil) != unknown || unknown && !errors.Is(err, tt.want) {
					t.Fatalf("message %d: %v", i, err)
				}
			}
			if l.sends != 2 {
				t.Errorf("%d batches were sent, want no more after the failure", l.sends)
			}
			if errs, err := c.Do(t.Context(), setDests(1)); errs != nil || err != nil || len(l.queue) != 0 {
				t.Errorf("Do afterwards = %v, %v with %d answers left", errs, err, len(l.queue))
			}
		})
	}
}

// TestNoAnswer has a kernel that is silent, a caller who gives up, and a Close.
func TestNoAnswer(t *testing.T) {
	silent := func(*scripted, message) {}
	for _, tt := range []struct {
		name string
		end  func(c *Conn, cancel context.CancelCauseFunc) // after a second
		want error
		took time.Duration
	}{
		{"no answer", func(*Conn, context.CancelCauseFunc) {}, ErrNoAnswer, Patience},
		{"caller gives up", func(_ *Conn, cancel context.CancelCauseFunc) { cancel(unix.ECANCELED) }, unix.ECANCELED, time.Second},
		{"close", func(c *Conn, _ context.CancelCauseFunc) { _ = c.Close() }, ErrClosed, time.Second},
	} {
		for name, call := range map[string]func(context.Context, *Conn) error{
			"do": func(ctx context.Context, c *Conn) error {
				errs, err := c.Do(ctx, setDests(2))
				if len(errs) != 2 || !errors.Is(errs[1], tt.want) {
					return errors.New("outcome of the messages")
				}
				return err
			},
			"dump":  func(ctx context.Context, c *Conn) error { _, err := c.Services(ctx); return err },
			"query": func(ctx context.Context, c *Conn) error { _, err := c.Info(ctx); return err },
		} {
			t.Run(tt.name+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c, _ := connect(t, silent)
					ctx, cancel := context.WithCancelCause(t.Context())
					defer cancel(nil)
					time.AfterFunc(time.Second, func() { tt.end(c, cancel) })
					began := time.Now()
					if err := call(ctx, c); !errors.Is(err, tt.want) {
						t.Errorf("error = %v, want %v", err, tt.want)
					}
					if took := time.Since(began); took != tt.took {
						t.Errorf("that took %v, want %v", took, tt.took)
					}
					synctest.Wait()
				})
			})
		}
	}
}

// TestContextOfAnEarlierCall shows that the end of a context does not reach into
// the next call.
func TestContextOfAnEarlierCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := false
		c, _ := connect(t, func(l *scripted, m message) {
			if answers {
				acknowledge(l, m)
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Do(ctx, setDests(1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Do = %v", err)
		}
		if _, err := c.Do(ctx, setDests(1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Do after the end = %v", err)
		}
		answers = true
		if errs, err := c.Do(t.Context(), setDests(1)); errs != nil || err != nil {
			t.Errorf("the next Do = %v, %v", errs, err)
		}
	})
}

// TestEndOfContext has it come at bad moments: before the waiting begins, and so
// slowly that the call is over.
func TestEndOfContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c, l := connect(t, func(*scripted, message) {
			cancel()
			synctest.Wait()
		})
		began := time.Now()
		if _, err := c.Do(ctx, setDests(1)); !errors.Is(err, context.Canceled) || time.Since(began) != 0 {
			t.Errorf("Do = %v after %v, want it at once", err, time.Since(began))
		}
		l.slow = make(chan struct{})
		l.answer = func(*scripted, message) {}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		time.AfterFunc(Patience+time.Second, func() { close(l.slow) })
		if _, err := c.Do(ctx, setDests(1)); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != Patience+time.Second {
			t.Errorf("Do = %v after %v, want it to wait for what would disturb the next call", err, time.Since(began))
		}
	})
}

func TestQueries(t *testing.T) {
	c, l := connect(t, func(l *scripted, m message) {
		switch command(m) {
		case getConfig:
			l.push(packet(testFamily, 0, m.seq, testPort, recorded(t, "timeouts")))
		case getInfo:
			l.push(packet(testFamily, 0, m.seq-1, testPort, nil)) // late
			l.push(packet(testFamily, 0, m.seq, testPort, recorded(t, "info")))
		case getService:
			if bytes.Contains(m.body, u16(nil, svcProtocol, unix.IPPROTO_TCP)) {
				l.error(m, unix.ESRCH)
				return
			}
			l.push(packet(testFamily, 0, m.seq, testPort, recorded(t, "service")))
		}
	})
	if to, err := c.Timeouts(t.Context()); err != nil || to != (Timeouts{900, 120, 300}) {
		t.Errorf("Timeouts = %v, %v", to, err)
	}
	if i, err := c.Info(t.Context()); err != nil || i.Version != 0x010201 {
		t.Errorf("Info = %v, %v", i, err)
	}
	if s, err := c.Service(t.Context(), sip.ServiceID); err != nil || s != sip {
		t.Errorf("Service = %+v, %v", s, err)
	}
	id := sip.ServiceID
	id.Protocol = unix.IPPROTO_TCP
	if s, err := c.Service(t.Context(), id); !errors.Is(err, unix.ESRCH) {
		t.Errorf("Service = %+v, %v", s, err)
	}
	if _, err := c.Service(t.Context(), ServiceID{}); err == nil || l.sends != 4 {
		t.Errorf("a service that cannot be: %v, %d requests", err, l.sends)
	}
}

// TestFamilyGone has ip_vs unloaded, and loaded again, under an open socket.
func TestFamilyGone(t *testing.T) {
	calls := map[string]func(c *Conn) error{
		"do":       func(c *Conn) error { _, err := c.Do(t.Context(), setDests(200)); return err },
		"services": func(c *Conn) error { _, err := c.Services(t.Context()); return err },
		"all": func(c *Conn) error {
			return c.All(t.Context(), func(*Service, []Destination) error { return nil })
		},
		"service": func(c *Conn) error { _, err := c.Service(t.Context(), sip.ServiceID); return err },
		"info":    func(c *Conn) error { _, err := c.Info(t.Context()); return err },
	}
	for name, call := range calls {
		c, l := connect(t, func(l *scripted, m message) { l.error(m, unix.ENOENT) })
		for _, tt := range []struct {
			family uint16
			want   error
		}{{0, ErrMissing}, {testFamily + 1, ErrReloaded}} {
			l.family = tt.family
			if err := call(c); !errors.Is(err, tt.want) {
				t.Errorf("%s with family %d: %v, want %v", name, tt.family, err, tt.want)
			}
		}
	}
	// What the kernel lacks is another matter while IPVS is there.
	c, _ := connect(t, func(l *scripted, m message) { l.error(m, unix.ENOENT) })
	if errs, err := c.Do(t.Context(), setDests(1)); err != nil || !errors.Is(errs[0], unix.ENOENT) {
		t.Errorf("Do = %v, %v", errs, err)
	}

	l := newScripted(nil)
	l.family = 0
	if _, err := open(l); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "modprobe ip_vs") {
		t.Errorf("open without IPVS = %v", err)
	}
}

// FuzzAnswers gives a Conn anything as the kernel's answers.
func FuzzAnswers(f *testing.F) {
	for _, name := range []string{"service", "server-gue", "daemon-master"} {
		f.Add(packet(testFamily, unix.NLM_F_MULTI, 1, testPort, recorded(f, name)), packet(unix.NLMSG_DONE, 0, 1, testPort, make([]byte, 4)))
	}
	f.Add(packet(unix.NLMSG_ERROR, 0, 1, testPort, []byte{0xfe, 0xff, 0xff, 0xff}), []byte{})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		synctest.Test(t, func(t *testing.T) {
			c, _ := connect(t, func(l *scripted, m message) {
				for _, b := range [][]byte{first, second} {
					b = bytes.Clone(b)
					if len(b) >= unix.SizeofNlMsghdr {
						native.PutUint32(b[8:], m.seq)
					}
					l.push(b)
				}
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, _ = c.Services(ctx)
			_, _ = c.Destinations(ctx, sip.ServiceID)
			_, _ = c.Daemons(ctx)
			_, _ = c.Info(ctx)
			if errs, _ := c.Do(ctx, setDests(2)); errs != nil && len(errs) != 2 {
				t.Errorf("%d errors of 2 messages", len(errs))
			}
		})
	})
}
