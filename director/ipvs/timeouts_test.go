package ipvs

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/ipvs"
	"golang.org/x/sys/unix"
)

// fakeHandle is a handle of the library that hangs while hang is set, until it
// is closed.
type fakeHandle struct {
	hang     bool
	stubborn chan struct{} // if not nil: hangs even when closed, until this is
	config   func() (*ipvs.Config, error)

	once   sync.Once
	closed chan struct{}
}

func (h *fakeHandle) Close() { h.once.Do(func() { close(h.closed) }) }

func (h *fakeHandle) SetConfig(*ipvs.Config) error { return nil }

func (h *fakeHandle) GetConfig() (*ipvs.Config, error) {
	if h.stubborn != nil {
		<-h.stubborn
		return nil, unix.EBADF
	}
	if h.hang {
		<-h.closed
		return nil, unix.EBADF
	}
	if h.config != nil {
		return h.config()
	}
	return &ipvs.Config{TimeoutTCP: time.Minute}, nil
}

func (h *fakeHandle) isClosed() bool {
	select {
	case <-h.closed:
		return true
	default:
		return false
	}
}

// fakeLibrary makes handles with next.
type fakeLibrary struct {
	mu       sync.Mutex
	adopted  uint16
	handles  []*fakeHandle
	next     func() *fakeHandle
	openHang chan struct{}
}

// table returns a Table with the library.
func (f *fakeLibrary) table(m *model) *Table {
	t := newTable(m.system())
	t.library = newLibrary(func() (handle, error) {
		if f.openHang != nil {
			<-f.openHang
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		h := f.next()
		h.closed = make(chan struct{})
		f.handles = append(f.handles, h)
		return h, nil
	}, func(id uint16) { f.adopted = id })
	return t
}

func TestTimeouts(t *testing.T) {
	f := &fakeLibrary{next: func() *fakeHandle { return &fakeHandle{} }}
	m := &model{}
	table := f.table(m)
	defer table.Close()
	if _, err := table.Timeouts(t.Context()); !errors.Is(err, ErrMissing) || len(f.handles) != 0 {
		t.Errorf("Timeouts without IPVS = %v, and the library was asked %d times", err, len(f.handles))
	}
	if err := table.SetTimeouts(t.Context(), Timeouts{UDP: time.Minute}); !errors.Is(err, ErrMissing) {
		t.Errorf("SetTimeouts without IPVS = %v", err)
	}
	for _, id := range []uint16{28, 30} {
		m.family = id
		if got, err := table.Timeouts(t.Context()); err != nil || got != (Timeouts{TCP: time.Minute}) || f.adopted != id {
			t.Errorf("Timeouts = %v, %v of family %d, want %d", got, err, f.adopted, id)
		}
	}
	for _, bad := range []Timeouts{{TCP: -time.Second}, {UDP: time.Second / 2}, {TCPFin: 25 * 24 * time.Hour}} {
		if err := table.SetTimeouts(t.Context(), bad); err == nil {
			t.Errorf("SetTimeouts(%+v) was accepted", bad)
		}
	}
	if err := table.SetTimeouts(t.Context(), Timeouts{UDP: time.Minute}); err != nil {
		t.Error(err)
	}
	for i, h := range f.handles {
		if !h.isClosed() {
			t.Errorf("handle %d is open", i)
		}
	}
	f.next = func() *fakeHandle {
		return &fakeHandle{config: func() (*ipvs.Config, error) { return nil, unix.ENOENT }}
	}
	if _, err := table.Timeouts(t.Context()); !errors.Is(err, ErrReloaded) {
		t.Errorf("Timeouts while ip_vs is loaded again = %v", err)
	}
}

func TestLibraryWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := true
		f := &fakeLibrary{next: func() *fakeHandle { return &fakeHandle{hang: hangs} }}
		table := f.table(&model{family: 28})
		defer table.Close()
		began := time.Now()
		if _, err := table.Timeouts(t.Context()); !errors.Is(err, ErrNoAnswer) {
			t.Fatalf("Timeouts of a kernel that does not answer = %v", err)
		}
		if took := time.Since(began); took != patience {
			t.Errorf("that took %v, want %v", took, patience)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := table.Timeouts(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Timeouts = %v, want the caller's deadline", err)
		}
		hangs = false
		synctest.Wait()
		for i, h := range f.handles {
			if !h.isClosed() {
				t.Errorf("handle %d without an answer is still open", i)
			}
		}
		if table.library.stuck.Load() != 0 {
			t.Error("a call is still counted")
		}
		if _, err := table.Timeouts(t.Context()); err != nil {
			t.Errorf("Timeouts afterwards = %v", err)
		}
	})
}

