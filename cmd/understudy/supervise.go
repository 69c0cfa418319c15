package main

import (
	"bytes"
	"errors"
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
		args:     []string{program, "run", "--config", file},
		log:      slog.New(slog.NewTextHandler(os.Stderr, nil)),
		signals:  make(chan os.Signal, 16),
		children: make(chan os.Signal, 1),
		ended:    map[int]syscall.WaitStatus{},
	}
	signal.Notify(s.signals, syscall.SIGTERM, os.Interrupt, syscall.SIGHUP)
	defer signal.Stop(s.signals)
	signal.Notify(s.children, syscall.SIGCHLD)
	defer signal.Stop(s.children)
	return s.run()
}

type supervisor struct {
	args     []string
	log      *slog.Logger
	signals  chan os.Signal
	children chan os.Signal             // some have ended
	ended    map[int]syscall.WaitStatus // how, by number, since the daemon was started last
	told     []byte                     // by the daemon, not read yet
}

func (s *supervisor) run() error {
	pause := time.Duration(0)
	for first := true; ; first = false {
		began := time.Now()
		stopped, status, err := s.child()
		lived := time.Since(began)
		switch {
		case err != nil:
			return err
		case stopped && status == 0:
			return nil
		case stopped || first && lived < settled && !fell(status):
			return errSilent // it has said what is wrong
		case lived >= settled:
			pause = 0
		default:
			pause = min(max(2*pause, firstRestart), lastRestart)
		}
		s.log.Error("the daemon has ended, starting it again", "lived", lived.Round(time.Millisecond), "how", how(status), "pause", pause)
		again := time.After(pause)
		for waiting := true; waiting; {
			select {
			case sig := <-s.signals:
				if ends(sig) {
					return nil
				}
			case <-s.children:
				s.reap()
			case <-again:
				waiting = false
			}
		}
	}
}

func ends(s os.Signal) bool { return s == syscall.SIGTERM || s == os.Interrupt }

// fell reports whether a process was ended by a signal or by a fault of its own, and
// not by its decision. A Go program that panics exits with status 2.
func fell(status syscall.WaitStatus) bool { return status.Signaled() || status.ExitStatus() == 2 }

func how(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "signal: " + status.Signal().String()
	}
	return "exit status " + strconv.Itoa(status.ExitStatus())
}

// reap notes which children have ended. What the daemon leaves behind, such as a
// program that it has run, becomes a child of this process, too.
func (s *supervisor) reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil || pid <= 0:
			return
		default:
			s.ended[pid] = status
		}
	}
}

// child runs the daemon once, with whoever follows it, and returns how the last of
// them ended, and whether because this process was told to end.
func (s *supervisor) child() (stopped bool, status syscall.WaitStatus, err error) {
	hear, tell, err := os.Pipe()
	if err != nil {
		return false, 0, fmt.Errorf("make pipe: %w", err)
	}
	defer hear.Close()
	cmd := exec.Command(s.args[0], s.args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{tell}
	cmd.Env = append(os.Environ(), successionEnv+"="+supervisorFD)
	clear(s.ended)
	s.told = nil
	err = cmd.Start()
	tell.Close()
	if err != nil {
		return false, 0, fmt.Errorf("start the daemon: %w", err)
	}
	pid := cmd.Process.Pid
	_ = cmd.Process.Release() // reap waits for it
	for {
		select {
		case <-s.children:
			s.reap()
		case sig := <-s.signals:
			stopped = stopped || ends(sig)
			_ = syscall.Kill(pid, sig.(syscall.Signal)) // not reaped, so that the number is still its
		}
		for {
			end, ended := s.ended[pid]
			if !ended {
				break
			}
			next := s.follower(hear)
			if next == 0 {
				return stopped, end, nil
			}
			s.log.Info("another process goes on", "pid", next)
			if _, ended := s.ended[next]; !ended && !ours(next) {
				// It has ended before it became a child of this process.
				s.ended[next] = syscall.WaitStatus(syscall.SIGKILL)
			}
			if pid = next; stopped { // it may not have been told
				_ = syscall.Kill(pid, syscall.SIGTERM)
			}
		}
	}
}

// ours reports whether a process is a child of this one, ended or not.
func ours(pid int) bool {
	return unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) == nil
}

// follower returns the process that follows one that has ended, as this one has told;
// 0: none does.
func (s *supervisor) follower(hear *os.File) int {
	if raw, err := hear.SyscallConn(); err == nil {
		b := make([]byte, 256)
		n := 0
		_ = raw.Read(func(fd uintptr) bool { // what is there, without waiting
			n, _ = unix.Read(int(fd), b)
			return true
		})
		s.told = append(s.told, b[:max(n, 0)]...)
	}
	line, rest, ok := bytes.Cut(s.told, []byte("\n"))
	if !ok {
		return 0
	}
	s.told = rest
	pid, err := strconv.Atoi(string(line))
	if err != nil || pid <= 1 {
		return 0
	}
	return pid
}
