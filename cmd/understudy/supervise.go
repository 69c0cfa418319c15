package main

import (
	"bufio"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The pause before a daemon that has ended is started again doubles from the first
// to the last; one that lived for longer than settled is started at once.
const (
	firstRestart = 50 * time.Millisecond
	lastRestart  = 5 * time.Second
	settled      = 2 * time.Second
)

// supervise runs the daemon as a child process and starts it again whenever it ends
// of its own accord, until this process is told to end. Other signals are passed on.
// A child that ends by its own decision before it has run for a while for the first
// time is not started again: its configuration cannot be used.
func supervise(file string) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the program: %w", err)
	}
	// Whoever follows the child (understudy upgrade) becomes a child of this process.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("adopt the children of children: %w", err)
	}
	s := &supervisor{
		args:    []string{program, "run", "--config", file},
		log:     slog.New(slog.NewTextHandler(os.Stderr, nil)),
		signals: make(chan os.Signal, 16),
	}
	signal.Notify(s.signals, syscall.SIGTERM, os.Interrupt, syscall.SIGHUP)
	defer signal.Stop(s.signals)
	return s.run()
}

type supervisor struct {
	args    []string
	log     *slog.Logger
	signals chan os.Signal
}

func (s *supervisor) run() error {
	pause := time.Duration(0)
	for first := true; ; first = false {
		began := time.Now()
		stopped, state, err := s.child()
		lived := time.Since(began)
		switch {
		case err != nil:
			return err
		case stopped && state.Success():
			return nil
		case stopped || first && lived < settled && !fell(state):
			return errSilent // it has said what is wrong
		case lived >= settled:
			pause = 0
		default:
			pause = min(max(2*pause, firstRestart), lastRestart)
		}
		s.log.Error("the daemon has ended, starting it again", "lived", lived.Round(time.Millisecond), "how", state, "pause", pause)
		select {
		case sig := <-s.signals:
			if ends(sig) {
				return nil
			}
		case <-time.After(pause):
		}
	}
}

func ends(s os.Signal) bool { return s == syscall.SIGTERM || s == os.Interrupt }

// fell reports whether a process was ended by a signal or by a fault of its own, and
// not by its decision. A Go program that panics exits with status 2.
func fell(state *os.ProcessState) bool {
	status, ok := state.Sys().(syscall.WaitStatus)
	return ok && (status.Signaled() || status.ExitStatus() == 2)
}

// child runs the daemon once, with whoever follows it, and reports whether it ended
// because this process was told to end.
func (s *supervisor) child() (stopped bool, state *os.ProcessState, err error) {
	hear, tell, err := os.Pipe()
	if err != nil {
		return false, nil, fmt.Errorf("make pipe: %w", err)
	}
	defer hear.Close()
	cmd := exec.Command(s.args[0], s.args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{tell}
	cmd.Env = append(os.Environ(), successionEnv+"="+supervisorFD)
	err = cmd.Start()
	tell.Close()
	if err != nil {
		return false, nil, fmt.Errorf("start the daemon: %w", err)
	}
	followers := make(chan int, 16)
	go func() { // ends when the last of them has ended
		lines := bufio.NewScanner(hear)
		for lines.Scan() {
			if pid, err := strconv.Atoi(lines.Text()); err == nil {
				select {
				case followers <- pid:
				default:
				}
			}
		}
	}()
	process := cmd.Process
	for {
		ended := make(chan error, 1)
		go func() {
			var err error
			state, err = process.Wait()
			ended <- err
		}()
		for running := true; running; {
			select {
			case err := <-ended:
				if err != nil {
					return stopped, nil, fmt.Errorf("wait for the daemon: %w", err)
				}
				running = false
			case sig := <-s.signals:
				stopped = stopped || ends(sig)
				_ = process.Signal(sig) // it may have ended
			}
		}
		select {
		case pid := <-followers: // told before the other one ended
			if process, err = os.FindProcess(pid); err != nil {
				return stopped, state, nil
			}
			s.log.Info("another process goes on", "pid", pid)
		case <-time.After(10 * time.Millisecond):
			return stopped, state, nil
		}
	}
}
