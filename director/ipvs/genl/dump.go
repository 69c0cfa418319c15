package genl

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"
)

// dumpTries bounds the repetitions of a dump that went wrong.
const dumpTries = 8

// errRepeat says that a dump is not to be believed.
var errRepeat = errors.New("the table changed while it was read")

// Services lists all services.
func (c *Conn) Services(ctx context.Context) ([]Service, error) {
	x, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer x.end()
	list, err := c.services(x, nil)
	return list, c.explain(ctx, err)
}

// Destinations lists those of one service; none if it does not exist.
func (c *Conn) Destinations(ctx context.Context, id ServiceID) ([]Destination, error) {
	x, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer x.end()
	list, err := c.destinations(x, id, nil)
	return list, c.explain(ctx, err)
}

// All lists all services with their destinations, which are good only until f
// returns, and ends with the first error of f. A service that goes away while
// the table is read has no destinations.
func (c *Conn) All(ctx context.Context, f func(*Service, []Destination) error) error {
	x, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer x.end()
	services, err := c.services(x, make([]Service, 0, c.size))
	if err != nil {
		return c.explain(ctx, err)
	}
	c.size = len(services)
	var list []Destination
	for i := range services {
		if list, err = c.destinations(x, services[i].ServiceID, list); err != nil {
			return c.explain(ctx, err)
		}
		if err := f(&services[i], list); err != nil {
			return err
		}
	}
	return nil
}

// Daemons lists the synchronisation daemons that run.
func (c *Conn) Daemons(ctx context.Context) ([]Daemon, error) {
	x, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer x.end()
	var list []Daemon
	err = c.dump(x, getDaemon, nil, func() { list = nil }, func(body []byte) error {
		d, err := c.parser.daemon(body)
		list = append(list, d)
		return err
	})
	return list, c.explain(ctx, err)
}

// services replaces the content of list.
func (c *Conn) services(x *exchange, list []Service) ([]Service, error) {
	err := c.dump(x, getService, nil, func() { list = list[:0] }, func(body []byte) error {
		s, err := c.parser.service(body)
		list = append(list, s)
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// destinations replaces the content of list.
func (c *Conn) destinations(x *exchange, id ServiceID, list []Destination) ([]Destination, error) {
	err := c.dump(x, getDest, func(b []byte) ([]byte, error) {
		return appendService(b, &Service{ServiceID: id}, false)
	}, func() { list = list[:0] }, func(body []byte) error {
		d, err := c.parser.destination(id.Family, body)
		list = append(list, d)
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// dump calls each with the body of every message that answers a request. It
// calls reset first, and again when what each was called with is not to be
// believed.
func (c *Conn) dump(x *exchange, command uint8, request func([]byte) ([]byte, error), reset func(), each func(body []byte) error) error {
	var err error
	for range dumpTries {
		reset()
		err = c.dumpOnce(x, command, request, each)
		if !errors.Is(err, errRepeat) && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EBUSY) {
			return c.verify(x, err)
		}
		if errors.Is(err, unix.EBUSY) {
			c.stale = true // an earlier dump has not been read to its end
		}
		if err := c.drain(); err != nil {
			return err
		}
	}
	return errors.Join(ErrInterrupted, err)
}

func (c *Conn) dumpOnce(x *exchange, command uint8, request func([]byte) ([]byte, error), each func(body []byte) error) error {
	if err := c.request(x, c.family, unix.NLM_F_DUMP, command, familyVersion, request); err != nil {
		return err
	}
	interrupted := false
	return c.answers(x, func(m message) (bool, error) {
		if !c.ours(m, 1) {
			return false, nil
		}
		interrupted = interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
		switch m.kind {
		case unix.NLMSG_ERROR:
			return false, answer(m)
		case unix.NLMSG_DONE:
			return true, done(m, interrupted)
		case c.family:
			if err := each(m.body); err != nil {
				return true, c.abandon(err)
			}
		}
		return false, nil
	})
}

// done returns the outcome of a dump: its last message holds a length or a
// negative errno.
func done(m message, interrupted bool) error {
	if len(m.body) >= 4 {
		if n := int32(native.Uint32(m.body)); n < 0 {
			return unix.Errno(-n)
		}
	}
	if interrupted {
		return errRepeat
	}
	return nil
}
