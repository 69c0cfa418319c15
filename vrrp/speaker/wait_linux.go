package speaker

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Within burst of a packet more are likely to be on their way, and get the time
	// of moderation to arrive together, as with a network card that moderates its
	// interrupts. What is read late is no later than a deadline.
	burst = time.Millisecond
	// yieldEvery is less than the 10 ms after which the Go scheduler believes that a
	// goroutine runs without end, and has its monitor look after it every 20 µs.
	yieldEvery = 5 * time.Millisecond
	never      = math.MaxInt64
)

// waiter waits for a socket in the system call itself. Where hundreds of packets
// arrive in an interval of 10 ms, parking the goroutine and having the scheduler
// wake it costs more than the packets do.
type waiter struct {
	fds      [3]unix.PollFd // the socket, an eventfd that ends a wait, a timer
	deadline atomic.Int64   // in the time of now; never: none
	waiting  atomic.Bool

	epoch          time.Time
	heard, yielded time.Duration // when it last found something to read, and gave way
}

func newWaiter(fd int) (*waiter, error) {
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open eventfd: %w", err)
	}
	// The kernel may end a poll late, by a thousandth of the time that it lasts, but
	// not a timer.
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open timerfd: %w", err), unix.Close(event))
	}
	w := &waiter{
		fds: [3]unix.PollFd{
			{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(event), Events: unix.POLLIN}, {Fd: int32(timer), Events: unix.POLLIN},
		},
		epoch: time.Now(),
		heard: -burst,
	}
	w.set(time.Time{})
	return w, nil
}

func (w *waiter) now() time.Duration { return time.Since(w.epoch) }

// set sets the deadline, the zero time for none, also of a wait under way.
func (w *waiter) set(t time.Time) {
	at := int64(never)
	if !t.IsZero() {
		at = int64(t.Sub(w.epoch))
	}
	w.deadline.Store(at)
	if w.waiting.Load() {
		// One that is full wakes as well.
		_, _ = unix.Write(int(w.fds[1].Fd), []byte{7: 1})
	}
}

// readable returns nil once the socket has something to say, or
// os.ErrDeadlineExceeded once the deadline has passed. With more, something is
// probably left from last time.
func (w *waiter) readable(more bool) error {
	now := w.now()
	var quiet time.Duration // until when the socket is not looked at
	if !more && now-w.heard < burst {
		quiet = now + moderation
	}
	if now-w.yielded > yieldEvery {
		w.yielded = now
		runtime.Gosched()
	}
	w.waiting.Store(true)
	defer w.waiting.Store(false)
	for {
		fds, until := w.fds[:], time.Duration(w.deadline.Load())
		switch now = w.now(); {
		case until <= now:
			return os.ErrDeadlineExceeded
		case now < quiet:
			fds, until = w.fds[1:], min(until, quiet)
		}
		var timer unix.ItimerSpec // zero: disarmed
		if until != never {
			timer.Value = unix.NsecToTimespec(int64(until - now))
		}
		if err := unix.TimerfdSettime(int(w.fds[2].Fd), 0, &timer, nil); err != nil {
			return fmt.Errorf("set timer: %w", err)
		}
		w.fds[0].Revents, w.fds[1].Revents, w.fds[2].Revents = 0, 0, 0
		_, err := unix.Ppoll(fds, nil, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait for socket: %w", err)
		case w.fds[1].Revents != 0:
			var count [8]byte
			_, _ = unix.Read(int(w.fds[1].Fd), count[:]) // the deadline says it all
		case w.fds[0].Revents != 0:
			w.heard = w.now()
			return nil
		}
	}
}

func (w *waiter) close() error {
	return errors.Join(unix.Close(int(w.fds[1].Fd)), unix.Close(int(w.fds[2].Fd)))
}
