package ipvs

import (
	"context"
	"errors"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// model is an IPVS that takes messages as the kernel does, and a machine on
// which it can be loaded.
type model struct {
	mu       sync.Mutex
	family   uint16 // 0: there is no IPVS
	loads    bool   // modprobe works
	probes   int
	opened   int
	closed   int
	services []*modelService
	calls    [][]genl.Op

	before func(m genl.Message) error      // if it is an error, instead of the message
	fail   func() error                    // of the whole of a Do
	listed func(ctx context.Context) error // at the begin of a listing
	doing  func(ctx context.Context) error // at the begin of a Do
}

type modelService struct {
	genl.Service
	servers []genl.Destination
}

func (m *model) system() system {
	return system{
		open: func() (kernel, error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.family == 0 {
				return nil, ErrMissing
			}
			m.opened++
			return &modelConn{model: m, family: m.family}, nil
		},
		modprobe: func(context.Context) error {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.probes++
			if !m.loads {
				return errors.New("module not found")
			}
			m.family = 28
			return nil
		},
	}
}

// reload loads the module again, which empties the table.
func (m *model) reload() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.family++
	m.services = nil
}

func (m *model) find(id genl.ServiceID) *modelService {
	i := slices.IndexFunc(m.services, func(s *modelService) bool { return s.ServiceID == id })
	if i < 0 {
		return nil
	}
	return m.services[i]
}

// modelConn is a socket to a model.
type modelConn struct {
	*model
	family uint16
}

// gone says what a socket gets that is older than the module.
func (c *modelConn) gone() error {
	switch c.model.family {
	case c.family:
		return nil
	case 0:
		return ErrMissing
	}
	return ErrReloaded
}

func (c *modelConn) Family() uint16 { return c.family }

func (c *modelConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed++
	return nil
}

func (c *modelConn) All(ctx context.Context, f func(*genl.Service, []genl.Destination) error) error {
	if c.listed != nil {
		if err := c.listed(ctx); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.gone(); err != nil {
		return err
	}
	for _, s := range c.services {
		if err := f(&s.Service, s.servers); err != nil {
			return err
		}
	}
	return nil
}

func (c *modelConn) Destinations(_ context.Context, id genl.ServiceID) ([]genl.Destination, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.gone(); err != nil {
		return nil, err
	}
	if s := c.find(id); s != nil {
		return slices.Clone(s.servers), nil
	}
	return nil, nil
}

func (c *modelConn) Do(ctx context.Context, messages []genl.Message) ([]error, error) {
	if c.doing != nil {
		if err := c.doing(ctx); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	all := func(err error) ([]error, error) {
		return slices.Repeat([]error{err}, len(messages)), err
	}
	if err := c.gone(); err != nil {
		return all(err)
	}
	if c.fail != nil {
		if err := c.fail(); err != nil {
			return all(err)
		}
	}
	var ops []genl.Op
	errs := make([]error, len(messages))
	failed := false
	for i, m := range messages {
		ops = append(ops, m.Op)
		if c.before != nil {
			errs[i] = c.before(m)
		}
		if errs[i] == nil {
			errs[i] = c.one(m)
		}
		failed = failed || errs[i] != nil
	}
	c.calls = append(c.calls, ops)
	if !failed {
		return nil, nil
	}
	return errs, nil
}

// one does what Linux does.
func (m *model) one(msg genl.Message) error {
	s := m.find(msg.Service.ServiceID)
	if s == nil && msg.Op != genl.NewService {
		return unix.ESRCH
	}
	i := -1
	if s != nil {
		i = slices.IndexFunc(s.servers, func(d genl.Destination) bool {
			return d.Address == msg.Dest.Address && d.Port == msg.Dest.Port
		})
	}
	switch msg.Op {
	case genl.NewService, genl.SetService:
		if s != nil && msg.Op == genl.NewService {
			return unix.EEXIST
		}
		if msg.Service.Scheduler == "nosuch" {
			return unix.ENOENT
		}
		if s == nil {
			s = &modelService{}
			m.services = append(m.services, s)
		}
		s.Service = msg.Service
	case genl.DelService:
		m.services = slices.DeleteFunc(m.services, func(o *modelService) bool { return o == s })
	case genl.NewDest:
		if i >= 0 {
			return unix.EEXIST
		}
		s.servers = append(s.servers, msg.Dest)
	case genl.SetDest, genl.DelDest:
		if i < 0 {
			return unix.ENOENT
		}
		if msg.Op == genl.DelDest {
			s.servers = slices.Delete(s.servers, i, i+1)
		} else {
			s.servers[i] = msg.Dest
		}
	default:
		return unix.EOPNOTSUPP
	}
	return nil
}
