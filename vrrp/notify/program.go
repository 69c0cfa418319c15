package notify

import (
	"context"
	"fmt"

	"github.com/understudy-ha/understudy/vrrp/script"
)

func newSender(t Target) sender {
	switch {
	case t.FIFO != "":
		return &pipe{path: t.FIFO}
	case t.URL != "":
		return newWeb(t)
	}
	return program{t}
}

// program runs a command for each event.
type program struct{ target Target }

func (p program) send(ctx context.Context, e Event, _ func(error)) error {
	t := p.target
	r, err := script.Command{
		Args:    e.arguments(t.Command, t.RouterID),
		User:    t.User,
		Timeout: t.timeout(),
		Env:     e.environment(t.RouterID),
	}.Run(ctx)
	if err != nil && r.Line != "" {
		return fmt.Errorf("%w; it said %q", err, r.Line)
	}
	return err
}

func (program) close() {}
