package ipvs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/directortest"
	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

func TestModelConformance(t *testing.T) {
	directortest.TestIPVS(t, func(t *testing.T) director.Table[director.Key, director.Spec] {
		table := newTable((&model{family: 28}).system())
		t.Cleanup(table.Close)
		return table
	})
}

func create(k director.ServiceKey, scheduler string) change {
	return change{Op: director.Create, Key: director.Key{Service: k}, New: director.Spec{Service: director.ServiceSpec{Scheduler: scheduler}}}
}

func createServer(k director.ServiceKey, server string, weight int) change {
	return change{
		Op: director.Create, Key: director.Key{Service: k, Server: netip.MustParseAddrPort(server)},
		New: director.Spec{Server: director.ServerSpec{Weight: weight}},
	}
}

func with(op director.Op, c change) change {
	c.Op = op
	return c
}

// TestApplyMessages shows which messages a change costs.
func TestApplyMessages(t *testing.T) {
	web, mail := tcp("192.0.2.1:80"), tcp("192.0.2.1:25")
	type ops = [][]genl.Op
	for _, tt := range []struct {
		name string
		in   []change
		want ops
	}{
		{"one server", []change{with(director.Update, createServer(web, "192.0.2.2:80", 5))}, ops{{genl.SetDest}}},
		{"all at once", []change{create(mail, "rr"), createServer(mail, "192.0.2.2:25", 1), with(director.Delete, create(web, ""))},
			ops{{genl.NewService, genl.NewDest, genl.DelService}}},
		{"what exists", []change{create(web, "rr"), createServer(web, "192.0.2.2:80", 1), createServer(web, "192.0.2.3:80", 1)},
			ops{{genl.NewService, genl.NewDest, genl.NewDest}, {genl.SetService, genl.SetDest}}},
		{"what is absent", []change{with(director.Update, create(mail, "rr")), with(director.Update, createServer(mail, "192.0.2.2:25", 1))},
			ops{{genl.SetService, genl.SetDest}, {genl.NewService, genl.NewDest}}},
		{"deletion of what is absent", []change{with(director.Delete, create(mail, "")), with(director.Delete, createServer(web, "192.0.2.9:80", 0))},
			ops{{genl.DelService, genl.DelDest}}},
		{"deletion of what nobody can want", []change{
			with(director.Delete, create(tcp("[::ffff:192.0.2.1]:80"), "")),
			with(director.Delete, create(director.ServiceKey{Address: netip.MustParseAddrPort("192.0.2.1:80")}, "")),
		}, ops{{genl.DelService, genl.DelService}}},
		{"what cannot exist", []change{with(director.Delete, create(director.ServiceKey{}, ""))}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &model{family: 28}
			table := newTable(m.system())
			defer table.Close()
			if err := table.Apply(t.Context(), []change{create(web, "wlc"), createServer(web, "192.0.2.2:80", 1)}); err != nil {
				t.Fatal(err)
			}
			m.calls = nil
			if err := table.Apply(t.Context(), tt.in); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, ops(m.calls)); d != "" {
				t.Errorf("other messages than expected (-want +got):\n%s", d)
			}
		})
	}
}

