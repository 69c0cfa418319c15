package garp

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"golang.org/x/net/bpf"
)

const (
	// perSecond is how many frames are taken from one socket in a second. What
	// comes beyond that fills the socket's queue and is then dropped by the
	// kernel, at the price of a filtered packet.
	perSecond = 100
	// relisten is when a link that could not be watched is tried again.
	relisten = time.Second
	// recheck is how often a link is looked up: it may have another hardware
	// address, or another link may bear its name.
	recheck = 10 * time.Second
)

// errDeaf says that nobody would hear the answer to a probe.
var errDeaf = errors.New("the link is not watched at present")

// ether is the way to the links.
type ether interface {
	lookup(name string) (device, error)
	// listen opens a socket for ARP or, with six, IPv6 that receives what the
	// filter keeps.
	listen(d device, six bool, filter []bpf.Instruction) (listener, error)
}

// listener receives and sends frames of one kind on one device. close ends a
// receive that is under way.
type listener interface {
	sender
	admit(filter []bpf.Instruction) error
	receive(b []byte) (int, error)
	// missed returns how many frames were dropped since the socket was opened
	// because its queue was full.
	missed() (uint64, error)
}

// ear is what one socket hears: ARP or, with six, IPv6, on one link. A packet
// socket for all protocols would see all that passes the link, both ways.
type ear struct {
	link string
	six  bool
}

// stations are the links that are watched, by name. They belong to Run.
type stations map[string]*station

// station is one watched link.
type station struct {
	device   device
	checked  time.Time // device was looked up; zero: never
	retry    time.Time // no attempt before
	posts    map[ear]*post
	reported string // what was last logged; empty: all is well
}

// post is one open socket, with a goroutine that reads it.
type post struct {
	ear       ear
	socket    listener
	addresses []netip.Addr // that the filter lets through
	quit      chan struct{}
	done      chan struct{} // closed when the goroutine has ended
	err       error         // why it ended; belongs to the goroutine until done
}

