package ipvs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/moby/ipvs"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// Timeouts are those of the kernel's connections, in whole seconds.
type Timeouts struct {
	TCP    time.Duration // established
	TCPFin time.Duration // after a FIN
	UDP    time.Duration
}

// timeoutLimit keeps the kernel's product of seconds and HZ, of at most 1000,
// within 31 bits; it refuses more.
const timeoutLimit = 24 * 24 * time.Hour

// Timeouts returns those in force.
func (t *Table) Timeouts(ctx context.Context) (Timeouts, error) {
	c, err := call(ctx, t, func(h handle) (*ipvs.Config, error) {
		c, err := h.GetConfig()
		if err == nil && c == nil {
			err = errors.New("the kernel sent something that is no timeouts")
		}
		return c, err
	})
	if err != nil {
		return Timeouts{}, fmt.Errorf("read the timeouts of connections: %w", err)
	}
	return Timeouts{TCP: c.TimeoutTCP, TCPFin: c.TimeoutTCPFin, UDP: c.TimeoutUDP}, nil
}

// SetTimeouts sets those that are not zero.
func (t *Table) SetTimeouts(ctx context.Context, to Timeouts) error {
	for _, d := range []time.Duration{to.TCP, to.TCPFin, to.UDP} {
		if d < 0 || d > timeoutLimit || d%time.Second != 0 {
			return fmt.Errorf("set the timeouts of connections: %v is not in whole seconds between 0 and %v", d, timeoutLimit)
		}
	}
	_, err := call(ctx, t, func(h handle) (struct{}, error) {
		return struct{}{}, h.SetConfig(&ipvs.Config{TimeoutTCP: to.TCP, TimeoutTCPFin: to.TCPFin, TimeoutUDP: to.UDP})
	})
	if err != nil {
		return fmt.Errorf("set the timeouts of connections: %w", err)
	}
	return nil
}

// handle is the part of *ipvs.Handle that is used.
type handle interface {
	GetConfig() (*ipvs.Config, error)
	SetConfig(*ipvs.Config) error
	Close()
}

// library is moby/ipvs with what has to be known of it: that one goroutine may
// use it at a time, that it keeps the number of IPVS for the life of the
// process (family.go), and that it waits for ever for an answer that was lost
// (watch.go). A handle is opened for each call: such calls are rare.
type library struct {
	turn  chan struct{} // holds a token while nobody uses the rest
	stuck atomic.Int32  // calls that were given up and have not ended
	open  func() (handle, error)
	// adopt is told the number of IPVS after open and before calls.
	adopt func(id uint16)
	id    uint16 // that was adopted
}

// shared is the only one, as there is only one number in the process.
var shared = newLibrary(func() (handle, error) {
	logrus.SetOutput(io.Discard) // the library logs through its standard logger
	h, err := ipvs.New("")
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return h, nil
}, adopt)

func newLibrary(open func() (handle, error), adopt func(uint16)) *library {
	l := &library{turn: make(chan struct{}, 1), open: open, adopt: adopt}
	l.turn <- struct{}{}
	return l
}

// call runs f on a handle of the library, on a kernel that has IPVS.
func call[T any](ctx context.Context, t *Table, f func(handle) (T, error)) (T, error) {
	var none T
	// Without IPVS the library reports success for everything.
	id, err := t.family(ctx)
	if err != nil {
		return none, err
	}
	l := t.library
	select {
	case <-l.turn:
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
	defer func() { l.turn <- struct{}{} }()
	h, err := ask(ctx, l, l.open, handle.Close)
	if err != nil {
		return none, explain(err)
	}
	// The number must not change under a call that is still running.
	if l.id != id {
		if l.stuck.Load() > 0 {
			go h.Close()
			return none, ErrReloaded
		}
		l.adopt(id)
		l.id = id
	}
	value, err := ask(ctx, l, func() (T, error) { return f(h) }, func(T) {})
	if err == nil {
		h.Close()
		return value, nil
	}
	// Closing ends a call that waits for the socket, but waits itself for one
	// that is inside the kernel.
	go h.Close()
	if errors.Is(err, unix.ENOENT) {
		return none, ErrReloaded
	}
	return none, explain(err)
}
