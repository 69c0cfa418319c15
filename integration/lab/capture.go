package lab

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Frame is an Ethernet frame as it was captured on an interface.
type Frame struct {
	At   time.Time
	Sent bool // by the node itself
	Data []byte
}

// Capture keeps the frames of an interface that a filter lets through.
type Capture struct {
	fd   int
	done chan struct{}

	mu     sync.Mutex
	frames []Frame
}

// Capture starts capturing on the port's interface, both directions. keep is
// called for every frame, and must not keep it.
func (p *Port) Capture(keep func(frame []byte) bool) *Capture {
	tb := p.Node.lab.tb
	tb.Helper()
	c := &Capture{fd: -1, done: make(chan struct{})}
	p.Node.Must("capture on "+p.Ifname, func() error {
		link, err := p.Node.nl.LinkByName(p.Ifname)
		if err != nil {
			return err
		}
		all := htons(unix.ETH_P_ALL)
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all))
		if err != nil {
			return fmt.Errorf("open packet socket: %w", err)
		}
		c.fd = fd
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
		// Wakes up so often to see whether it is to stop.
		tv := unix.NsecToTimeval(int64(20 * time.Millisecond))
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Attrs().Index})
	})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		b := make([]byte, 65536)
		for {
			k, from, err := unix.Recvfrom(c.fd, b, 0)
			select {
			case <-c.done:
				return
			default:
			}
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENETDOWN) {
				continue
			}
			if err != nil {
				return
			}
			if !keep(b[:k]) {
				continue
			}
			ll, ok := from.(*unix.SockaddrLinklayer)
			c.mu.Lock()
			c.frames = append(c.frames, Frame{time.Now(), ok && ll.Pkttype == unix.PACKET_OUTGOING, append([]byte(nil), b[:k]...)})
			c.mu.Unlock()
		}
	}()
	tb.Cleanup(func() {
		close(c.done)
		<-stopped
		_ = unix.Close(c.fd)
	})
	return c
}

// Frames returns what has been captured so far.
func (c *Capture) Frames() []Frame { return c.Since(0) }

// Since returns what has been captured after the first n frames.
func (c *Capture) Since(n int) []Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.frames[min(n, len(c.frames)):])
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }
