package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/vrrp/speaker"
)

// errReplaced ends a daemon that another process follows: nothing is to be tidied up.
var errReplaced = errors.New("replaced by another process")

// upgradeReply is what an upgrade led to.
type upgradeReply struct {
	PID  int           `json:"pid"`
	Took time.Duration `json:"took_ns"` // without elections
}

// freezeTime bounds how long the elections may take to stop.
const freezeTime = time.Second

// freeze ends the elections at once, without a word to anybody, and returns their
// states.
func (e *elections) freeze() ([]speaker.Frozen, error) {
	ctx, cancel := context.WithTimeout(context.Background(), freezeTime)
	defer cancel()
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []speaker.Frozen
	var errs []error
	for _, one := range e.speakers {
		states, err := one.speaker.Freeze(ctx)
		all = append(all, states...)
		errs = append(errs, err)
	}
	return all, errors.Join(errs...)
}

// thaw goes on from states that were frozen.
func (e *elections) thaw(states []speaker.Frozen) {
	e.setting.Lock()
	defer e.setting.Unlock()
	e.mu.Lock()
	old := e.speakers
	e.speakers = map[seat]*election{}
	e.mu.Unlock()
	for _, one := range old {
		one.unwatch()
	}
	byName := map[string]speaker.Frozen{}
	for _, s := range states {
		byName[s.Name] = s
	}
	e.goOn(byName)
}

// goOn ends the standby with the states that another process, or this one, has left.
// The caller holds setting.
func (e *elections) goOn(states map[string]speaker.Frozen) {
	e.standby, e.adopted = false, states
	e.apply(e.sway())
}

// adopt ends the standby with the states that the process before has left, and with
// those that it had handed over by hand.
func (e *elections) adopt(states map[string]speaker.Frozen, away []string) {
	e.setting.Lock()
	defer e.setting.Unlock()
	e.mu.Lock()
	for _, name := range away {
		e.handed[name] = handover{holds: true}
	}
	e.mu.Unlock()
	e.goOn(states)
}

