package genl

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	testPort   = 4711
	testFamily = 28
)

// recorded returns the body of a message of Linux 6.1 on a little-endian
// machine.
func recorded(t testing.TB, name string) []byte {
	t.Helper()
	if native.Uint16([]byte{1, 0}) != 1 {
		t.Skip("what was recorded is little-endian")
	}
	s, err := os.ReadFile(filepath.Join("testdata", name+".hex"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(s)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// scripted is a transport whose kernel answers each message with what the test
// pushes.
type scripted struct {
	answer func(l *scripted, m message)

	queue    []any    // []byte or error
	sends    int      // system calls
	got      []uint32 // sequence numbers
	family   uint16   // of IPVS; 0: there is none
	mu       sync.Mutex
	deadline time.Time
	changed  chan struct{}
	closed   chan struct{}
	slow     chan struct{} // if not nil: until then a deadline in the past takes
}

func newScripted(answer func(*scripted, message)) *scripted {
	return &scripted{answer: answer, family: testFamily, changed: make(chan struct{}, 1), closed: make(chan struct{})}
}

// connect returns a Conn to the kernel that answers.
func connect(t testing.TB, answer func(*scripted, message)) (*Conn, *scripted) {
	t.Helper()
	l := newScripted(answer)
	c, err := open(l)
	if err != nil {
		t.Fatal(err)
	}
	l.sends, l.got = 0, nil
	return c, l
}

func (l *scripted) port() uint32 { return testPort }
func (l *scripted) close() error { close(l.closed); return nil }

func (l *scripted) bound(t time.Time) error {
	if l.slow != nil && t.Before(time.Now()) {
		<-l.slow
	}
	l.mu.Lock()
	l.deadline = t
	l.mu.Unlock()
	select {
	case l.changed <- struct{}{}:
	default:
	}
	return nil
}

func (l *scripted) send(b []byte, _ bool) error {
	l.sends++
	for len(b) > 0 {
		m, rest, err := next(b)
		if err != nil {
			return unix.EINVAL
		}
		b = rest
		if m.kind == unix.GENL_ID_CTRL {
			l.family0(m)
			continue
		}
		l.got = append(l.got, m.seq)
		if m.flags&unix.NLM_F_DUMP == unix.NLM_F_DUMP && len(l.queue) > 0 {
			// An earlier dump has not been read to its end, most of which
			// the kernel has yet to build.
			l.error(m, unix.EBUSY)
			last := len(l.queue) - 1
			l.queue = slices.Insert(l.queue[:last:last], 1, l.queue[last])
			continue
		}
		l.answer(l, m)
	}
	return nil
}

// family0 answers what is asked of the controller.
func (l *scripted) family0(m message) {
	if l.family == 0 {
		l.error(m, unix.ENOENT)
		return
	}
	l.push(packet(unix.GENL_ID_CTRL, 0, m.seq, testPort, u16([]byte{1, 2, 0, 0}, 1, l.family)))
}

func (l *scripted) receive(wait bool) ([][]byte, error) {
	for len(l.queue) == 0 {
		if !wait {
			return nil, unix.EAGAIN
		}
		l.mu.Lock()
		left := time.Until(l.deadline)
		l.mu.Unlock()
		if left <= 0 {
			return nil, os.ErrDeadlineExceeded
		}
		select {
		case <-time.After(left):
		case <-l.changed:
		case <-l.closed:
			return nil, os.ErrClosed
		}
	}
	if err, ok := l.queue[0].(error); ok {
		l.queue = l.queue[1:]
		return nil, err
	}
	var parts [][]byte
	for len(l.queue) > 0 && len(parts) < receiveParts {
		b, ok := l.queue[0].([]byte)
		if !ok {
			break
		}
		parts, l.queue = append(parts, b), l.queue[1:]
	}
	return parts, nil
}

func (l *scripted) push(x any) { l.queue = append(l.queue, x) }

// packet returns a netlink message.
func packet(kind, flags uint16, seq, port uint32, body []byte) []byte {
	b := native.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	b = native.AppendUint16(b, kind)
	b = native.AppendUint16(b, flags)
	b = native.AppendUint32(b, seq)
	b = native.AppendUint32(b, port)
	b = append(b, body...)
	return append(b, make([]byte, align(len(b))-len(b))...)
}

// error answers m as a kernel with NETLINK_CAP_ACK does; 0 acknowledges.
func (l *scripted) error(m message, errno unix.Errno) {
	body := native.AppendUint32(nil, uint32(-int32(errno)))
	l.push(packet(unix.NLMSG_ERROR, unix.NLM_F_CAPPED, m.seq, testPort, append(body, make([]byte, unix.SizeofNlMsghdr)...)))
}

// data answers m with a part of a dump.
func (l *scripted) data(m message, flags uint16, bodies ...[]byte) {
	var b []byte
	for _, body := range bodies {
		b = append(b, packet(testFamily, unix.NLM_F_MULTI|flags, m.seq, testPort, body)...)
	}
	l.push(b)
}

// done ends a dump.
func (l *scripted) done(m message, code int32) {
	l.push(packet(unix.NLMSG_DONE, unix.NLM_F_MULTI, m.seq, testPort, native.AppendUint32(nil, uint32(code))))
}
