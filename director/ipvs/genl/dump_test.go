package genl

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestAll(t *testing.T) {
	c, l := connect(t, func(l *scripted, m message) {
		switch command(m) {
		case getService:
			l.data(m, 0, recorded(t, "service"))
			l.data(m, 0, recorded(t, "service-fwmark6"))
		case getDest:
			if bytes.Contains(m.body, u32(nil, svcFWMark, 7)) {
				l.data(m, 0, recorded(t, "server6"))
			} else {
				l.data(m, 0, recorded(t, "server-gue"), recorded(t, "server6"))
			}
		case getDaemon:
			l.data(m, 0, recorded(t, "daemon-master"), recorded(t, "daemon-backup"))
		}
		l.done(m, 0)
	})
	type row struct {
		Service Service
		Servers []Destination
	}
	var got []row
	err := c.All(t.Context(), func(s *Service, d []Destination) error {
		got = append(got, row{*s, append([]Destination(nil), d...)})
		return nil
	})
	if d := cmp.Diff([]row{{sip, []Destination{gue, six}}, {mark6, []Destination{six}}}, got, equalAddr); d != "" || err != nil {
		t.Errorf("All = %v (-want +got):\n%s", err, d)
	}
	if l.sends != 3 {
		t.Errorf("%d requests for two services, want 3", l.sends)
	}
	stop := errors.New("stop")
	if err := c.All(t.Context(), func(*Service, []Destination) error { return stop }); err != stop {
		t.Errorf("All that was stopped = %v", err)
	}
	if d, err := c.Daemons(t.Context()); err != nil || len(d) != 2 || d[0] != master || d[1] != backup {
		t.Errorf("Daemons = %+v, %v", d, err)
	}
	if d, err := c.Destinations(t.Context(), mark6.ServiceID); err != nil || len(d) != 1 || d[0] != six {
		t.Errorf("Destinations = %+v, %v", d, err)
	}
}

// TestPartialDump shows that no part of a dump is believed that went wrong, and
// that it is repeated.
func TestPartialDump(t *testing.T) {
	for _, tt := range []struct {
		name string
		bad  func(l *scripted, m message)
		want error // if it always goes wrong; nil: the first time must do
	}{
		{"interrupted", func(l *scripted, m message) {
			l.data(m, unix.NLM_F_DUMP_INTR, recorded(t, "service-fwmark6"))
			l.done(m, 0)
		}, ErrInterrupted},
		{"interrupted at the end", func(l *scripted, m message) {
			l.data(m, 0, recorded(t, "service-fwmark6"))
			l.push(packet(unix.NLMSG_DONE, unix.NLM_F_DUMP_INTR, m.seq, testPort, make([]byte, 4)))
		}, ErrInterrupted},
		{"ENOBUFS", func(l *scripted, m message) {
			l.data(m, 0, recorded(t, "service-fwmark6"))
			l.push(unix.ENOBUFS)
			l.data(m, 0, recorded(t, "service"))
			l.done(m, 0)
		}, unix.ENOBUFS},
		{"EINTR", func(l *scripted, m message) {
			l.data(m, 0, recorded(t, "service-fwmark6"))
			l.done(m, -int32(unix.EINTR))
		}, unix.EINTR},
		{"EBUSY", func(l *scripted, m message) { l.error(m, unix.EBUSY) }, unix.EBUSY},
	} {
		t.Run(tt.name, func(t *testing.T) {
			always, tries := false, 0
			c, _ := connect(t, func(l *scripted, m message) {
				if tries++; always || tries == 1 {
					tt.bad(l, m)
					return
				}
				l.data(m, 0, recorded(t, "service"))
				l.done(m, 0)
			})
			if list, err := c.Services(t.Context()); err != nil || len(list) != 1 || list[0] != sip {
				t.Errorf("Services = %+v, %v", list, err)
			}
			always, tries = true, 0
			list, err := c.Services(t.Context())
			if list != nil || !errors.Is(err, ErrInterrupted) || !errors.Is(err, tt.want) || tries != dumpTries {
				t.Errorf("Services = %+v, %v after %d tries", list, err, tries)
			}
		})
	}
}

// TestEarlierDump finds one under way that it knows nothing of.
func TestEarlierDump(t *testing.T) {
	c, l := connect(t, func(l *scripted, m message) {
		l.data(m, 0, recorded(t, "service"))
		l.done(m, 0)
	})
	for range 10 {
		l.data(message{seq: c.seq}, 0, recorded(t, "service-fwmark6"))
	}
	l.done(message{seq: c.seq}, 0)
	if list, err := c.Services(t.Context()); err != nil || len(list) != 1 || list[0] != sip || l.sends != 2 {
		t.Errorf("Services = %+v, %v after %d requests, want 2", list, err, l.sends)
	}
}

// TestDumpFails has errors after which a dump is not repeated.
func TestDumpFails(t *testing.T) {
	for _, tt := range []struct {
		name string
		bad  func(l *scripted, m message)
		want error
	}{
		{"at once", func(l *scripted, m message) { l.error(m, unix.EPERM) }, unix.EPERM},
		{"at the end", func(l *scripted, m message) {
			l.data(m, 0, recorded(t, "service"))
			l.done(m, -int32(unix.ENOMEM))
		}, unix.ENOMEM},
		{"no service", func(l *scripted, m message) {
			l.data(m, 0, recorded(t, "service"), recorded(t, "server6"))
			l.done(m, 0)
		}, errShort},
		{"half a message", func(l *scripted, m message) { l.push(packet(testFamily, 0, m.seq, testPort, nil)[:10]) }, errShort},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tries := 0
			c, l := connect(t, func(l *scripted, m message) {
				if tries++; tries == 1 {
					tt.bad(l, m)
					return
				}
				l.done(m, 0)
			})
			if list, err := c.Services(t.Context()); list != nil || !errors.Is(err, tt.want) {
				t.Errorf("Services = %+v, %v, want %v", list, err, tt.want)
			}
			l.sends = 0
			if list, err := c.Services(t.Context()); len(list) != 0 || err != nil || len(l.queue) != 0 || l.sends != 1 {
				t.Errorf("Services afterwards = %+v, %v with %d requests", list, err, l.sends)
			}
		})
	}
}
