package garp

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/bpf"
)

// fakeEther is links that a test drives, with other hosts on them.
type fakeEther struct {
	mu      sync.Mutex
	devices map[string]device
	refuse  error // what listen returns
	broken  error // what send returns
	open    map[*fakeListener]bool
	opens   int
	probes  []string // "time index address"
}

type fakeListener struct {
	ether  *fakeEther
	dev    device
	six    bool
	filter *bpf.VM
	queue  chan []byte // bounded, as the kernel's is
	failed chan error
	closed chan struct{}
	drops  uint64
}

func (e *fakeEther) lookup(name string) (device, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	d, ok := e.devices[name]
	if !ok {
		return device{}, fmt.Errorf("look up link %s: %w", name, syscall.ENODEV)
	}
	return d, nil
}

func (e *fakeEther) listen(d device, six bool, filter []bpf.Instruction) (listener, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.opens++
	if e.refuse != nil {
		return nil, e.refuse
	}
	vm, err := bpf.NewVM(filter)
	if err != nil {
		return nil, err
	}
	l := &fakeListener{
		ether: e, dev: d, six: six, filter: vm,
		queue: make(chan []byte, 200), failed: make(chan error, 1), closed: make(chan struct{}),
	}
	e.open[l] = true
	return l, nil
}

func (l *fakeListener) limit(time.Time) error { return nil }

func (l *fakeListener) send(frame []byte) error {
	l.ether.mu.Lock()
	defer l.ether.mu.Unlock()
	if l.ether.broken != nil {
		return l.ether.broken
	}
	address := netip.Addr{}
	if l.six {
		address = netip.AddrFrom16([16]byte(frame[ndTarget:]))
	} else {
		address = netip.AddrFrom4([4]byte(frame[arpEnd-4:]))
	}
	l.ether.probes = append(l.ether.probes, fmt.Sprintf("%v %d %v", time.Since(synctestStart), l.dev.index, address))
	return nil
}

func (l *fakeListener) admit(filter []bpf.Instruction) error {
	l.ether.mu.Lock()
	defer l.ether.mu.Unlock()
	var err error
	l.filter, err = bpf.NewVM(filter)
	return err
}

func (l *fakeListener) receive(b []byte) (int, error) {
	select {
	case <-l.closed:
		return 0, net.ErrClosed
	case err := <-l.failed:
		return 0, err
	case frame := <-l.queue:
		return copy(b, frame), nil
	}
}

func (l *fakeListener) missed() (uint64, error) {
	l.ether.mu.Lock()
	defer l.ether.mu.Unlock()
	return l.drops, nil
}

func (l *fakeListener) close() error {
	l.ether.mu.Lock()
	defer l.ether.mu.Unlock()
	delete(l.ether.open, l)
	close(l.closed)
	return nil
}

// change lets f write what the watcher reads.
func (e *fakeEther) change(f func(e *fakeEther)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f(e)
}

// claim makes a host with hw announce address on the link with that index.
func (e *fakeEther) claim(t *testing.T, index int, hw MAC, address string) {
	t.Helper()
	frames, err := Frames(net.HardwareAddr(hw[:]), netip.MustParseAddr(address), false)
	if err != nil {
		t.Fatal(err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	frame := frames[0]
	for l := range e.open {
		if n, err := l.filter.Run(frame); l.dev.index != index || err != nil || n == 0 {
			continue
		}
		select {
		case l.queue <- frame:
		default:
			l.drops++
		}
	}
}

// fail makes the sockets on a link fail.
func (e *fakeEther) fail(index int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for l := range e.open {
		if l.dev.index == index {
			l.failed <- err
		}
	}
}

// take returns the probes sent since it was last called.
func (e *fakeEther) take() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	probes := e.probes
	e.probes = nil
	return probes
}

// watchFake runs a watcher on fake links until the test ends.
func watchFake(t *testing.T) (*Watcher, *fakeEther, *syncedLog, *int) {
	t.Helper()
	log, rings := new(syncedLog), new(int)
	w := NewWatcher(WatcherOptions{Log: slog.New(slog.NewTextHandler(log, nil)), Bell: func() { *rings++ }})
	e := &fakeEther{
		devices: map[string]device{
			"eth0": {index: 10, hw: ourMAC[:], up: true},
			"eth1": {index: 11, hw: net.HardwareAddr{2, 0, 0, 0, 0, 2}, up: true},
		},
		open: map[*fakeListener]bool{},
	}
	w.ether = e // before Run, which is the only one to use it
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if len(e.open) > 0 {
			t.Errorf("%d sockets are left open", len(e.open))
		}
	})
	return w, e, log, rings
}

// syncedLog is a buffer for several goroutines.
type syncedLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *syncedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// take returns what was logged since it was last called, without times.
func (l *syncedLog) take() (lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		lines = append(lines, rest)
	}
	l.b.Reset()
	return lines
}
