package lab

import (
	"fmt"
	"math"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Flood sends frames again and again, so many a second, past the kernel's own
// protocols.
type Flood struct {
	fd    int
	stop  chan struct{}
	ended chan struct{}

	sent int // once ended
	took time.Duration
}

// packetQdiscBypass is PACKET_QDISC_BYPASS of linux/if_packet.h.
const packetQdiscBypass = 20

// Flood starts to send the frames from the port's interface, one after the other
// and from the start again, at a rate.
func (p *Port) Flood(frames [][]byte, perSecond int) *Flood {
	tb := p.Node.lab.tb
	tb.Helper()
	f := &Flood{stop: make(chan struct{}), ended: make(chan struct{})}
	p.Node.Must("open packet socket", func() error {
		link, err := p.Node.nl.LinkByName(p.Ifname)
		if err != nil {
			return err
		}
		if f.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return fmt.Errorf("open packet socket: %w", err)
		}
		_ = unix.SetsockoptInt(f.fd, unix.SOL_PACKET, packetQdiscBypass, 1)
		return unix.Bind(f.fd, &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index})
	})
	go f.run(frames, perSecond)
	tb.Cleanup(func() { f.Stop() })
	return f
}

// run sends what is due every half a millisecond: larger bursts would overflow
// the queues of the machine that all hosts share.
func (f *Flood) run(frames [][]byte, perSecond int) {
	runtime.LockOSThread() // never unlocked: the runtime ends the thread
	defer close(f.ended)
	defer unix.Close(f.fd)
	// In the world the flooder has a processor of its own: it does not give way to
	// those who read what it sends. The thread is thrown away.
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}, 0)
	const tick = 500 * time.Microsecond
	out := newOutbox(frames)
	start := monotonic()
	for due := start; ; due += tick {
		select {
		case <-f.stop:
			f.took = monotonic() - start
			return
		default:
		}
		ts := unix.NsecToTimespec(int64(due))
		_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &ts, nil)
		want := int(math.Ceil((monotonic() - start).Seconds() * float64(perSecond)))
		f.sent += out.send(f.fd, min(want-f.sent, 4*len(out.headers)))
	}
}

// Stop ends the flood and returns how many frames were sent, and how many that
// was in a second.
func (f *Flood) Stop() (sent int, perSecond float64) {
	select {
	case <-f.stop:
	default:
		close(f.stop)
	}
	<-f.ended
	return f.sent, float64(f.sent) / f.took.Seconds()
}

// outbox sends many frames with one system call.
type outbox struct {
	frames  [][]byte
	next    int
	headers [64]mmsghdr
	iov     [64]unix.Iovec
}

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	unix.Msghdr
	size uint32
	_    uint32
}

func newOutbox(frames [][]byte) *outbox {
	o := &outbox{frames: frames}
	for i := range o.headers {
		o.headers[i].Iov = &o.iov[i]
		o.headers[i].SetIovlen(1)
	}
	return o
}

// send sends n frames and returns how many the kernel took.
func (o *outbox) send(fd, n int) int {
	sent := 0
	for sent < n {
		batch := min(n-sent, len(o.headers))
		for i := range batch {
			frame := o.frames[(o.next+i)%len(o.frames)]
			o.iov[i].Base = &frame[0]
			o.iov[i].SetLen(len(frame))
		}
		k, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&o.headers[0])), uintptr(batch), 0, 0, 0)
		if errno != 0 || k == 0 {
			o.next++ // one that the kernel does not take
			return sent
		}
		o.next += int(k)
		sent += int(k)
	}
	return sent
}
