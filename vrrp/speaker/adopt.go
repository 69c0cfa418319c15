package speaker

import (
	"context"
	"log/slog"
	"time"

	"github.com/understudy-ha/understudy/vrrp"
)

// adoptable is how long a state is worth going on from.
const adoptable = 10 * time.Second

// Frozen is what another process must know to go on driving a virtual router.
type Frozen struct {
	Name    string
	VRID    uint8
	Version vrrp.Version
	State   string    // for Router.Adopt
	At      time.Time // for Router.AdoptAt
}

// Freeze ends Run at once, without a word to anybody, and returns the states of all
// virtual routers. It fails if Run does not answer before ctx ends, or has ended.
func (s *Speaker) Freeze(ctx context.Context) ([]Frozen, error) {
	states := make(chan []Frozen, 1)
	s.change(func(w *desired) { w.freeze = states })
	select {
	case all := <-states:
		return all, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Listening reports whether there is a socket, or can be none.
func (s *Speaker) Listening() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn != nil || s.want.told && !up(s.want.link)
}

func (l *loop) frozen() []Frozen {
	now := time.Now()
	var all []Frozen
	for _, in := range l.order {
		all = append(all, Frozen{
			Name: in.want.Name, VRID: in.want.VRID, Version: in.want.Version,
			State: string(in.router.AppendState(nil, now)), At: now,
		})
	}
	return all
}

// adopt makes in go on as another process has left it. It returns false if that can
// not be told.
func (l *loop) adopt(now time.Time, in *instance) bool {
	if in.want.Adopt == "" || now.Sub(in.want.AdoptAt) > adoptable {
		return false
	}
	config := in.config
	router, err := vrrp.Restore(config, in.want.Adopt, in.want.AdoptAt)
	if err != nil {
		l.log.add(now, slog.LevelError, "state of the process before is lost", slog.String("vrrp", in.want.Name), slog.String("err", err.Error()))
		return false
	}
	state := router.Status().State
	if state != vrrp.StateBackup && state != vrrp.StateMaster {
		return false
	}
	in.mu.Lock()
	in.router = vrrp.Record(router, memory)
	in.mu.Unlock()
	l.schedule(in)
	l.change(in)
	l.report(in)
	return true
}