// TestApplyReasons shows what an operator reads.
func TestApplyReasons(t *testing.T) {
	web, six := tcp("192.0.2.1:80"), netip.MustParseAddrPort("[2001:db8::2]:80")
	engine := create(web, "nosuch")
	engine.New.Service.Engine = "sip"
	mixed := change{Op: director.Create, Key: director.Key{Service: web, Server: six}, New: director.Spec{Server: director.ServerSpec{Forward: director.TUN}}}
	for _, tt := range []struct {
		name   string
		before func(genl.Message) error
		in     []change
		want   []string // of the failures in order
	}{
		{"unknown scheduler", nil, []change{create(web, "nosuch"), createServer(web, "192.0.2.2:80", 1)}, []string{
			`create tcp 192.0.2.1:80: the kernel has no scheduler "nosuch": load it with "modprobe ip_vs_nosuch": no such file or directory`,
			`create tcp 192.0.2.1:80 -> 192.0.2.2:80: its service could not be created: no such process`,
		}},
		{"unknown scheduler or engine", nil, []change{engine}, []string{
			`create tcp 192.0.2.1:80: the kernel lacks the scheduler "nosuch" or the persistence engine "sip": load them with "modprobe -a ip_vs_nosuch ip_vs_pe_sip": no such file or directory`,
		}},
		{"no service", nil, []change{createServer(web, "192.0.2.2:80", 1)}, []string{
			`create tcp 192.0.2.1:80 -> 192.0.2.2:80: its service does not exist: no such process`,
		}},
		{"not allowed", func(genl.Message) error { return unix.EPERM }, []change{create(web, "rr")}, []string{
			`create tcp 192.0.2.1:80: operation not permitted (IPVS needs CAP_NET_ADMIN)`,
		}},
		{"mixed families refused", func(m genl.Message) error {
			if m.Op == genl.NewDest {
				return unix.EINVAL
			}
			return nil
		}, []change{create(web, "rr"), mixed}, []string{
			`create tcp 192.0.2.1:80 -> [2001:db8::2]:80: a server of another address family than its service is refused by kernels that cannot, and while a synchronisation daemon runs: invalid argument`,
		}},
		{"an address that cannot be a server's", func(m genl.Message) error {
			if m.Op == genl.NewDest {
				return unix.EINVAL
			}
			return nil
		}, []change{create(web, "rr"), createServer(web, "192.0.2.255:80", 1)}, []string{
			`create tcp 192.0.2.1:80 -> 192.0.2.255:80: the kernel takes servers at unicast addresses only, at link-local ones only if they are its own: invalid argument`,
		}},
		{"somebody else", func(m genl.Message) error {
			return map[genl.Op]error{genl.NewService: unix.EEXIST, genl.SetService: unix.ESRCH}[m.Op]
		}, []change{create(web, "rr")}, []string{`create tcp 192.0.2.1:80: somebody else keeps creating and deleting it`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			table := newTable((&model{family: 28, before: tt.before}).system())
			defer table.Close()
			err := table.Apply(t.Context(), tt.in)
			if d := cmp.Diff(strings.Join(tt.want, "\n"), fmt.Sprint(err)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestApplyMany has failures across what is sent at a time.
func TestApplyMany(t *testing.T) {
	web := tcp("192.0.2.1:80")
	changes := []change{create(web, "rr")}
	bad := map[int]bool{}
	for i := 1; i < 3*chunk; i++ {
		s := web
		if i%500 == 0 {
			s, bad[i] = tcp("192.0.2.9:80"), true
		}
		changes = append(changes, createServer(s, fmt.Sprintf("10.0.%d.%d:80", i>>8, i&255), 1))
	}
	m := &model{family: 28}
	table := newTable(m.system())
	defer table.Close()
	err := table.Apply(t.Context(), changes)
	var wrong []string
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		var c *director.ChangeError[director.Key]
		if !errors.As(e, &c) || c.Key.Service == web {
			wrong = append(wrong, e.Error())
		}
	}
	if n := len(err.(interface{ Unwrap() []error }).Unwrap()); n != len(bad) || len(wrong) > 0 {
		t.Errorf("%d failures, want %d; wrong: %q", n, len(bad), wrong)
	}
	if len(m.services) != 1 || len(m.services[0].servers) != 3*chunk-1-len(bad) {
		t.Errorf("the table has %d services, with %d servers", len(m.services), len(m.services[0].servers))
	}
	if len(m.calls) != 3 {
		t.Errorf("%d calls, want 3", len(m.calls))
	}
}

// TestOutcomeUnknown has the kernel fail in the second of three chunks.
func TestOutcomeUnknown(t *testing.T) {
	web := tcp("192.0.2.1:80")
	changes := []change{create(web, "rr"), with(director.Delete, createServer(web, "10.9.9.9:80", 0))}
	for i := len(changes); i < 3*chunk; i++ {
		changes = append(changes, createServer(web, fmt.Sprintf("10.0.%d.%d:80", i>>8, i&255), 1))
	}
	calls := 0
	m := &model{family: 28, fail: func() error {
		if calls++; calls == 2 {
			return unix.ENOBUFS
		}
		return nil
	}}
	table := newTable(m.system())
	defer table.Close()
	err := table.Apply(t.Context(), changes)
	all := err.(interface{ Unwrap() []error }).Unwrap()
	if len(all) != 2*chunk || !errors.Is(all[0], unix.ENOBUFS) || all[0].(*director.ChangeError[director.Key]).Key != changes[chunk].Key {
		t.Errorf("%d failures from %v on, want %d", len(all), all[0], 2*chunk)
	}
	if calls != 2 {
		t.Errorf("%d calls, want none after the failure", calls)
	}
	if err := table.Apply(t.Context(), changes); err != nil {
		t.Errorf("once more: %v", err)
	}
	if m.opened != 2 || m.closed != 1 {
		t.Errorf("%d sockets opened, %d closed; want a new one after the failure", m.opened, m.closed)
	}
}

func TestPreflight(t *testing.T) {
	m := &model{}
	table := newTable(m.system())
	for range 2 {
		err := table.Preflight()
		if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "modprobe ip_vs") {
			t.Errorf("Preflight without IPVS = %v", err)
		}
	}
	if m.probes != 1 || m.opened != 0 {
		t.Errorf("%d times modprobe and %d sockets, want 1 and none", m.probes, m.opened)
	}
	if err := table.Apply(t.Context(), []change{{Op: director.Delete}}); !errors.Is(err, ErrMissing) {
		t.Errorf("Apply without IPVS = %v", err)
	}
	m.family = 30
	if err := table.Preflight(); err != nil {
		t.Errorf("Preflight = %v", err)
	}
	web := tcp("192.0.2.1:80")
	if err := table.Apply(t.Context(), []change{create(web, "rr")}); err != nil {
		t.Fatal(err)
	}
	m.reload()
	if list, err := table.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("List after ip_vs was loaded again = %v, %v", list, err)
	}
	if err := table.Apply(t.Context(), []change{create(web, "rr")}); err != nil {
		t.Errorf("Apply after ip_vs was loaded again = %v", err)
	}
	m.family = 0
	if err := table.Preflight(); !errors.Is(err, ErrMissing) {
		t.Errorf("Preflight after ip_vs was unloaded = %v", err)
	}
	if _, err := table.List(t.Context()); !errors.Is(err, ErrMissing) {
		t.Errorf("List after ip_vs was unloaded = %v", err)
	}
	table.Close()
	if _, err := table.List(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("List of a closed table = %v", err)
	}
	if m.opened != m.closed {
		t.Errorf("%d sockets opened, %d closed", m.opened, m.closed)
	}

	m = &model{loads: true}
	table = newTable(m.system())
	defer table.Close()
	if err := table.Preflight(); err != nil || m.probes != 1 {
		t.Errorf("Preflight that loads IPVS = %v", err)
	}
}

// TestApplyDuringList shows that a long listing holds up no change and no look at
// one service, but another listing.
func TestApplyDuringList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		m := &model{family: 28, listed: func(context.Context) error {
			<-release
			return nil
		}}
		table := newTable(m.system())
		defer table.Close()
		listed := make(chan error)
		go func() {
			_, err := table.List(context.Background())
			listed <- err
		}()
		synctest.Wait()
		if err := table.Apply(t.Context(), []change{create(tcp("192.0.2.1:80"), "rr")}); err != nil {
			t.Errorf("Apply during a listing: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := table.Connections(ctx, tcp("192.0.2.1:80")); err != nil {
			t.Errorf("Connections during a listing: %v", err)
		}
		began := time.Now()
		if _, err := table.Counters(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("Counters = %v after %v, want it to wait for its turn", err, time.Since(began))
		}
		close(release)
		if err := <-listed; err != nil {
			t.Error(err)
		}
	})
}

func TestCounters(t *testing.T) {
	web := tcp("192.0.2.1:80")
	m := &model{family: 28}
	table := newTable(m.system())
	defer table.Close()
	if err := table.Apply(t.Context(), []change{create(web, "rr"), createServer(web, "192.0.2.2:80", 1)}); err != nil {
		t.Fatal(err)
	}
	d := &m.services[0].servers[0]
	d.Active, d.Inactive, d.Persistent = 3, 4, 5
	want := director.Counters{Active: 3, Inactive: 4, Persistent: 5}
	server := netip.MustParseAddrPort("192.0.2.2:80")
	if all, err := table.Counters(t.Context()); err != nil || len(all) != 1 || all[director.Key{Service: web, Server: server}] != want {
		t.Errorf("Counters = %v, %v", all, err)
	}
	if all, err := table.Connections(t.Context(), web); err != nil || len(all) != 1 || all[server] != want {
		t.Errorf("Connections = %v, %v", all, err)
	}
	if all, err := table.Connections(t.Context(), director.ServiceKey{}); err != nil || len(all) != 0 {
		t.Errorf("Connections of what cannot exist = %v, %v", all, err)
	}
}
