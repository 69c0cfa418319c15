package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// freebind lets a socket bind an address that the node does not hold yet.
func freebind(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1)
	}); cerr != nil {
		return cerr
	}
	return err
}

// deepQueue gives a socket a receive queue that outlasts a busy machine.
func deepQueue(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	}); cerr != nil {
		return cerr
	}
	return err
}

// settleTime is how long an answer may take before its probe counts as lost.
const settleTime = 300 * time.Millisecond

// Prober sends numbered UDP datagrams at a fixed rate and notes which of them
// are answered.
type Prober struct {
	conn *net.UDPConn
	stop chan struct{}
	wg   sync.WaitGroup

	mu     sync.Mutex
	probes []probe
}

type probe struct {
	sent     time.Time
	answered time.Time // zero: not yet
	by       string
}

// Report is what a client saw in a window of time.
type Report struct {
	Sent, Lost int
	Gap        time.Duration  // the longest time from the sending of a lost probe to that of the next answered one
	GapStart   time.Time      // when that lost probe was sent
	By         map[string]int // answers by server
}

func (r Report) String() string {
	return fmt.Sprintf("%d probes, %d lost, longest gap %v", r.Sent, r.Lost, r.Gap.Round(time.Millisecond))
}

// Probe starts a Prober in the node.
func (n *Node) Probe(target netip.AddrPort, every time.Duration) *Prober {
	n.lab.tb.Helper()
	p := &Prober{stop: make(chan struct{})}
	n.Must("probe "+target.String(), func() error {
		// Not connected: errors that ICMP brings are losses, not ends.
		lc := net.ListenConfig{Control: deepQueue}
		c, err := lc.ListenPacket(context.Background(), "udp4", "0.0.0.0:0")
		if err != nil {
			return err
		}
		p.conn = c.(*net.UDPConn)
		return nil
	})
	p.wg.Go(func() { p.send(target, every) })
	p.wg.Go(func() { p.receive(target) })
	n.lab.tb.Cleanup(p.Stop)
	return p
}

func (p *Prober) send(target netip.AddrPort, every time.Duration) {
	b := make([]byte, 8)
	next := time.Now()
	for {
		select {
		case <-p.stop:
			_ = p.conn.Close()
			return
		case <-time.After(time.Until(next)):
		}
		// What the timer was late for is sent at once: the rate holds.
		for now := time.Now(); !next.After(now); next = next.Add(every) {
			p.mu.Lock()
			seq := len(p.probes)
			p.probes = append(p.probes, probe{sent: time.Now()})
			p.mu.Unlock()
			binary.BigEndian.PutUint64(b, uint64(seq))
			_, _ = p.conn.WriteToUDPAddrPort(b, target)
		}
	}
}

func (p *Prober) receive(target netip.AddrPort) {
	b := make([]byte, 512)
	for {
		k, from, err := p.conn.ReadFromUDPAddrPort(b)
		now := time.Now()
		if err != nil {
			select {
			case <-p.stop:
				return
			default:
				continue
			}
		}
		if k < 8 || from.Addr().Unmap() != target.Addr() {
			continue
		}
		seq := binary.BigEndian.Uint64(b)
		p.mu.Lock()
		if seq < uint64(len(p.probes)) && p.probes[seq].answered.IsZero() {
			p.probes[seq].answered = now
			p.probes[seq].by = string(b[8:k])
		}
		p.mu.Unlock()
	}
}

// Stop ends the Prober.
func (p *Prober) Stop() {
	p.mu.Lock()
	select {
	case <-p.stop:
	default:
		close(p.stop)
	}
	p.mu.Unlock()
	_ = p.conn.SetReadDeadline(time.Now())
	p.wg.Wait()
}

// Answered reports whether a probe sent at or after t has been answered.
func (p *Prober) Answered(t time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, q := range slices.Backward(p.probes) {
		if q.sent.Before(t) {
			return false
		}
		if !q.answered.IsZero() {
			return true
		}
	}
	return false
}

// Between reports on the probes sent from one time to another, once those have
// had time to be answered.
func (p *Prober) Between(from, to time.Time) Report {
	time.Sleep(time.Until(to.Add(settleTime)))
	p.mu.Lock()
	defer p.mu.Unlock()
	r := Report{By: map[string]int{}}
	var lost time.Time // the first of those lost in a row; zero: none
	gap := func(end time.Time) {
		if d := end.Sub(lost); !lost.IsZero() && d > r.Gap {
			r.Gap, r.GapStart = d, lost
		}
	}
	for _, q := range p.probes {
		if q.sent.Before(from) || q.sent.After(to) {
			continue
		}
		r.Sent++
		if q.answered.IsZero() {
			r.Lost++
			if lost.IsZero() {
				lost = q.sent
			}
			continue
		}
		r.By[q.by]++
		gap(q.sent)
		lost = time.Time{}
	}
	gap(to)
	return r
}
