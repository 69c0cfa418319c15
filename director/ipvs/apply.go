package ipvs

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

type change = director.Change[director.Key, director.Spec]

const (
	// chunk is how many messages are made at a time.
	chunk = 256
	// rounds bounds how often a change is tried: as it was wanted, as it is
	// possible, and once more should somebody else be changing the same.
	rounds = 3
)

// Apply carries out the changes in order. Creating what exists gives it the
// wanted content, updating what is absent creates it, deleting what is absent
// succeeds.
func (t *Table) Apply(ctx context.Context, changes []change) error {
	if len(changes) == 0 {
		return nil
	}
	var p *pass
	err := t.use(ctx, &t.writes, func(k kernel) error {
		p = newPass(changes)
		return p.run(ctx, k)
	})
	if err != nil && (p == nil || len(p.failed) == 0) {
		return fmt.Errorf("change the IPVS table: %w", err)
	}
	return p.err()
}

// step is a change that has to be carried out, by op.
type step struct {
	change int
	op     genl.Op
}

// pass carries out changes.
type pass struct {
	changes []change
	failed  map[int]error // by change
	steps   []step
}

func newPass(changes []change) *pass {
	p := &pass{changes: changes, failed: map[int]error{}, steps: make([]step, 0, len(changes))}
	for i := range changes {
		op, err := operation(&changes[i])
		switch {
		case err != nil:
			p.failed[i] = err
		case op != 0:
			p.steps = append(p.steps, step{i, op})
		}
	}
	return p
}

// operations are those for a service and for a server.
var operations = map[director.Op][2]genl.Op{
	director.Create: {genl.NewService, genl.NewDest},
	director.Update: {genl.SetService, genl.SetDest},
	director.Delete: {genl.DelService, genl.DelDest},
}

// operation returns what the kernel is asked to do for c; 0 for nothing.
func operation(c *change) (genl.Op, error) {
	switch {
	case c.Op != director.Delete || possible(c.Key.Service):
	case c.Key.IsService() && listable(c.Key.Service):
		return genl.DelService, nil // an exclusive table has no room for it
	default:
		return 0, nil // a damaged ledger may name it
	}
	if err := check(c); err != nil {
		return 0, err
	}
	ops, ok := operations[c.Op]
	switch {
	case !ok:
		return 0, fmt.Errorf("%v is no operation", c.Op)
	case c.Key.IsService():
		return ops[0], nil
	}
	return ops[1], nil
}

// run carries out the steps, and those that follow from their outcome. An error
// says that the outcome is not known; the changes that it leaves open have
// failed with it.
func (p *pass) run(ctx context.Context, k kernel) error {
	messages := make([]genl.Message, 0, min(len(p.steps), chunk))
	for range rounds {
		outcomes := map[int]error{} // of steps: the errors
		for start := 0; start < len(p.steps); start += chunk {
			messages = messages[:0]
			for _, s := range p.steps[start:min(start+chunk, len(p.steps))] {
				messages = messages[:len(messages)+1]
				fill(&messages[len(messages)-1], &p.changes[s.change], s.op)
			}
			errs, err := k.Do(ctx, messages)
			for i, err := range errs {
				if err != nil {
					outcomes[start+i] = err
				}
			}
			if err != nil {
				// What was answered in earlier chunks and could be
				// mended is left to the next pass over the table.
				for i, s := range p.steps {
					if i >= start+len(messages) {
						outcomes[i] = err
					}
					if outcomes[i] != nil && !(absentOp(s.op) && absent(outcomes[i]) == nil) {
						p.failed[s.change] = outcomes[i]
					}
				}
				return err
			}
		}
		if len(outcomes) == 0 {
			return nil
		}
		p.follow(outcomes)
		if len(p.steps) == 0 {
			return nil
		}
	}
	for _, s := range p.steps {
		p.failed[s.change] = errRival
	}
	return nil
}

var errRival = errors.New("somebody else keeps creating and deleting it")