// tend makes the sockets be those for what is wanted.
func (w *Watcher) tend(now time.Time, stations stations, wanted map[ear][]netip.Addr) {
	links := map[string]map[ear][]netip.Addr{}
	for e, addresses := range wanted {
		if links[e.link] == nil {
			links[e.link] = map[ear][]netip.Addr{}
		}
		links[e.link][e] = addresses
	}
	for name, st := range stations {
		if links[name] == nil {
			st.retain(nil)
			delete(stations, name)
			w.settle(name, nil, nil)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(links)) {
		st, ok := stations[name]
		if !ok {
			st = &station{posts: map[ear]*post{}}
			stations[name] = st
		}
		err := st.failure()
		if err == nil && now.Before(st.retry) {
			continue
		}
		if err == nil {
			err = w.listenOn(now, name, st, links[name])
		}
		if err != nil {
			st.retain(nil)
			st.checked, st.retry = time.Time{}, now.Add(relisten)
		}
		w.settle(name, st, err)
	}
}

// failure returns why a goroutine of st has ended; nil: all are at work.
func (st *station) failure() error {
	for _, p := range st.posts {
		select {
		case <-p.done:
			return p.err
		default:
		}
	}
	return nil
}

// listenOn looks the link up if it is time and opens, changes and closes sockets
// as wanted says.
func (w *Watcher) listenOn(now time.Time, name string, st *station, wanted map[ear][]netip.Addr) error {
	if st.checked.IsZero() || !now.Before(st.checked.Add(recheck)) {
		d, err := w.ether.lookup(name)
		if err != nil {
			return err
		}
		mac, ok := MACFrom(d.hw)
		switch {
		case !ok:
			return fmt.Errorf("link %s has no Ethernet address", name)
		case !d.up:
			return fmt.Errorf("link %s: %w", name, syscall.ENETDOWN)
		case d.index != st.device.index:
			st.retain(nil)
		}
		st.device, st.checked = d, now
		w.mu.Lock()
		w.lookout.hw[name] = mac
		w.mu.Unlock()
	}
	st.retain(wanted)
	for e, addresses := range wanted {
		p, ok := st.posts[e]
		switch {
		case !ok:
			socket, err := w.ether.listen(st.device, e.six, filter(e.six, addresses))
			if err != nil {
				return fmt.Errorf("listen on %s: %w", name, err)
			}
			p = &post{ear: e, socket: socket, addresses: addresses, quit: make(chan struct{}), done: make(chan struct{})}
			st.posts[e] = p
			go w.listen(p)
		case !slices.Equal(p.addresses, addresses):
			if err := p.socket.admit(filter(e.six, addresses)); err != nil {
				return fmt.Errorf("listen on %s: %w", name, err)
			}
			p.addresses = addresses
		}
	}
	return nil
}

// retain closes the sockets that are not wanted.
func (st *station) retain(wanted map[ear][]netip.Addr) {
	for e, p := range st.posts {
		if _, ok := wanted[e]; !ok {
			close(p.quit)
			_ = p.socket.close() // nothing is buffered that could be lost
			<-p.done
			delete(st.posts, e)
		}
	}
}

// settle publishes whether the link called name can be watched, and logs what is
// new about it. Without a station it is not to be watched.
func (w *Watcher) settle(name string, st *station, err error) {
	w.mu.Lock()
	if err != nil {
		w.status.Links[name] = err
	} else {
		delete(w.status.Links, name)
	}
	if st == nil {
		delete(w.lookout.hw, name)
	}
	w.mu.Unlock()
	if st == nil {
		return
	}
	text := ""
	switch {
	case errors.Is(err, syscall.ENETDOWN): // said in several ways
		text = syscall.ENETDOWN.Error()
	case err != nil:
		text = err.Error()
	}
	switch {
	case text == st.reported:
	case err != nil:
		w.log.Warn("address conflicts on this link go unseen", "link", name, "err", err)
	default:
		w.log.Info("address conflicts on this link are seen again", "link", name)
	}
	st.reported = text
}

// probe probes for target.
func (s stations) probe(now time.Time, target Target) error {
	st, ok := s[target.Link]
	if !ok {
		return errDeaf
	}
	p, ok := st.posts[ear{link: target.Link, six: target.Address.Is6()}]
	if !ok {
		return errDeaf
	}
	frame, err := Probe(st.device.hw, target.Address)
	if err != nil {
		return err
	}
	if err := p.socket.limit(now.Add(writeTimeout)); err != nil {
		return fmt.Errorf("probe on %s: %w", target.Link, err)
	}
	if err := p.socket.send(frame); err != nil {
		return fmt.Errorf("probe on %s: %w", target.Link, err)
	}
	return nil
}

// deadline is when tend has something to do; the zero time means never.
func (s stations) deadline() (at time.Time) {
	for _, st := range s {
		if st.checked.IsZero() {
			at = earliest(at, st.retry)
		} else {
			at = earliest(at, st.checked.Add(recheck))
		}
	}
	return at
}

// listen reads the socket of p until that fails. It takes perSecond frames in a
// second and leaves the others to the kernel.
func (w *Watcher) listen(p *post) {
	defer w.wake()
	defer close(p.done)
	var missed uint64
	count := func() {
		total, err := p.socket.missed()
		if err != nil || total <= missed {
			return // a counter is no reason to stop
		}
		w.mu.Lock()
		w.status.Missed += total - missed
		w.mu.Unlock()
		missed = total
	}
	b := make([]byte, maxFrame)
	var window time.Time // when the second began
	taken := 0           // in it
	for {
		n, err := p.socket.receive(b)
		if err != nil {
			p.err = err
			return
		}
		now := time.Now()
		if now.Sub(window) >= time.Second {
			window, taken = now, 0
		}
		w.hear(now, p.ear.link, b[:n])
		if taken++; taken < perSecond {
			continue
		}
		select {
		case <-p.quit:
		case <-time.After(window.Add(time.Second).Sub(now)):
		}
		count()
	}
}
