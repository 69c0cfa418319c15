package ipvsadm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// Kernel is IPVS in the kernel; *genl.Conn is.
type Kernel interface {
	Table
	Settings
	Do(ctx context.Context, messages []genl.Message) ([]error, error)
	Close() error
}

// Table is what services and real servers are listed from.
type Table interface {
	Services(ctx context.Context) ([]genl.Service, error)
	Service(ctx context.Context, id genl.ServiceID) (genl.Service, error)
	Destinations(ctx context.Context, id genl.ServiceID) ([]genl.Destination, error)
}

// Settings is what everything else is listed from.
type Settings interface {
	Daemons(ctx context.Context) ([]genl.Daemon, error)
	Timeouts(ctx context.Context) (genl.Timeouts, error)
	Info(ctx context.Context) (genl.Info, error)
}

// Owner is a running director.
type Owner struct {
	Config    string   // path of its configuration
	Exclusive bool     // the whole table is its own
	Services  []string // those that it keeps in the table, as its status names them
}

// Program is the command with what it needs of its surroundings. One goroutine
// uses it.
type Program struct {
	Names          *Names
	Open           func() (Kernel, error)
	Connections    func() (io.ReadCloser, error)    // nil: the kernel's table of connections
	Owner          func(ctx context.Context) *Owner // nil: none; it is asked after a change, and may return nil
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Run carries out a command line. Its error is an [*Error], unless the input or
// the output cannot be read or written, or ctx ended.
func (p *Program) Run(ctx context.Context, args []string) error {
	c, err := Parse(ctx, args, p.Names)
	if err != nil {
		return err
	}
	rules := []Rule{{Command: c}}
	switch c.Verb {
	case Help:
		_, err := io.WriteString(p.Stdout, help)
		return err
	case Restore:
		if rules, err = ReadRules(ctx, p.Stdin, p.Names); err != nil {
			return err
		}
	}
	k, err := p.Open()
	if err != nil {
		return unreachable(err)
	}
	defer k.Close()
	out := bufio.NewWriter(p.Stdout)
	r := run{Program: p, kernel: k, out: out}
	err = r.all(ctx, rules)
	if flushErr := out.Flush(); flushErr != nil {
		err = errors.Join(err, fmt.Errorf("write listing: %w", flushErr))
	}
	r.note(ctx)
	return err
}

// run is one run of a Program.
type run struct {
	*Program
	kernel  Kernel
	out     io.Writer
	changed []Command // that a director may undo
}

// all carries out rules, those that change something together.
func (r *run) all(ctx context.Context, rules []Rule) error {
	var refused problems
	var unsent []Rule
	var messages []genl.Message
	send := func() error {
		results, err := r.kernel.Do(ctx, messages)
		for i, rule := range unsent {
			switch {
			case i < len(results) && results[i] != nil:
				refused.add(rule.wrap(explain(rule.Command, results[i])))
			case err == nil && rule.Command.edits():
				r.changed = append(r.changed, rule.Command)
			}
		}
		unsent, messages = unsent[:0], messages[:0]
		if err != nil {
			return r.broken(err)
		}
		return nil
	}
	for _, rule := range rules {
		if m, ok := rule.Command.message(); ok {
			unsent, messages = append(unsent, rule), append(messages, m)
			continue
		}
		if len(messages) > 0 {
			if err := send(); err != nil {
				return errors.Join(refused.err(), err)
			}
		}
		if err := r.list(ctx, rule.Command); err != nil {
			refused.add(rule.wrap(err))
		}
	}
	if len(messages) > 0 {
		if err := send(); err != nil {
			return errors.Join(refused.err(), err)
		}
	}
	if len(refused.list) == 1 && len(rules) == 1 {
		return refused.list[0]
	}
	if err := refused.err(); err != nil {
		return &Error{statusRefused, err}
	}
	return nil
}

// broken explains that the kernel could not be asked.
func (r *run) broken(err error) error {
	if access(err) {
		return unreachable(err)
	}
	return &Error{statusRefused, fmt.Errorf("change the table: %w; -L shows what was done of it", err)}
}

// wrap adds the line that a rule stands in.
func (r Rule) wrap(err error) error {
	if r.Line == 0 {
		return err
	}
	return fmt.Errorf("line %d: %w", r.Line, err)
}

// list carries out what only prints.
func (r *run) list(ctx context.Context, c Command) error {
	l := &listing{ctx: ctx, out: r.out, names: r.Names, format: c.Format}
	var err error
	switch f := c.Format; {
	case c.Verb == Version:
		err = r.version(ctx)
	case f.Connections:
		err = r.connections(l)
	case f.Timeout:
		var t genl.Timeouts
		if t, err = r.kernel.Timeouts(ctx); err == nil {
			l.printf("Timeout (tcp tcpfin udp): %d %d %d\n", t.TCP, t.TCPFin, t.UDP)
		}
	case f.Daemon:
		err = r.daemons(ctx, l)
	default:
		err = r.table(ctx, c, l)
	}
	if err == nil {
		return nil
	}
	if access(err) {
		return unreachable(err)
	}
	if own, ok := errors.AsType[*Error](err); ok {
		return own
	}
	return &Error{statusRefused, err}
}

// table lists or saves services and their real servers.
func (r *run) table(ctx context.Context, c Command, l *listing) error {
	var entries []entry
	if c.Named {
		s, err := r.kernel.Service(ctx, c.Service.ServiceID)
		if errors.Is(err, unix.ESRCH) {
			return &Error{statusAbsent, fmt.Errorf("service %s does not exist; -L shows those that do", serviceText(c.Service.ServiceID))}
		}
		if err != nil {
			return fmt.Errorf("look up service: %w", err)
		}
		entries = []entry{{Service: s}}
	} else {
		list, err := r.kernel.Services(ctx)
		if err != nil {
			return fmt.Errorf("list services: %w", err)
		}
		for _, s := range list {
			entries = append(entries, entry{Service: s})
		}
	}
	for i := range entries {
		e := &entries[i]
		var err error
		if e.servers, err = r.kernel.Destinations(ctx, e.ServiceID); err != nil {
			return fmt.Errorf("list real servers of %s: %w", serviceText(e.ServiceID), err)
		}
	}
	if c.Verb == Save {
		l.rules(entries)
		return nil
	}
	if !c.Named {
		i, err := r.kernel.Info(ctx)
		if err != nil {
			return fmt.Errorf("ask for the version: %w", err)
		}
		l.version(i)
	}
	l.table(entries)
	return nil
}

func (r *run) version(ctx context.Context) error {
	i, err := r.kernel.Info(ctx)
	if err != nil {
		return fmt.Errorf("ask for the version: %w", err)
	}
	_, err = fmt.Fprintf(r.out, "understudy ipvsadm, as ipvsadm 1.31 (IPVS v%d.%d.%d)\n", i.Version>>16&0xff, i.Version>>8&0xff, i.Version&0xff)
	return err
}

func (r *run) daemons(ctx context.Context, l *listing) error {
	list, err := r.kernel.Daemons(ctx)
	if err != nil {
		return fmt.Errorf("list sync daemons: %w", err)
	}
	for _, state := range []struct {
		genl.DaemonState
		name string
	}{{genl.DaemonMaster, "master"}, {genl.DaemonBackup, "backup"}} {
		for _, d := range list {
			if d.State != state.DaemonState {
				continue
			}
			l.printf("%s sync daemon (mcast=%s, syncid=%d", state.name, d.Interface, d.ID)
			if d.MaxLen > 0 {
				l.printf(", maxlen=%d", d.MaxLen)
			}
			if d.Group.IsValid() && !d.Group.IsUnspecified() {
				l.printf(", group=%s", d.Group)
			}
			if d.Port > 0 {
				l.printf(", port=%d", d.Port)
			}
			if d.TTL > 0 {
				l.printf(", ttl=%d", d.TTL)
			}
			l.printf(")\n")
		}
	}
	return nil
}

func (r *run) connections(l *listing) error {
	open := r.Connections
	if open == nil {
		open = func() (io.ReadCloser, error) { return os.Open(connectionsFile) }
	}
	in, err := open()
	if err != nil {
		return fmt.Errorf("list connections: %w", err)
	}
	defer in.Close()
	return l.connections(in)
}

// note tells who will undo what was changed.
func (r *run) note(ctx context.Context) {
	if len(r.changed) == 0 || r.Owner == nil {
		return
	}
	owner := r.Owner(ctx)
	if owner == nil {
		return
	}
	var names []string
	for _, c := range r.changed {
		if c.Verb == Clear {
			names = owner.Services
			break
		}
		if name := serviceText(c.Service.ServiceID); slices.Contains(owner.Services, name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	what := strings.Join(names[:min(len(names), 3)], ", ")
	switch {
	case owner.Exclusive:
		what = "the whole table"
	case len(names) == 0:
		return
	case len(names) > 3:
		what += fmt.Sprintf(" and %d more", len(names)-3)
	}
	fmt.Fprintf(r.Stderr, "note: this is temporary: the running understudy owns %s, and puts it back at its next look at the table, within seconds; to change it for good, edit %s and run \"understudy reload\"\n",
		what, owner.Config)
}