// TestStuckCallsAreBounded has a kernel whose calls do not even end when their
// socket is closed.
func TestStuckCallsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		f := &fakeLibrary{next: func() *fakeHandle { return &fakeHandle{stubborn: release} }}
		m := &model{family: 28}
		table := f.table(m)
		defer table.Close()
		for range 2 * maxStuck {
			if _, err := table.Timeouts(t.Context()); !errors.Is(err, ErrNoAnswer) {
				t.Fatalf("Timeouts = %v", err)
			}
		}
		if len(f.handles) != maxStuck {
			t.Errorf("%d handles were opened, want %d", len(f.handles), maxStuck)
		}
		close(release)
		synctest.Wait()
		f.next = func() *fakeHandle { return &fakeHandle{} }
		if _, err := table.Timeouts(t.Context()); err != nil {
			t.Errorf("Timeouts after all has ended = %v", err)
		}
	})
}

// TestNumberUnderStuckCall shows that the number of IPVS stays while a call may
// be reading it.
func TestNumberUnderStuckCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		f := &fakeLibrary{next: func() *fakeHandle { return &fakeHandle{stubborn: release} }}
		m := &model{family: 28}
		table := f.table(m)
		defer table.Close()
		if _, err := table.Timeouts(t.Context()); !errors.Is(err, ErrNoAnswer) {
			t.Fatalf("Timeouts = %v", err)
		}
		m.reload()
		if _, err := table.Timeouts(t.Context()); !errors.Is(err, ErrReloaded) || f.adopted != 28 {
			t.Errorf("Timeouts = %v, and the number became %d", err, f.adopted)
		}
		close(release)
		synctest.Wait()
		f.next = func() *fakeHandle { return &fakeHandle{} }
		if _, err := table.Timeouts(t.Context()); err != nil || f.adopted != 29 {
			t.Errorf("Timeouts afterwards = %v, number %d", err, f.adopted)
		}
	})
}

func TestLateHandleIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeLibrary{next: func() *fakeHandle { return &fakeHandle{} }, openHang: make(chan struct{})}
		table := f.table(&model{family: 28})
		defer table.Close()
		if _, err := table.Timeouts(t.Context()); !errors.Is(err, ErrNoAnswer) {
			t.Fatalf("Timeouts = %v", err)
		}
		close(f.openHang)
		synctest.Wait()
		if len(f.handles) != 1 || !f.handles[0].isClosed() {
			t.Error("the handle that came late is still open")
		}
	})
}

func TestPanicOfTheLibraryIsAnError(t *testing.T) {
	for name, config := range map[string]func() (*ipvs.Config, error){
		"index out of range": func() (*ipvs.Config, error) { panic("index out of range") },
		"no timeouts":        func() (*ipvs.Config, error) { return nil, nil },
	} {
		f := &fakeLibrary{next: func() *fakeHandle { return &fakeHandle{config: config} }}
		table := f.table(&model{family: 28})
		if _, err := table.Timeouts(t.Context()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("Timeouts = %v, want %q as an error", err, name)
		}
		table.Close()
	}
}
