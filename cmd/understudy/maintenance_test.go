package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/configs"
	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/ipvs"
	"github.com/understudy-ha/understudy/director/statefile"
	"github.com/understudy-ha/understudy/director/sysctl"
)

func order(server string) director.NamedOrder {
	return director.NamedOrder{
		ServerName: director.ServerName{Service: "web", Server: netip.MustParseAddrPort(server)},
		Order:      director.Order{Drain: true, Since: time.Unix(1000, 0).UTC()},
	}
}

func TestOrdersFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "when", "needed")
	f := newOrdersFile(dir, "/run/understudy/understudy.sock")
	if list, err := f.Load(); err != nil || len(list) != 0 {
		t.Errorf("Load of nothing = %v, %v", list, err)
	}
	want := []director.NamedOrder{order("10.0.0.1:80"), order("[2001:db8::1]:80")}
	want[1].Weighted, want[1].Weight, want[1].Deadline = true, 65535, time.Unix(2000, 5).UTC()
	if err := f.Store(want); err != nil {
		t.Fatal(err)
	}
	got, err := newOrdersFile(dir, "/elsewhere/understudy.sock").Load()
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if list, err := newOrdersFile(dir, "/run/other.sock").Load(); err != nil || len(list) != 0 {
		t.Errorf("another daemon has %v, %v", list, err)
	}
	info, err := os.Stat(filepath.Join(dir, "understudy.orders"))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("the file has %v, %v", info.Mode(), err)
	}
}

func TestOrdersFileOfAnotherDaemon(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	first, err := newOrdersFile(dir, "/run/a/understudy.sock").lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newOrdersFile(dir, "/run/b/understudy.sock").lock(); err == nil || !strings.Contains(err.Error(), "[director] state") {
		t.Errorf("the lock of a file that another daemon has: %v, want what to do", err)
	}
	other, err := newOrdersFile(dir, "/run/b/other.sock").lock()
	if err != nil {
		t.Fatal(err)
	}
	for _, lock := range []io.Closer{first, other} {
		if err := lock.Close(); err != nil {
			t.Fatal(err)
		}
	}
	again, err := newOrdersFile(dir, "/run/b/understudy.sock").lock()
	if err != nil {
		t.Fatalf("the lock of a file whose daemon has ended: %v", err)
	}
	_ = again.Close()
	none, err := newOrdersFile("/proc/none", "u.sock").lock()
	if err != nil {
		t.Fatalf("the lock where nothing can be written: %v", err)
	}
	_ = none.Close()
}

func TestOrdersFileIsDamaged(t *testing.T) {
	for name, content := range map[string]string{
		"no JSON":           "drain everything",
		"another version":   `{"version": 2, "orders": []}`,
		"no service":        `{"version": 1, "orders": [{"server": "10.0.0.1:80", "drain": true}]}`,
		"no server":         `{"version": 1, "orders": [{"service": "web", "drain": true}]}`,
		"an odd weight":     `{"version": 1, "orders": [{"service": "web", "server": "10.0.0.1:80", "weighted": true, "weight": 70000}]}`,
		"a negative weight": `{"version": 1, "orders": [{"service": "web", "server": "10.0.0.1:80", "weighted": true, "weight": -1}]}`,
		"too long":          `{"version": 1, "orders": []}` + strings.Repeat(" ", statefile.Limit),
	} {
		t.Run(name, func(t *testing.T) {
			f := newOrdersFile(t.TempDir(), "u.sock")
			if err := os.WriteFile(f.path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			list, err := f.Load()
			if err == nil || len(list) != 0 || !strings.Contains(err.Error(), f.path) {
				t.Errorf("Load = %v, %v", list, err)
			}
			// The next order, and the next start, must not hide that these are gone.
			if err := f.Store([]director.NamedOrder{order("10.0.0.1:80")}); err != nil {
				t.Fatal(err)
			}
			if list, err := f.Load(); err != nil || len(list) != 1 {
				t.Errorf("Load of the next order = %v, %v", list, err)
			}
			if got, err := os.ReadFile(f.damaged()); err != nil || string(got) != content {
				t.Errorf("put aside is %.100q, %v", got, err)
			}
			var b strings.Builder
			if err := writeStatus(&b, statusReply{Lost: f.lost()}); err != nil || !strings.Contains(b.String(), "! the orders in "+f.damaged()) {
				t.Errorf("the status does not tell of it: %v\n%s", err, b.String())
			}
			if err := os.Remove(f.damaged()); err != nil || f.lost() != "" {
				t.Errorf("Remove = %v, and then it is %q", err, f.lost())
			}
		})
	}
}

func TestOrdersFileThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := newOrdersFile(file, "u.sock").Store([]director.NamedOrder{order("10.0.0.1:80")})
	if err == nil || !strings.Contains(err.Error(), "[director] state") {
		t.Errorf("Store = %v, want what to do", err)
	}
}

