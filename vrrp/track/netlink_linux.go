package track

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// receiveBuffer is that of a subscription, in bytes.
	receiveBuffer = 1 << 20
	// receiveSize holds the largest part of a dump that the kernel builds.
	receiveSize = 32 << 10
	// drainReads bounds how much is read before the first look at it.
	drainReads = 256
)

// socket is a netlink socket in the network namespace of the thread that opened
// it.
type socket struct {
	file *os.File
	raw  syscall.RawConn
	buf  []byte
}

func openNetlink(protocol int, groups uint32) (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "netlink")
	// Beyond net.core.rmem_max only with CAP_NET_ADMIN; a small buffer overflows
	// sooner, and then everything is looked at.
	if groups != 0 && unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &socket{file: file, raw: raw, buf: make([]byte, receiveSize)}, nil
}

func (n *socket) Close() error { return n.file.Close() }

func (n *socket) send(b []byte) error {
	var cause error
	err := n.raw.Write(func(fd uintptr) bool {
		cause = unix.Sendto(int(fd), b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		return !errors.Is(cause, unix.EAGAIN)
	})
	return errors.Join(err, cause)
}

// receive waits for a datagram of the kernel and calls each with it, and with
// those that are queued behind it, of which there are limit at most. The error is
// errOverflow where datagrams were lost or are too long.
func (n *socket) receive(limit int, each func(datagram []byte)) error {
	var cause error
	err := n.raw.Read(func(fd uintptr) bool {
		heard := false
		for range limit {
			size, from, err := unix.Recvfrom(int(fd), n.buf, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
			switch {
			case errors.Is(err, unix.EINTR):
				continue
			case errors.Is(err, unix.EAGAIN):
				return heard
			case errors.Is(err, unix.ENOBUFS) || err == nil && size > len(n.buf):
				cause, heard = errOverflow, true
				continue
			case err != nil:
				cause = err
				return true
			}
			if sender, ok := from.(*unix.SockaddrNetlink); ok && sender.Pid == 0 {
				heard = true
				each(n.buf[:size])
			}
		}
		return true
	})
	return errors.Join(err, cause)
}

func (n *socket) deadline(after time.Duration) error {
	if after == 0 {
		return n.file.SetReadDeadline(time.Time{})
	}
	return n.file.SetReadDeadline(time.Now().Add(after))
}

// message is one netlink message (struct nlmsghdr of linux/netlink.h).
type message struct {
	kind  uint16
	flags uint16
	seq   uint32
	body  []byte
}

var errTruncated = errors.New("netlink message is cut off")

// messages yields those of a datagram; the last may be an error.
func messages(b []byte) iter.Seq2[message, error] {
	return func(yield func(message, error) bool) {
		for len(b) > 0 {
			if len(b) < unix.SizeofNlMsghdr {
				yield(message{}, errTruncated)
				return
			}
			size := uint64(binary.NativeEndian.Uint32(b))
			if size < unix.SizeofNlMsghdr || size > uint64(len(b)) {
				yield(message{}, errTruncated)
				return
			}
			m := message{
				kind:  binary.NativeEndian.Uint16(b[4:]),
				flags: binary.NativeEndian.Uint16(b[6:]),
				seq:   binary.NativeEndian.Uint32(b[8:]),
				body:  b[unix.SizeofNlMsghdr:size],
			}
			if !yield(m, nil) {
				return
			}
			b = b[min(uint64(len(b)), (size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
		}
	}
}

// request builds a netlink message.
func request(kind, flags uint16, seq uint32, body []byte) []byte {
	b := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(body))
	binary.NativeEndian.PutUint32(b, uint32(unix.SizeofNlMsghdr+len(body)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint16(b[6:], flags)
	binary.NativeEndian.PutUint32(b[8:], seq)
	return append(b, body...)
}

// kernelError reads the errno that an answer begins with, 0 being an
// acknowledgement.
func kernelError(body []byte) error {
	if len(body) < 4 {
		return errTruncated
	}
	if code := int32(binary.NativeEndian.Uint32(body)); code != 0 {
		return fmt.Errorf("kernel says: %w", unix.Errno(-code))
	}
	return nil
}
