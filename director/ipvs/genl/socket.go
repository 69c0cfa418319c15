package genl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// receiveSize is the largest part of a dump that the kernel builds.
	receiveSize = 32 << 10
	// receiveParts are read with one system call: a dump that fits in one part
	// has its end in a second one.
	receiveParts = 2
	// queueSize is wanted for the queue of answers, which takes about a
	// kilobyte of memory for each.
	queueSize = 1 << 20
)

var errLong = errors.New("the kernel's answer is too long")

// transport carries datagrams to and from the kernel.
type transport interface {
	// bound lets waiting end at t, with os.ErrDeadlineExceeded.
	bound(t time.Time) error
	// send and receive say EAGAIN where they would have to wait, unless they
	// may. What receive returns is good until the next call.
	send(b []byte, wait bool) error
	receive(wait bool) ([][]byte, error)
	close() error
	port() uint32
}

// header is struct mmsghdr.
type header struct {
	unix.Msghdr
	n uint32
}

// socket is a generic netlink socket connected to the kernel, from which alone
// it receives.
type socket struct {
	file *os.File
	raw  syscall.RawConn
	id   uint32 // its netlink port

	headers [receiveParts]header
	vectors [receiveParts]unix.Iovec
	buffers [receiveParts][receiveSize]byte
	got     [receiveParts][]byte

	// What the functions below, made once, work on.
	wait        bool
	count       int
	out         []byte
	err         error
	read, write func(fd uintptr) bool
	try, put    func(fd uintptr)
}

func dial() (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_GENERIC)
	if err != nil {
		return nil, err
	}
	// Best effort: older kernels answer longer or without words, and one that
	// does not let us have the memory may lose answers, which is noticed.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, queueSize) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, queueSize)
	}
	s := &socket{}
	kernel := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	err = errors.Join(unix.Bind(fd, kernel), unix.Connect(fd, kernel))
	if name, nameErr := unix.Getsockname(fd); err == nil && nameErr == nil {
		if own, ok := name.(*unix.SockaddrNetlink); ok {
			s.id = own.Pid
		}
	}
	if err == nil && s.id == 0 {
		err = errors.New("the socket has no port")
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	s.file = os.NewFile(uintptr(fd), "genetlink")
	if s.raw, err = s.file.SyscallConn(); err != nil {
		s.file.Close()
		return nil, err
	}
	for i := range s.headers {
		s.vectors[i].Base = &s.buffers[i][0]
		s.vectors[i].SetLen(receiveSize)
		s.headers[i].Iov = &s.vectors[i]
		s.headers[i].SetIovlen(1)
	}
	s.read, s.write = s.readOnce, s.writeOnce
	s.try, s.put = func(fd uintptr) { s.readOnce(fd) }, func(fd uintptr) { s.writeOnce(fd) }
	return s, nil
}

func (s *socket) port() uint32            { return s.id }
func (s *socket) close() error            { return s.file.Close() }
func (s *socket) bound(t time.Time) error { return s.file.SetDeadline(t) }

// readOnce reads what there is, with MSG_TRUNC: as long as the kernel made it.
func (s *socket) readOnce(fd uintptr) bool {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&s.headers[0])),
			receiveParts, unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
		switch errno {
		case unix.EINTR:
			continue
		case 0:
			s.count, s.err = int(n), nil
			return true
		}
		s.count, s.err = 0, errno
		return errno != unix.EAGAIN || !s.wait
	}
}

func (s *socket) receive(wait bool) ([][]byte, error) {
	s.wait = wait
	var err error
	if wait {
		err = s.raw.Read(s.read)
	} else {
		err = s.raw.Control(s.try)
	}
	if err != nil {
		return nil, err
	}
	if s.err != nil {
		return nil, s.err
	}
	for i := range s.count {
		n := int(s.headers[i].n)
		if n > receiveSize {
			return nil, fmt.Errorf("%w: %d bytes", errLong, n)
		}
		s.got[i] = s.buffers[i][:n]
	}
	return s.got[:s.count], nil
}

func (s *socket) writeOnce(fd uintptr) bool {
	for {
		s.err = unix.Send(int(fd), s.out, 0)
		if !errors.Is(s.err, unix.EINTR) {
			return !s.wait || !errors.Is(s.err, unix.EAGAIN)
		}
	}
}

func (s *socket) send(b []byte, wait bool) error {
	s.out, s.wait = b, wait
	var err error
	if wait {
		err = s.raw.Write(s.write)
	} else {
		err = s.raw.Control(s.put)
	}
	s.out = nil
	if err != nil {
		return err
	}
	return s.err
}

// exchange bounds what is asked of the kernel: each answer by patience, all of
// them by a context.
type exchange struct {
	link  transport
	ended func() error // of the context
	stop  func() bool
	done  chan struct{}
}

func newExchange(ctx context.Context, link transport) *exchange {
	x := &exchange{link: link, ended: ctx.Err}
	if ctx.Done() == nil {
		return x
	}
	x.done = make(chan struct{})
	x.stop = context.AfterFunc(ctx, func() {
		defer close(x.done)
		_ = link.bound(time.Unix(1, 0))
	})
	return x
}

// The kernel answers within the call that asks, as a rule: there is nothing to
// wait for, and no deadline to set.

func (x *exchange) send(b []byte) error {
	if err := x.ended(); err != nil {
		return err
	}
	err := x.link.send(b, false)
	if errors.Is(err, unix.EAGAIN) {
		if err = x.patience(); err == nil {
			err = x.link.send(b, true)
		}
	}
	return err
}

func (x *exchange) receive() ([][]byte, error) {
	parts, err := x.link.receive(false)
	if errors.Is(err, unix.EAGAIN) {
		if err = x.patience(); err == nil {
			parts, err = x.link.receive(true)
		}
	}
	return parts, err
}

// patience bounds the waiting that follows.
func (x *exchange) patience() error {
	if err := x.link.bound(time.Now().Add(Patience)); err != nil {
		return err
	}
	// After the deadline was set: an end may have come before, and set its own.
	return x.ended()
}

func (x *exchange) end() {
	if x.stop != nil && !x.stop() {
		<-x.done
	}
}
