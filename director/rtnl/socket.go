package rtnl

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/rtattr"
)

const (
	// timeout bounds one exchange with the kernel. It answers at once unless
	// the lock of rtnetlink is held for long.
	timeout = 5 * time.Second
	// batch is the number of requests in one message to the kernel: their
	// answers must fit in the default receive buffer (212992 bytes at about
	// 800 bytes of memory an answer).
	batch = 100
	// receiveSize holds the largest part of a dump that the kernel builds.
	receiveSize = 32 << 10
	// dumpTries bounds the repetitions of a dump that changed under our eyes.
	dumpTries = 8
)

// align rounds n up to the alignment of netlink messages and attributes.
func align(n int) int { return (n + 3) &^ 3 }

var errInterrupted = errors.New("the table changed while it was read")

// Socket is a netlink route socket. It is not safe for concurrent use.
type Socket struct {
	file *os.File
	raw  syscall.RawConn
	buf  []byte
}

// Dial opens a socket in the network namespace of the calling thread.
func Dial() (*Socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	// Best effort: older kernels answer longer or without words.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind netlink socket: %w", err)
	}
	file := os.NewFile(uintptr(fd), "rtnetlink")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	return &Socket{file: file, raw: raw, buf: make([]byte, receiveSize)}, nil
}

// Close gives the socket back. It is not to be called during an exchange.
func (s *Socket) Close() error { return s.file.Close() }

// strictCheck is NETLINK_GET_STRICT_CHK of linux/netlink.h.
const strictCheck = 12

// Strict has the kernel obey what a request for a dump says about the objects to
// tell, and refuse headers that are not clean. A kernel before 4.20 tells all.
func (s *Socket) Strict() {
	_ = s.raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_NETLINK, strictCheck, 1)
	})
}

// begin prepares an exchange that ends with ctx or after timeout. The returned
// function ends it.
func (s *Socket) begin(ctx context.Context) (end func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.file.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = s.file.SetDeadline(time.Unix(1, 0))
	})
	end = func() {
		if !stop() {
			<-done
		}
	}
	// What an exchange given up earlier left behind is read away: a dump in
	// progress would refuse the next one.
	for range 1000 {
		if _, err := s.read(false); errors.Is(err, unix.EAGAIN) {
			break
		} else if err != nil && !errors.Is(err, unix.ENOBUFS) {
			end()
			return nil, err
		}
	}
	return end, nil
}

// read reads one datagram from the kernel.
func (s *Socket) read(wait bool) ([]syscall.NetlinkMessage, error) {
	for {
		var (
			n    int
			from unix.Sockaddr
			rerr error
		)
		err := s.raw.Read(func(fd uintptr) bool {
			n, from, rerr = unix.Recvfrom(int(fd), s.buf, unix.MSG_TRUNC)
			return !wait || !errors.Is(rerr, unix.EAGAIN)
		})
		switch {
		case err != nil:
			return nil, err
		case errors.Is(rerr, unix.EINTR):
			continue
		case rerr != nil:
			return nil, rerr
		case n > len(s.buf):
			return nil, fmt.Errorf("answer of %d bytes is too long", n)
		}
		if sa, ok := from.(*unix.SockaddrNetlink); !ok || sa.Pid != 0 {
			continue // only the kernel is listened to
		}
		return syscall.ParseNetlinkMessage(s.buf[:n])
	}
}

func (s *Socket) write(b []byte) error {
	var werr error
	err := s.raw.Write(func(fd uintptr) bool {
		werr = unix.Sendto(int(fd), b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		return !errors.Is(werr, unix.EAGAIN)
	})
	return errors.Join(err, werr)
}

// explain names the cause of an exchange that ended early.
func explain(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no answer from the kernel within %v", timeout)
	}
	return err
}

// Do sends the requests, many in one message, and returns one error for each.
// Each is answered by an acknowledgement or, if data is not nil, by one message
// that data is called with.
func (s *Socket) Do(ctx context.Context, reqs []*nl.NetlinkRequest, data func(i int, m syscall.NetlinkMessage)) []error {
	errs := make([]error, len(reqs))
	for start := 0; start < len(reqs); start += batch {
		s.doBatch(ctx, start, reqs[start:min(start+batch, len(reqs))], errs, data)
	}
	return errs
}

