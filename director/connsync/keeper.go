package connsync

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

var errClosed = net.ErrClosed

const (
	keepEvery = 2 * time.Second
	keepFor   = 5 * time.Second // one look at the daemons, and the last one at the end
)

// keeperStatus is what the last look at the kernel's daemons found. Guarded by
// Sync.mu.
type keeperStatus struct {
	running []genl.Daemon
	err     string
	repairs uint64 // daemons started or stopped after the first look
}

// keeper is the state of the goroutine that keeps the kernel's daemons.
type keeper struct {
	s       *Sync
	started []genl.Daemon // by this process, or found as wanted
	index   int           // of the interface when they were started
	address string        // that the master daemon sends from
	passes  int
	last    string // error
}

// keep keeps the kernel's daemons as the configuration wants them until ctx ends,
// then stops those that are ours.
func (s *Sync) keep(ctx context.Context) {
	k := &keeper{s: s}
	pause := firstPause
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		wait := keepEvery
		if err := k.pass(ctx); err != nil && ctx.Err() == nil {
			wait, pause = pause, min(2*pause, lastPause)
		} else {
			pause = firstPause
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepFor)
			defer cancel()
			k.leave(ctx)
			return
		case <-changed:
		case <-s.bell:
		case <-t.C:
		}
		t.Stop()
	}
}

// pass looks once, repairs what is to be repaired, and publishes what there is.
func (k *keeper) pass(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, keepFor)
	defer cancel()
	k.s.mu.Lock()
	config := k.s.config
	k.s.mu.Unlock()
	if config == nil && len(k.started) == 0 {
		k.publish(nil, nil, 0)
		return nil
	}
	running, changes, err := k.settle(ctx, config)
	k.publish(running, err, changes)
	return err
}

func (k *keeper) publish(running []genl.Daemon, err error, changes int) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != k.last {
		if k.last = text; text != "" {
			k.s.log.Error("the kernel's synchronisation is not as it should be, trying again", "err", text)
		} else {
			k.s.log.Info("the kernel's synchronisation is as it should be again")
		}
	}
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	k.s.keeper.running, k.s.keeper.err = running, text
	if k.passes++; k.passes > 1 {
		k.s.keeper.repairs += uint64(changes)
	}
}

// settle returns the daemons that run in the end and how many were changed.
func (k *keeper) settle(ctx context.Context, config *Config) ([]genl.Daemon, int, error) {
	conn, err := genl.Open()
	if err != nil {
		return nil, 0, err
	}
	defer conn.Close()
	have, err := conn.Daemons(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("list synchronisation daemons: %w", err)
	}
	if config == nil {
		gone := removal(have, k.started)
		err := carryOut(ctx, conn, gone)
		if err == nil {
			k.started = nil
		}
		return nil, len(gone), err
	}
	index, addresses, err := identify(config.Interface)
	if err != nil {
		return have, 0, err // the daemons cannot be started without it
	}
	stale := k.index != 0 && (k.index != index || k.address != "" && !slices.Contains(addresses, k.address))
	want := config.daemons(config.Follow != "" && k.s.options.Master(config.Follow))
	changes := repair(have, want, stale)
	if len(changes) > 0 {
		k.log(changes, stale)
		err = carryOut(ctx, conn, changes)
		var listErr error
		if have, listErr = conn.Daemons(ctx); listErr != nil {
			err = errors.Join(err, fmt.Errorf("list synchronisation daemons: %w", listErr))
		}
	}
	if err == nil {
		if len(changes) > 0 || k.index == 0 {
			k.index, k.address = index, ""
			if len(addresses) > 0 {
				k.address = addresses[0]
			}
		}
	}
	k.started = ours(k.started, want, err)
	return have, len(changes), err
}

func (k *keeper) log(changes []genl.Message, stale bool) {
	for _, m := range changes {
		what := "start the kernel's synchronisation"
		if m.Op == genl.DelDaemon {
			what = "stop the kernel's synchronisation"
		}
		k.s.log.Info(what, "daemon", stateName(m.Daemon.State), "interface", m.Daemon.Interface, "id", m.Daemon.ID, "interface_changed", stale)
	}
}

func stateName(s genl.DaemonState) string {
	if s == genl.DaemonMaster {
		return "master"
	}
	return "backup"
}

// carryOut changes the daemons. One that runs already, or is gone already, is as
// it should be.
func carryOut(ctx context.Context, conn *genl.Conn, changes []genl.Message) error {
	results, err := conn.Do(ctx, changes)
	errs := []error{err}
	for i, e := range results {
		m := changes[i]
		verb := "start"
		if m.Op == genl.DelDaemon {
			verb = "stop"
		}
		if e == nil || m.Op == genl.DelDaemon && errors.Is(e, unix.ESRCH) {
			continue
		}
		errs = append(errs, fmt.Errorf("%s synchronisation daemon %s on %s (%v port %d): %w",
			verb, stateName(m.Daemon.State), m.Daemon.Interface, m.Daemon.Group, m.Daemon.Port, e))
	}
	return errors.Join(errs...)
}

// leave stops the daemons that are ours.
func (k *keeper) leave(ctx context.Context) {
	if len(k.started) == 0 {
		return
	}
	conn, err := genl.Open()
	if err != nil {
		return // without IPVS there is nothing to stop
	}
	defer conn.Close()
	have, err := conn.Daemons(ctx)
	if err == nil {
		err = carryOut(ctx, conn, removal(have, k.started))
	}
	if err != nil {
		k.s.log.Error("the kernel's synchronisation was not stopped", "err", err)
	}
}

// identify returns what a daemon of the kernel holds on to when it starts: the
// interface, by its number, and its IPv4 addresses, of which it takes the first.
func identify(name string) (index int, addresses []string, err error) {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return 0, nil, fmt.Errorf("find interface %s: %w", name, err)
	}
	list, err := link.Addrs()
	if err != nil {
		return 0, nil, fmt.Errorf("list addresses of %s: %w", name, err)
	}
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil {
			addresses = append(addresses, n.IP.String())
		}
	}
	return link.Index, addresses, nil
}

// sameLink returns the flags of an interface. One that is gone, or another one
// than before, is an error.
func sameLink(name string, index int) (net.Flags, error) {
	link, err := net.InterfaceByName(name)
	switch {
	case err != nil:
		return 0, fmt.Errorf("find interface %s: %w", name, err)
	case link.Index != index:
		return 0, errReplaced
	case link.Flags&net.FlagUp == 0:
		return 0, fmt.Errorf("interface %s is down", name)
	}
	return link.Flags, nil
}