// listening waits until every speaker hears what is said.
func (e *elections) listening(ctx context.Context) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		all := true
		e.mu.Lock()
		for _, one := range e.speakers {
			all = all && one.speaker.Listening()
		}
		e.mu.Unlock()
		if all {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("open the sockets of the elections: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// succeed waits for the process before to leave, and goes on in its place.
func (d *daemon) succeed(ctx context.Context) error {
	limit, cancel := context.WithTimeout(ctx, readyTime/2)
	defer cancel()
	err := d.elections.listening(limit)
	var states map[string]speaker.Frozen
	var rest message
	if err == nil {
		states, rest, err = d.inherits.states()
	}
	if err != nil {
		d.inherits.refuse(err)
		return err
	}
	d.notifier.Resume(rest.Told)
	d.elections.adopt(states, rest.Away)
	d.log.Info("goes on in the place of another process", "virtual_routers", len(states))
	if err := d.inherits.going(); err != nil {
		return err
	}
	d.control.own(true)
	if err := os.Rename(d.reigns, strings.TrimSuffix(d.reigns, ".next")); err != nil {
		d.log.Warn("after a crash this director will start as backup", "err", err)
	}
	return nil
}

// upgrade replaces this process by another one, of the program that is now where
// this one came from, and returns its number. The elections rest for as long as it
// takes to tell their states. After an error this process goes on.
func (d *daemon) upgrade(ctx context.Context) (upgradeReply, error) {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	d.replacing.Lock()
	defer d.replacing.Unlock()
	if d.replacement != 0 {
		return upgradeReply{}, fmt.Errorf("process %d follows already", d.replacement)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.staying, cancel)()
	program, err := os.Executable()
	if err != nil {
		return upgradeReply{}, fmt.Errorf("find the program: %w", err)
	}
	files, err := d.heirlooms()
	if err != nil {
		return upgradeReply{}, err
	}
	defer func() {
		for name, f := range files {
			if name != supervisorFD {
				f.Close()
			}
		}
	}()
	next, err := startSuccessor(program, files)
	if err != nil {
		return upgradeReply{}, err
	}
	err = next.ready(ctx, readyTime)
	if d.staying.Err() != nil {
		err = errors.New("this director is being stopped")
	}
	if err != nil {
		next.giveUp()
		return upgradeReply{}, err
	}
	began := time.Now()
	states, err := d.elections.freeze()
	if err == nil {
		err = next.hand(context.WithoutCancel(ctx), states, message{Away: d.elections.away(), Told: d.notifier.Present()})
	}
	if err != nil {
		next.giveUp()
		d.elections.thaw(states)
		return upgradeReply{}, fmt.Errorf("this process goes on: %w", err)
	}
	took := time.Since(began)
	d.control.own(false)
	d.replacement = next.cmd.Process.Pid
	tellManager(d.log, fmt.Sprintf("MAINPID=%d\n%s", d.replacement, sd.SdNotifyReady))
	if err := d.inherits.tellSupervisor(d.replacement); err != nil {
		d.log.Error("supervisor not told of the process that follows", "pid", d.replacement, "err", err)
	}
	d.log.Info("replaced by another process", "pid", d.replacement, "took", took)
	return upgradeReply{PID: d.replacement, Took: took}, nil
}

// heirlooms returns the descriptors that a successor needs.
func (d *daemon) heirlooms() (map[string]*os.File, error) {
	files := map[string]*os.File{}
	add := func(name string, f interface{ File() (*os.File, error) }) error {
		dup, err := f.File()
		if err != nil {
			return fmt.Errorf("hand over %s: %w", name, err)
		}
		files[name] = dup
		return nil
	}
	control, ok := d.control.ln.(*net.UnixListener)
	if !ok {
		return nil, errors.New("the control socket cannot be handed over; restart the daemon")
	}
	err := add(controlFD, control)
	if claim, ok := d.claim.(*net.UnixListener); ok && err == nil {
		err = add(claimFD, claim)
	}
	err = errors.Join(err, add(lockFD, duplicate{d.control.lock}))
	if lock, ok := d.lock.(*os.File); ok {
		err = errors.Join(err, add(ordersFD, duplicate{lock}))
	}
	if f := d.inherits.file(supervisorFD); f != nil {
		files[supervisorFD] = f
	}
	return files, err
}

// duplicate makes a second descriptor of a file.
type duplicate struct{ file *os.File }

func (d duplicate) File() (*os.File, error) {
	fd, err := unix.FcntlInt(d.file.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), d.file.Name()), nil
}

// serveUpgrade carries out POST upgradePath, and lets the daemon end after its answer.
func serveUpgrade(w http.ResponseWriter, r *http.Request, daemon controller) {
	reply, err := daemon.upgrade(r.Context())
	answer(w, reply, err)
	if err == nil {
		daemon.end()
	}
}

func upgradeCommand() *cobra.Command {
	flags := socketFlags{timeout: 2 * readyTime}
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Replace the running daemon by the program that is installed now",
		Long: `Replace the running daemon by the program that is installed now, or start it anew, without an election.

The new process reads the configuration and gets ready while the old one goes on;
then it takes over the state of every election and the control socket, and the old
one ends. No advertisement is missed. If the new process cannot start, the old one
goes on, and the exit status is 1.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := flags.call(cmd.Context(), http.MethodPost, upgradePath)
			if err != nil {
				return err
			}
			var reply upgradeReply
			if err := json.Unmarshal(body, &reply); err != nil {
				return fmt.Errorf("decode the daemon's answer: %w", err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "process %d goes on, the elections rested for %v\n", reply.PID, reply.Took.Round(time.Microsecond))
			return nil
		},
	}
	flags.register(cmd)
	return cmd
}
