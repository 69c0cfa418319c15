package lab

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Tap keeps what the nodes send into a switch, in the order in which the switch
// got it: who sent a frame is the port that it came in by, whatever the frame
// says of itself. What is lost on a cut cable never comes.
type Tap struct {
	fd   int
	sw   *Switch
	done chan struct{}

	mu     sync.Mutex
	frames []Frame
}

// Tap starts to listen to the frames that the filter chooses.
func (s *Switch) Tap(filter Filter) *Tap {
	tb := s.node.lab.tb
	tb.Helper()
	t := &Tap{fd: -1, sw: s, done: make(chan struct{})}
	s.node.Must("listen to the switch", func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL)))
		if err != nil {
			return fmt.Errorf("open packet socket: %w", err)
		}
		t.fd = fd
		tv := unix.NsecToTimeval(int64(20 * time.Millisecond)) // wakes up so often to see whether it is to stop
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
			unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv),
			attach(fd, filter),
		)
	})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		t.run()
	}()
	tb.Cleanup(func() {
		close(t.done)
		<-stopped
		_ = unix.Close(t.fd)
	})
	return t
}

func (t *Tap) run() {
	b, oob := make([]byte, 65536), make([]byte, 256)
	for {
		k, o, _, from, err := unix.Recvmsg(t.fd, b, oob, 0)
		select {
		case <-t.done:
			return
		default:
		}
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENETDOWN) {
			continue
		}
		if err != nil {
			return
		}
		ll, ok := from.(*unix.SockaddrLinklayer)
		if !ok || ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		port := t.sw.port(ll.Ifindex)
		if port == nil { // the bridge's own copy of it
			continue
		}
		f := Frame{At: stamp(oob[:o]), From: port, Data: slices.Clone(b[:k])}
		t.mu.Lock()
		t.frames = append(t.frames, f)
		t.mu.Unlock()
	}
}

// stamp is when the kernel got the frame (SO_TIMESTAMPNS, socket(7)): the
// reader may be late.
func stamp(oob []byte) time.Time {
	list, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Now()
	}
	for _, m := range list {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})) {
			ts := (*unix.Timespec)(unsafe.Pointer(&m.Data[0]))
			return time.Unix(ts.Unix())
		}
	}
	return time.Now()
}

// Frames returns what has come so far.
func (t *Tap) Frames() []Frame { return t.Since(0) }

// Since returns what has come after the first n frames.
func (t *Tap) Since(n int) []Frame {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.frames[min(n, len(t.frames)):])
}

// Mark returns how many frames have come so far.
func (t *Tap) Mark() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.frames)
}