func TestFindServer(t *testing.T) {
	orders, err := director.NewOrders(&memoryOrders{[]director.NamedOrder{order("10.0.0.9:80")}})
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{orders: orders}
	config := &configs.Config{Director: director.Config{Services: []director.Service{
		{Name: "web", Servers: []director.Server{
			{Address: netip.MustParseAddrPort("10.0.0.1:80")},
			{Address: netip.MustParseAddrPort("10.0.0.2:80")}, {Address: netip.MustParseAddrPort("10.0.0.2:81")},
			{Address: netip.MustParseAddrPort("[2001:db8::1]:80")},
		}},
		{Name: "mail"},
	}}}
	for _, tt := range []struct{ service, server, want, err string }{
		{service: "web", server: "10.0.0.1:80", want: "10.0.0.1:80"},
		{service: "web", server: "10.0.0.1", want: "10.0.0.1:80"},
		{service: "web", server: "[2001:db8::1]:80", want: "[2001:db8::1]:80"},
		{service: "web", server: "2001:db8::1", want: "[2001:db8::1]:80"},
		{service: "web", server: "[2001:db8::1]", want: "[2001:db8::1]:80"},
		{service: "web", server: "10.0.0.2:81", want: "10.0.0.2:81"},
		{service: "web", server: "10.0.0.9:80", want: "10.0.0.9:80"}, // to be undone
		{service: "web", server: "10.0.0.2", err: "write the port too"},
		{service: "web", server: "10.0.0.1:81", err: `service "web" has no server 10.0.0.1:81`},
		{service: "mail", server: "10.0.0.1:80", err: "has no server"},
		{service: "wbe", server: "10.0.0.1:80", err: `there is no service "wbe"; the services are web, mail`},
		{service: "web", server: "10.0.0.256:80", err: "is no server"},
		{service: "web", server: "", err: "is no server"},
	} {
		t.Run(tt.service+" "+tt.server, func(t *testing.T) {
			got, err := d.find(config, orderRequest{Service: tt.service, Server: tt.server})
			switch {
			case tt.err == "" && (err != nil || got.Server.String() != tt.want):
				t.Errorf("find = %v, %v", got, err)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("find = %v, %v, want %s", got, err, tt.err)
			}
		})
	}
}

type memoryOrders struct{ list []director.NamedOrder }

func (m *memoryOrders) Load() ([]director.NamedOrder, error) { return m.list, nil }
func (m *memoryOrders) Store(list []director.NamedOrder) error {
	m.list = list
	return nil
}

// timeoutsFake is a kernel with timeouts.
type timeoutsFake struct {
	mu   sync.Mutex
	have ipvs.Timeouts
	sets int
	err  error
}

func (f *timeoutsFake) Timeouts(context.Context) (ipvs.Timeouts, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.have, f.err
}

func (f *timeoutsFake) SetTimeouts(_ context.Context, to ipvs.Timeouts) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sets++
	for _, v := range []struct{ have, want *time.Duration }{{&f.have.TCP, &to.TCP}, {&f.have.TCPFin, &to.TCPFin}, {&f.have.UDP, &to.UDP}} {
		if *v.want != 0 {
			*v.have = *v.want
		}
	}
	return f.err
}

func (f *timeoutsFake) by(hand func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	hand()
}

func TestTimeoutsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &timeoutsFake{have: ipvs.Timeouts{TCP: 900 * time.Second, TCPFin: 120 * time.Second, UDP: 300 * time.Second}}
		s := newTuning(f, sysctl.New(sysctl.Options{Table: noSysctls{}}), slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = s.run(ctx) }()
		s.set(&configs.Config{})
		time.Sleep(time.Minute)
		synctest.Wait()
		if f.sets != 0 {
			t.Errorf("%d times set although nothing is configured", f.sets)
		}
		s.set(&configs.Config{Timeouts: configs.Timeouts{UDP: 60 * time.Second}})
		synctest.Wait()
		want := ipvs.Timeouts{TCP: 900 * time.Second, TCPFin: 120 * time.Second, UDP: 60 * time.Second}
		if f.have != want || f.sets != 1 {
			t.Errorf("the kernel has %+v after %d times, want %+v after one", f.have, f.sets, want)
		}
		f.by(func() { f.have.UDP = time.Second }) // somebody else
		time.Sleep(2 * settingsEvery)
		synctest.Wait()
		if f.have != want || f.sets != 2 {
			t.Errorf("the kernel has %+v after %d times, want %+v after two", f.have, f.sets, want)
		}
		f.by(func() { f.err = errors.New("no IPVS") })
		time.Sleep(2 * settingsEvery)
		synctest.Wait()
		if s.trouble() == "" {
			t.Error("an error is not told")
		}
		f.by(func() { f.err = nil })
		time.Sleep(2 * settingsEvery)
		synctest.Wait()
		if s.trouble() != "" {
			t.Errorf("its end is not told: %s", s.trouble())
		}
	})
}

// noSysctls is a kernel without settings.
type noSysctls struct{}

func (noSysctls) Read(string) (string, error) { return "", os.ErrNotExist }
func (noSysctls) Write(string, string) error  { return os.ErrNotExist }
