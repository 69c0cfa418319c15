package genl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/rtattr"
)

// Patience is how long a Conn waits for one answer of the kernel.
const Patience = 10 * time.Second

var (
	// ErrMissing says that the kernel has no IPVS.
	ErrMissing = errors.New(`the kernel has no IPVS: load it with "modprobe ip_vs" (in a container: on its host; a kernel built without CONFIG_IP_VS cannot balance)`)
	// ErrReloaded says that IPVS was unloaded and loaded again since Open,
	// and that nothing works with this Conn any more.
	ErrReloaded = errors.New("the ip_vs module was unloaded and loaded again just now")
	// ErrNoAnswer says that the kernel did not answer within Patience.
	ErrNoAnswer = errors.New("the kernel did not answer in time")
	// ErrInterrupted says that a listing was given up, since the table kept
	// changing while it was read.
	ErrInterrupted = errors.New("the table changed whenever it was read")
	// ErrClosed says that the Conn was closed.
	ErrClosed = errors.New("the connection to the kernel is closed")
)

// Conn is a generic netlink socket to the IPVS of the network namespace that it
// was opened in. Its methods may be called by one goroutine at a time, but for
// Close, which ends a call under way.
//
// A context ends the waiting for an answer; a system call in which the kernel
// itself is stuck it cannot end.
type Conn struct {
	link   transport
	parser parser
	family uint16 // number of IPVS
	seq    uint32
	stale  bool // answers to something given up may still come
	size   int  // services at the last look
	out    []byte
	closed atomic.Bool
}

// Open opens a Conn. Without ip_vs in the kernel the error is ErrMissing.
func Open() (*Conn, error) {
	s, err := dial()
	if err != nil {
		return nil, fmt.Errorf("open generic netlink socket: %w", err)
	}
	c, err := open(s)
	if err != nil {
		s.close()
		return nil, err
	}
	return c, nil
}

func open(t transport) (*Conn, error) {
	ctx := context.Background()
	c := &Conn{link: t, seq: uint32(time.Now().UnixNano())}
	x, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer x.end()
	if c.family, err = c.lookup(x); err != nil {
		return nil, c.explain(ctx, err)
	}
	return c, nil
}

// Close gives the socket back.
func (c *Conn) Close() error {
	c.closed.Store(true)
	return c.link.close()
}

// Family is the number under which the kernel knows IPVS. It changes when the
// module is loaded again.
func (c *Conn) Family() uint16 { return c.family }

// Service returns one service, or ESRCH.
func (c *Conn) Service(ctx context.Context, id ServiceID) (s Service, err error) {
	err = c.query(ctx, getService, func(b []byte) ([]byte, error) {
		return appendService(b, &Service{ServiceID: id}, false)
	}, func(body []byte) error {
		s, err = c.parser.service(body)
		return err
	})
	return s, err
}

// Timeouts returns those in force.
func (c *Conn) Timeouts(ctx context.Context) (t Timeouts, err error) {
	err = c.query(ctx, getConfig, nil, func(body []byte) error {
		return numbers(body, map[uint16]*uint32{cmdTimeoutTCP: &t.TCP, cmdTimeoutFin: &t.TCPFin, cmdTimeoutUDP: &t.UDP})
	})
	return t, err
}

// Info returns the kernel's version of IPVS.
func (c *Conn) Info(ctx context.Context) (i Info, err error) {
	err = c.query(ctx, getInfo, nil, func(body []byte) error {
		return numbers(body, map[uint16]*uint32{infoVersion: &i.Version, infoConnSize: &i.ConnSize})
	})
	return i, err
}

// query asks for what is answered by one message.
func (c *Conn) query(ctx context.Context, command uint8, request func([]byte) ([]byte, error), parse func(body []byte) error) error {
	x, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer x.end()
	err = c.ask(x, c.family, command, familyVersion, request, parse)
	return c.explain(ctx, c.verify(x, err))
}

