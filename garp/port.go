package garp

import (
	"fmt"
	"log/slog"
	"net"
	"time"
)

// writeTimeout bounds the wait for room in the queue of a device, in a burst.
const writeTimeout = 100 * time.Millisecond

// links is the way to the links.
type links interface {
	lookup(name string) (device, error)
	// routes reports whether the link forwards IPv6.
	routes(name string) (bool, error)
	open(d device) (socket, error)
}

// device is a link as it is now; another device may come to bear its name.
type device struct {
	index int
	hw    net.HardwareAddr
	up    bool // administratively
}

// socket sends frames on one device.
type socket interface {
	sender
	// lookup is that of links, but sooner.
	lookup(name string) (device, error)
}

// sender is the part of a socket that sends.
type sender interface {
	// limit bounds the wait for room in the queue of the device, in all that is
	// sent until it is called again.
	limit(deadline time.Time) error
	send(frame []byte) error
	close() error
}

// ports are the links in use, by name. They belong to Run.
type ports struct {
	links links
	open  map[string]*port
}

// port is one link in use.
type port struct {
	fresh    bool // device was looked up in this burst
	limited  bool // the socket has its deadline for this burst
	asked    bool // router was looked up in this burst
	router   bool // the link forwards IPv6
	device   device
	socket   socket    // nil: not open
	err      error     // of the last announcement
	retry    time.Time // until then err stands for every announcement
	reported string    // what was last logged; empty: all is well
}

// refresh makes the links be looked up again before they are used.
func (p *ports) refresh() {
	for _, o := range p.open {
		o.fresh = false
	}
}

// prepare opens the sockets of links as far as that can be done now: what fails is
// tried, and told, when there is something to announce.
func (p *ports) prepare(names []string) {
	for _, name := range names {
		o := p.open[name]
		if o == nil {
			o = new(port)
			p.open[name] = o
		}
		if o.socket != nil || o.err != nil {
			continue
		}
		d, err := p.links.lookup(name)
		if err != nil || len(d.hw) != 6 {
			continue // it may come
		}
		if s, err := p.links.open(d); err == nil {
			o.device, o.socket = d, s
		}
	}
}

// retain closes the links on which nothing is claimed, but for those to be ready on.
func (p *ports) retain(claims map[Target]Claim, ready []string) {
	used := make(map[string]bool)
	for _, name := range ready {
		used[name] = true
	}
	for target := range claims {
		used[target.Link] = true
	}
	for name, o := range p.open {
		if !used[name] {
			o.shut()
			delete(p.open, name)
		}
	}
}

// announce sends the frames for target and returns how many were sent. A socket
// that fails is replaced once. If that fails too the link is left alone for a
// while, so that a broken link does not hold up the others.
func (p *ports) announce(now time.Time, target Target) (sent int, err error) {
	o, ok := p.open[target.Link]
	if !ok {
		o = new(port)
		p.open[target.Link] = o
	}
	if now.Before(o.retry) {
		return 0, o.err
	}
	old := o.socket
	sent, err = o.announce(now, p.links, target)
	if err != nil && old != nil && sent == 0 {
		o.shut()
		sent, err = o.announce(now, p.links, target)
	}
	if err != nil {
		o.shut()
		o.retry = now.Add(retryFirst)
	}
	o.err = err
	return sent, err
}

func (o *port) announce(now time.Time, links links, target Target) (sent int, err error) {
	if !o.fresh {
		lookup := links.lookup
		if o.socket != nil {
			lookup = o.socket.lookup
		}
		d, err := lookup(target.Link)
		if err != nil {
			return 0, err
		}
		if len(d.hw) != 6 {
			return 0, fmt.Errorf("link %s has no Ethernet address", target.Link)
		}
		if d.index != o.device.index {
			o.shut()
		}
		o.device, o.fresh, o.limited, o.asked = d, true, false, false
	}
	if target.Address.Is6() && !o.asked {
		router, err := links.routes(target.Link)
		if err != nil {
			return 0, err
		}
		o.router, o.asked = router, true
	}
	frames, err := Frames(o.device.hw, target.Address, o.router)
	if err != nil {
		return 0, err
	}
	if o.socket == nil {
		s, err := links.open(o.device)
		if err != nil {
			return 0, fmt.Errorf("announce on %s: %w", target.Link, err)
		}
		o.socket, o.limited = s, false
	}
	if !o.limited {
		if err := o.socket.limit(now.Add(writeTimeout)); err != nil {
			return 0, fmt.Errorf("announce on %s: %w", target.Link, err)
		}
		o.limited = true
	}
	for _, frame := range frames {
		if err := o.socket.send(frame); err != nil {
			return sent, fmt.Errorf("announce on %s: %w", target.Link, err)
		}
		sent++
	}
	return sent, nil
}

// shut closes the socket; the device is looked up again before the next use.
func (o *port) shut() {
	if o.socket != nil {
		_ = o.socket.close() // nothing is buffered that could be lost
	}
	o.socket, o.fresh = nil, false
}

// report logs err if it differs from what was last logged of its link.
func (p *ports) report(log *slog.Logger, target Target, err error) {
	o := p.open[target.Link]
	text := ""
	if err != nil {
		text = err.Error()
	}
	switch {
	case text == o.reported:
	case err != nil:
		log.Warn("announcement failed", "link", target.Link, "address", target.Address, "err", err)
	default:
		log.Info("announcements succeed again", "link", target.Link)
	}
	o.reported = text
}