// fill makes m the message that asks for c. It writes what the operation needs,
// and leaves the rest as it is: there are many, and each is large.
func fill(m *genl.Message, c *change, op genl.Op) {
	m.Op = op
	if c.Key.IsService() {
		m.Service = encodeService(c.Key.Service, c.New.Service)
		return
	}
	m.Service.ServiceID = ServiceID(c.Key.Service)
	m.Dest = encodeServer(c.Key, c.New.Server)
}

// follow makes the next steps of what failed.
func (p *pass) follow(outcomes map[int]error) {
	// Where a later change concerns the same, it has been carried out already:
	// what comes later counts.
	latest := make(map[director.Key]int, len(p.changes))
	gone := map[director.ServiceKey]int{}
	for i, c := range p.changes {
		latest[c.Key] = i
		if c.Key.IsService() && c.Op == director.Delete {
			gone[c.Key.Service] = i
		}
	}
	again := map[director.ServiceKey]bool{} // services that get a next step
	refused := map[director.ServiceKey]bool{}
	var steps []step
	for i, s := range p.steps {
		err := outcomes[i]
		if err == nil {
			continue
		}
		key := p.changes[s.change].Key
		later, deleted := gone[key.Service]
		superseded := latest[key] > s.change || deleted && later > s.change
		next := nextOp(s.op, err)
		if !key.IsService() && errors.Is(err, unix.ESRCH) && again[key.Service] {
			next = genl.NewDest
		}
		switch {
		case absentOp(s.op) && absent(err) == nil:
		case next != 0 && superseded:
		case next != 0:
			steps = append(steps, step{s.change, next})
			if key.IsService() {
				again[key.Service] = true
			}
		default:
			if key.IsService() {
				refused[key.Service] = true
			}
			p.failed[s.change] = p.reason(s, err, refused[key.Service])
		}
	}
	p.steps = steps
}

func absentOp(op genl.Op) bool { return op == genl.DelService || op == genl.DelDest }

// nextOp returns what to try after op has failed with err; 0 for nothing.
func nextOp(op genl.Op, err error) genl.Op {
	switch {
	case op == genl.NewService && errors.Is(err, unix.EEXIST):
		return genl.SetService
	case op == genl.SetService && errors.Is(err, unix.ESRCH):
		return genl.NewService
	case op == genl.NewDest && errors.Is(err, unix.EEXIST):
		return genl.SetDest
	case op == genl.SetDest && errors.Is(err, unix.ENOENT):
		return genl.NewDest
	}
	return 0
}

// reason says what the kernel means by err.
func (p *pass) reason(s step, err error, refused bool) error {
	c := p.changes[s.change]
	service := c.Key.IsService()
	switch {
	case service && errors.Is(err, unix.ENOENT) && c.New.Service.Engine != "":
		return fmt.Errorf(`the kernel lacks the scheduler %q or the persistence engine %q: load them with "modprobe -a ip_vs_%[1]s ip_vs_pe_%[2]s": %w`,
			c.New.Service.Scheduler, c.New.Service.Engine, err)
	case service && errors.Is(err, unix.ENOENT):
		return fmt.Errorf(`the kernel has no scheduler %q: load it with "modprobe ip_vs_%[1]s": %w`, c.New.Service.Scheduler, err)
	case !service && errors.Is(err, unix.ESRCH) && refused:
		return fmt.Errorf("its service could not be created: %w", err)
	case !service && errors.Is(err, unix.ESRCH):
		return fmt.Errorf("its service does not exist: %w", err)
	case !service && errors.Is(err, unix.EINVAL) && mixed(c.Key):
		return fmt.Errorf("a server of another address family than its service is refused by kernels that cannot, and while a synchronisation daemon runs: %w", err)
	case !service && errors.Is(err, unix.EINVAL):
		return fmt.Errorf("the kernel takes servers at unicast addresses only, at link-local ones only if they are its own: %w", err)
	}
	return explain(err)
}

// err joins the failures in the order of the changes.
func (p *pass) err() error {
	if len(p.failed) == 0 {
		return nil
	}
	var errs []error
	for i, c := range p.changes {
		if err := p.failed[i]; err != nil {
			errs = append(errs, &director.ChangeError[director.Key]{Op: c.Op, Key: c.Key, Err: err})
		}
	}
	return errors.Join(errs...)
}