func (s *Socket) doBatch(ctx context.Context, start int, reqs []*nl.NetlinkRequest, errs []error, data func(i int, m syscall.NetlinkMessage)) {
	waiting := make(map[uint32]int, len(reqs)) // sequence number to index in errs
	var b []byte
	for i, req := range reqs {
		waiting[req.Seq] = start + i
		b = append(b, req.Serialize()...)
		b = append(b, make([]byte, align(len(b))-len(b))...)
	}
	fail := func(err error) {
		for _, i := range waiting {
			errs[i] = explain(ctx, err)
		}
	}
	end, err := s.begin(ctx)
	if err != nil {
		fail(err)
		return
	}
	defer end()
	if err := s.write(b); err != nil {
		fail(err)
		return
	}
	for len(waiting) > 0 {
		msgs, err := s.read(true)
		if err != nil {
			fail(err)
			return
		}
		for _, m := range msgs {
			i, ok := waiting[m.Header.Seq]
			if !ok {
				continue
			}
			delete(waiting, m.Header.Seq)
			if m.Header.Type == unix.NLMSG_ERROR {
				errs[i] = answer(m)
			} else if data != nil {
				data(i, m)
			}
		}
	}
}

// Dump sends a dump request made by newReq and calls each with the body of
// every message of the answer, once the answer is complete and consistent.
func (s *Socket) Dump(ctx context.Context, newReq func() *nl.NetlinkRequest, each func(body []byte) error) error {
	var err error
	for range dumpTries {
		var bodies [][]byte
		bodies, err = s.dumpOnce(ctx, newReq())
		if errors.Is(err, errInterrupted) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EINTR) || errors.Is(err, unix.EBUSY) {
			continue
		}
		if err != nil {
			return err
		}
		for _, body := range bodies {
			if err := each(body); err != nil {
				return err
			}
		}
		return nil
	}
	return err
}

func (s *Socket) dumpOnce(ctx context.Context, req *nl.NetlinkRequest) (bodies [][]byte, err error) {
	end, err := s.begin(ctx)
	if err != nil {
		return nil, explain(ctx, err)
	}
	defer end()
	if err := s.write(req.Serialize()); err != nil {
		return nil, explain(ctx, err)
	}
	interrupted := false
	for {
		msgs, err := s.read(true)
		if err != nil {
			return nil, explain(ctx, err)
		}
		for _, m := range msgs {
			if m.Header.Seq != req.Seq {
				continue
			}
			interrupted = interrupted || m.Header.Flags&unix.NLM_F_DUMP_INTR != 0
			switch m.Header.Type {
			case unix.NLMSG_ERROR:
				return nil, answer(m)
			case unix.NLMSG_DONE:
				// The body is the result of the dump: a length or a negative errno.
				if len(m.Data) >= 4 {
					if n := int32(binary.NativeEndian.Uint32(m.Data)); n < 0 {
						return nil, unix.Errno(-n)
					}
				}
				if interrupted {
					return nil, errInterrupted
				}
				return bodies, nil
			default:
				bodies = append(bodies, append([]byte(nil), m.Data...))
			}
		}
	}
}

// answer decodes an NLMSG_ERROR message; an acknowledgement is nil. The words
// that the kernel adds come after the errno.
func answer(m syscall.NetlinkMessage) error {
	if len(m.Data) < 4 {
		return errors.New("short answer from the kernel")
	}
	code := int32(binary.NativeEndian.Uint32(m.Data))
	if code == 0 {
		return nil
	}
	errno := unix.Errno(-code)
	if m.Header.Flags&unix.NLM_F_ACK_TLVS == 0 || len(m.Data) < 4+unix.SizeofNlMsghdr {
		return errno
	}
	skip := 4 + unix.SizeofNlMsghdr
	if m.Header.Flags&unix.NLM_F_CAPPED == 0 { // the whole request is echoed
		skip = 4 + align(int(min(binary.NativeEndian.Uint32(m.Data[4:]), uint32(len(m.Data)))))
	}
	if skip > len(m.Data) {
		return errno
	}
	for typ, value := range rtattr.All(m.Data[skip:]) {
		if typ == unix.NLMSGERR_ATTR_MSG && len(value) > 1 {
			return fmt.Errorf("%w: %s", errno, value[:len(value)-1])
		}
	}
	return errno
}
