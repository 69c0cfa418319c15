package ipvs

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
)

func memory(v uint32) (b [4]byte) {
	binary.NativeEndian.PutUint32(b[:], v)
	return b
}

func fromMemory(b [4]byte) uint32 { return binary.NativeEndian.Uint32(b[:]) }

// handle is a kernel that hangs while hang is set, until it is closed.
type handle struct {
	kernel   // panics where a test does not want a call
	hang     bool
	stubborn chan struct{} // if not nil: hangs even when closed, until this is

	once   sync.Once
	closed chan struct{}
	list   func() ([]*ipvs.Service, error)
}

func (h *handle) Close() { h.once.Do(func() { close(h.closed) }) }

func (h *handle) GetServices() ([]*ipvs.Service, error) {
	if h.stubborn != nil {
		<-h.stubborn
		return nil, unix.EBADF
	}
	if h.hang {
		<-h.closed
		return nil, unix.EBADF
	}
	if h.list != nil {
		return h.list()
	}
	return nil, nil
}

// fake is a system whose handles are made by next.
type fake struct {
	mu       sync.Mutex
	id       uint16 // 0: there is no IPVS
	loads    bool   // modprobe works
	probes   int
	adopted  uint16
	handles  []*handle
	next     func() *handle
	openHang chan struct{}
}

func (f *fake) system() system {
	return system{
		family: func() (uint16, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.id == 0 {
				return 0, unix.ENOENT
			}
			return f.id, nil
		},
		modprobe: func(context.Context) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.probes++
			if !f.loads {
				return errors.New("module not found")
			}
			f.id = 28
			return nil
		},
		open: func() (kernel, error) {
			if f.openHang != nil {
				<-f.openHang
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			h := f.next()
			h.closed = make(chan struct{})
			f.handles = append(f.handles, h)
			return h, nil
		},
		adopt: func(id uint16) { f.adopted = id },
	}
}

func closed(h *handle) bool {
	select {
	case <-h.closed:
		return true
	default:
		return false
	}
}

func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := true
		f := &fake{id: 28, next: func() *handle { return &handle{hang: hangs} }}
		table := newTable(f.system())
		defer table.Close()
		began := time.Now()
		if _, err := table.List(t.Context()); !errors.Is(err, ErrNoAnswer) {
			t.Fatalf("List of a kernel that does not answer = %v", err)
		}
		if took := time.Since(began); took != patience {
			t.Errorf("that took %v, want %v", took, patience)
		}
		hangs = false
		synctest.Wait()
		if !closed(f.handles[0]) || table.stuck.Load() != 0 {
			t.Error("the handle without an answer is still open")
		}
		if _, err := table.List(t.Context()); err != nil || len(f.handles) != 2 {
			t.Errorf("List afterwards = %v with %d handles, want a new one", err, len(f.handles))
		}
	})
}

func TestCallerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{id: 28, next: func() *handle { return &handle{hang: true} }}
		table := newTable(f.system())
		defer table.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if _, err := table.List(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("List = %v, want the caller's deadline", err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("that took %v", took)
		}
		synctest.Wait()
		if !closed(f.handles[0]) {
			t.Error("the handle is still open")
		}
	})
}

func TestWaitingForATurnEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{id: 28, next: func() *handle { return &handle{hang: true} }}
		table := newTable(f.system())
		defer table.Close()
		go func() { _, _ = table.List(context.Background()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if _, err := table.Counters(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("Counters = %v after %v", err, time.Since(began))
		}
		time.Sleep(patience)
	})
}

// TestStuckCallsAreBounded has a kernel whose calls do not even end when their
// socket is closed.
func TestStuckCallsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		f := &fake{id: 28, next: func() *handle { return &handle{stubborn: release} }}
		table := newTable(f.system())
		defer table.Close()
		for range 2 * maxStuck {
			if _, err := table.List(t.Context()); !errors.Is(err, ErrNoAnswer) {
				t.Fatalf("List = %v", err)
			}
		}
		if len(f.handles) != maxStuck {
			t.Errorf("%d handles were opened, want %d", len(f.handles), maxStuck)
		}
		close(release)
		synctest.Wait()
		f.next = func() *handle { return &handle{} }
		if _, err := table.List(t.Context()); err != nil {
			t.Errorf("List after all has ended = %v", err)
		}
	})
}

func TestLateHandleIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{id: 28, next: func() *handle { return &handle{} }, openHang: make(chan struct{})}
		table := newTable(f.system())
		defer table.Close()
		if err := table.Preflight(); !errors.Is(err, ErrNoAnswer) {
			t.Fatalf("Preflight = %v", err)
		}
		close(f.openHang)
		synctest.Wait()
		if len(f.handles) != 1 || !closed(f.handles[0]) {
			t.Error("the handle that came late is still open")
		}
	})
}

func TestPanicOfTheLibraryIsAnError(t *testing.T) {
	f := &fake{id: 28, next: func() *handle {
		return &handle{list: func() ([]*ipvs.Service, error) { panic("index out of range") }}
	}}
	table := newTable(f.system())
	defer table.Close()
	if _, err := table.List(t.Context()); err == nil || !strings.Contains(err.Error(), "index out of range") {
		t.Errorf("List = %v, want the panic as an error", err)
	}
}

func TestNilServiceIsAnError(t *testing.T) {
	f := &fake{id: 28, next: func() *handle {
		return &handle{list: func() ([]*ipvs.Service, error) { return []*ipvs.Service{nil}, nil }}
	}}
	table := newTable(f.system())
	defer table.Close()
	if list, err := table.List(t.Context()); err == nil {
		t.Errorf("List = %v without an error", list)
	}
}

func TestPreflight(t *testing.T) {
	f := &fake{next: func() *handle { return &handle{} }}
	table := newTable(f.system())
	for range 2 {
		err := table.Preflight()
		if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "modprobe ip_vs") {
			t.Errorf("Preflight without IPVS = %v", err)
		}
	}
	if f.probes != 1 || len(f.handles) != 0 {
		t.Errorf("%d times modprobe and %d handles, want 1 and none", f.probes, len(f.handles))
	}
	if err := table.Apply(t.Context(), []change{{Op: director.Delete}}); !errors.Is(err, ErrMissing) {
		t.Errorf("Apply without IPVS = %v", err)
	}
	f.id = 30
	if err := table.Preflight(); err != nil || f.adopted != 30 {
		t.Errorf("Preflight = %v, family %d", err, f.adopted)
	}
	f.id = 31
	if _, err := table.List(t.Context()); err != nil || f.adopted != 31 {
		t.Errorf("List after ip_vs was loaded again = %v, family %d", err, f.adopted)
	}
	table.Close()
	if _, err := table.List(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("List of a closed table = %v", err)
	}
	if !closed(f.handles[0]) {
		t.Error("Close leaves the handle open")
	}

	f = &fake{loads: true, next: func() *handle { return &handle{} }}
	table = newTable(f.system())
	defer table.Close()
	if err := table.Preflight(); err != nil || f.probes != 1 || f.adopted != 28 {
		t.Errorf("Preflight that loads IPVS = %v, family %d", err, f.adopted)
	}
}