// ask is query within an exchange, of any family.
func (c *Conn) ask(x *exchange, family uint16, command, version uint8, request func([]byte) ([]byte, error), parse func(body []byte) error) error {
	if err := c.request(x, family, 0, command, version, request); err != nil {
		return err
	}
	return c.answers(x, func(m message) (bool, error) {
		switch {
		case !c.ours(m, 1):
		case m.kind == unix.NLMSG_ERROR:
			if err := answer(m); err != nil {
				return true, err
			}
			return true, c.abandon(errShort)
		case m.kind == family:
			return true, parse(m.body)
		}
		return false, nil
	})
}

// answers calls each with every message that comes, until it says that this was
// the last one or returns an error.
func (c *Conn) answers(x *exchange, each func(m message) (last bool, err error)) error {
	for {
		parts, err := x.receive()
		if err != nil {
			return c.abandon(err)
		}
		for _, b := range parts {
			for len(b) > 0 {
				var m message
				if m, b, err = next(b); err != nil {
					return c.abandon(err)
				}
				if last, err := each(m); last || err != nil {
					return err
				}
			}
		}
	}
}

// request sends one message under the next sequence number.
func (c *Conn) request(x *exchange, family, flags uint16, command, version uint8, request func([]byte) ([]byte, error)) error {
	c.seq++
	b := begin(c.out[:0], family, flags, c.seq, command, version)
	if request != nil {
		var err error
		if b, err = request(b); err != nil {
			return err
		}
	}
	c.out = b
	finish(b, 0)
	if err := x.send(b); err != nil {
		return c.abandon(err)
	}
	return nil
}

// ours reports whether m answers one of the last n requests. Anything else is
// a late answer to what was given up.
func (c *Conn) ours(m message, n uint32) bool {
	return c.seq-m.seq < n && m.port == c.link.port()
}

// abandon notes that answers may still come.
func (c *Conn) abandon(err error) error {
	c.stale = true
	return err
}

// begin prepares an exchange with the kernel, which must be ended unless it
// failed.
func (c *Conn) begin(ctx context.Context) (*exchange, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	x := newExchange(ctx, c.link)
	if err := c.drain(); err != nil {
		x.end()
		return nil, c.explain(ctx, err)
	}
	return x, nil
}

// drain reads away what an exchange given up left behind: a dump in progress
// would refuse the next one.
func (c *Conn) drain() error {
	const many = 100_000 // parts of a dump; even a table of millions has less
	for range many {
		if !c.stale {
			return nil
		}
		switch _, err := c.link.receive(false); {
		case errors.Is(err, unix.EAGAIN):
			c.stale = false
		case err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) && !errors.Is(err, errLong):
			return err
		}
	}
	return ErrNoAnswer
}

// lookup asks for the number of IPVS.
func (c *Conn) lookup(x *exchange) (id uint16, err error) {
	err = c.ask(x, nl.GENL_ID_CTRL, nl.GENL_CTRL_CMD_GETFAMILY, nl.GENL_CTRL_VERSION, func(b []byte) ([]byte, error) {
		return text(b, nl.GENL_CTRL_ATTR_FAMILY_NAME, familyName), nil
	}, func(body []byte) error {
		b, err := attributes(body)
		if err != nil {
			return err
		}
		for kind, value := range rtattr.All(b) {
			if kind == nl.GENL_CTRL_ATTR_FAMILY_ID && len(value) == 2 {
				id = native.Uint16(value)
			}
		}
		if id < unix.NLMSG_MIN_TYPE {
			return errShort
		}
		return nil
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return 0, ErrMissing
	case err != nil:
		return 0, fmt.Errorf("look for IPVS in the kernel: %w", err)
	}
	return id, nil
}

// verify finds out what ENOENT means: that is also what the kernel says to the
// number of a module that is gone.
func (c *Conn) verify(x *exchange, err error) error {
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	id, lookErr := c.lookup(x)
	switch {
	case lookErr != nil:
		return lookErr
	case id != c.family:
		return ErrReloaded
	}
	return err
}

// explain names the cause of an exchange that ended early.
func (c *Conn) explain(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case c.closed.Load():
		return ErrClosed
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrNoAnswer
	}
	return err
}
