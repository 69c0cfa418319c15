package lab

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// settleTime is how long an answer may take before its probe counts as lost.
const settleTime = 300 * time.Millisecond

// Prober sends numbered UDP datagrams at a fixed rate and notes which of them
// are answered. It is one thread with its own system calls, few of them: where
// the kernel is slow, the probes must not take the processor from the probed.
type Prober struct {
	fd     int
	target netip.AddrPort
	every  time.Duration
	ended  chan struct{}

	mu      sync.Mutex
	stopped bool
	origin  time.Time // of the probes' times
	probes  []probe
}

// probe is one datagram; its number is its place in the list.
type probe struct {
	sent     time.Duration // since the origin
	answered bool
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
	p := &Prober{target: target, every: every, ended: make(chan struct{})}
	n.Must("probe "+target.String(), func() error {
		// Not connected: errors that ICMP brings are losses, not ends.
		family := unix.AF_INET
		if target.Addr().Is6() {
			family = unix.AF_INET6
		}
		fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("open socket: %w", err)
		}
		p.fd = fd
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	})
	go p.run()
	n.lab.tb.Cleanup(p.Stop)
	return p
}

// sockaddr is an address and port for a system call.
func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is6() {
		return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	}
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}

// monotonic reads the clock that ClockNanosleep sleeps by.
func monotonic() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return time.Duration(ts.Nano())
}

func (p *Prober) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.ended)
	defer unix.Close(p.fd)
	to := sockaddr(p.target)
	b := make([]byte, 8)
	p.mu.Lock()
	p.origin = time.Now()
	p.mu.Unlock()
	start := monotonic()
	in := newInbox()
	looked := start
	for next := start; ; {
		ts := unix.NsecToTimespec(int64(next))
		_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &ts, nil)
		now := monotonic()
		p.mu.Lock()
		stopped, seq := p.stopped, len(p.probes)
		// What the timer was late for is sent at once: the rate holds.
		for ; next <= now; next += p.every {
			p.probes = append(p.probes, probe{sent: now - start})
		}
		due := len(p.probes)
		p.mu.Unlock()
		if stopped {
			return
		}
		for ; seq < due; seq++ {
			binary.BigEndian.PutUint64(b, uint64(seq))
			_ = unix.Sendto(p.fd, b, 0, to)
		}
		if now-looked >= 4*time.Millisecond { // when an answer came does not matter, only that it did
			looked = now
			p.note(in.receive(p.fd))
		}
	}
}

// note marks the probes that datagrams answer.
func (p *Prober) note(datagrams []datagram) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range datagrams {
		if len(d.data) < 8 || d.from != p.target.Addr() {
			continue
		}
		seq := binary.BigEndian.Uint64(d.data)
		if seq < uint64(len(p.probes)) && !p.probes[seq].answered {
			p.probes[seq].answered, p.probes[seq].by = true, string(d.data[8:])
		}
	}
}

// Stop ends the Prober.
func (p *Prober) Stop() {
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	<-p.ended
}

// Answered reports whether a probe sent at or after t has been answered.
func (p *Prober) Answered(t time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, q := range slices.Backward(p.probes) {
		if q.sent < t.Sub(p.origin) {
			return false
		}
		if q.answered {
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
	first, end := from.Sub(p.origin), to.Sub(p.origin)
	lost := time.Duration(-1) // when the first of those lost in a row was sent; -1: none
	gap := func(until time.Duration) {
		if lost >= 0 && until-lost > r.Gap {
			r.Gap, r.GapStart = until-lost, p.origin.Add(lost)
		}
	}
	for _, q := range p.probes {
		if q.sent < first || q.sent > end {
			continue
		}
		r.Sent++
		if !q.answered {
			r.Lost++
			if lost < 0 {
				lost = q.sent
			}
			continue
		}
		r.By[q.by]++
		gap(q.sent)
		lost = -1
	}
	gap(end)
	return r
}
