package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/configs"
	"github.com/understudy-ha/understudy/director/ipvs"
	"github.com/understudy-ha/understudy/director/sysctl"
)

// settingsEvery is how often the kernel's settings are looked at.
const settingsEvery = 10 * time.Second

// timeoutTable reads and sets the kernel's timeouts of connections.
type timeoutTable interface {
	Timeouts(ctx context.Context) (ipvs.Timeouts, error)
	SetTimeouts(ctx context.Context, to ipvs.Timeouts) error
}

// tuning keeps what the configuration says of the kernel as a whole: sysctls
// and the timeouts of connections.
type tuning struct {
	log     *slog.Logger
	sysctls *sysctl.Keeper
	table   timeoutTable
	bell    chan struct{}

	mu       sync.Mutex
	timeouts configs.Timeouts
	err      string // of the timeouts, as it was logged
}

func newTuning(table timeoutTable, sysctls *sysctl.Keeper, log *slog.Logger) *tuning {
	return &tuning{log: log, sysctls: sysctls, table: table, bell: make(chan struct{}, 1)}
}

// set makes the settings of c those to keep.
func (s *tuning) set(c *configs.Config) {
	s.sysctls.Set(c.Kernel())
	s.mu.Lock()
	s.timeouts = c.Timeouts
	s.mu.Unlock()
	select {
	case s.bell <- struct{}{}:
	default:
	}
}

// run looks at the kernel after set and now and then, until ctx ends.
func (s *tuning) run(ctx context.Context) error {
	tick := time.NewTicker(settingsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.bell:
		case <-tick.C:
		}
		s.sysctls.Check(time.Now())
		s.keepTimeouts(ctx)
	}
}

// keepTimeouts sets the timeouts that are configured and differ.
func (s *tuning) keepTimeouts(ctx context.Context) {
	s.mu.Lock()
	want := ipvs.Timeouts(s.timeouts)
	s.mu.Unlock()
	if want == (ipvs.Timeouts{}) {
		return
	}
	have, err := s.table.Timeouts(ctx)
	differs := func(have, want time.Duration) bool { return want != 0 && have != want }
	if err == nil && (differs(have.TCP, want.TCP) || differs(have.TCPFin, want.TCPFin) || differs(have.UDP, want.UDP)) {
		if err = s.table.SetTimeouts(ctx, want); err == nil {
			s.log.Info("timeouts of connections set", "tcp", want.TCP, "tcp_fin", want.TCPFin, "udp", want.UDP, "tcp_was", have.TCP, "tcp_fin_was", have.TCPFin, "udp_was", have.UDP)
		}
	}
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.err = ""
	case err.Error() != s.err:
		s.err = err.Error()
		s.log.Error("cannot keep the timeouts of connections", "err", err)
	}
}

// trouble says what is wrong with the timeouts; empty: nothing.
func (s *tuning) trouble() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
