package script

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// searchPath is the PATH of every program.
	searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	// lingering is how long output is waited for after a program has ended: a
	// process that it left behind may hold the pipe for ever.
	lingering = 100 * time.Millisecond
)

// Command is a program to be run.
type Command struct {
	Args    []string      // the first is the absolute path of the program
	User    string        // runs it; empty: DefaultUser
	Timeout time.Duration // after which it is killed, with its process group; 0: only the context ends it
	Env     []string      // beside PATH, as NAME=value
}

// Result is what is known of a program that was started.
type Result struct {
	Code int           // exit status; -1 where a signal ended it, or it was not started
	Line string        // last line of its output that is not empty, of both stdout and stderr; printable, at most 200 bytes
	Took time.Duration // from start to end
}

// ErrTimeout is wrapped by the error of Run for a program that took too long.
var ErrTimeout = errors.New("killed after its timeout")

// Run runs the program to its end. The error is nil if it exited with status 0;
// it does not repeat Result.Line. When ctx ends, or the time is up, the program
// and its process group are killed at once.
func (c Command) Run(ctx context.Context) (Result, error) {
	nothing := Result{Code: -1}
	who, err := find(c.User)
	if err != nil {
		return nothing, err
	}
	if err := who.check(c.Args); err != nil {
		return nothing, err
	}
	if err := ctx.Err(); err != nil {
		return nothing, fmt.Errorf("start %s: %w", c.Args[0], err)
	}
	limited := ctx
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, c.Timeout)
		defer cancel()
	}
	var out tail
	cmd := exec.CommandContext(limited, c.Args[0], c.Args[1:]...)
	cmd.Dir = "/"
	cmd.Env = append([]string{"PATH=" + searchPath}, c.Env...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: who.credential}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = lingering
	began := time.Now()
	if err := start(cmd); err != nil {
		return nothing, c.unstarted(who, err)
	}
	err = cmd.Wait()
	r := Result{Code: cmd.ProcessState.ExitCode(), Line: out.line(), Took: time.Since(began)}
	switch {
	case cmd.ProcessState.Success(): // though a process that it left behind may hold its output
		return r, nil
	case ctx.Err() != nil:
		return r, fmt.Errorf("%s: killed: %w", c.Args[0], ctx.Err())
	case limited.Err() != nil:
		return r, fmt.Errorf("%s: %w of %s", c.Args[0], ErrTimeout, c.Timeout)
	case err == nil:
		err = errors.New(cmd.ProcessState.String())
	}
	return r, fmt.Errorf("%s: %w", c.Args[0], err)
}

func (c Command) unstarted(who account, err error) error {
	if errors.Is(err, os.ErrPermission) && who.credential != nil {
		return fmt.Errorf("%w; user %s has to be able to reach and execute it, and the daemon needs the capabilities CAP_SETUID and CAP_SETGID",
			err, who.name)
	}
	return err
}

// start starts cmd from a thread whose children begin with an ordinary priority,
// whatever that of the daemon: a program must not compete with the election; and
// without the capabilities that a daemon that is not root was given (ambient). The
// thread ends with the goroutine, as it is locked.
func start(cmd *exec.Cmd) error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if attr, err := unix.SchedGetAttr(0, 0); err == nil {
			attr.Flags |= unix.SCHED_FLAG_RESET_ON_FORK
			_ = unix.SchedSetAttr(0, attr, 0) // at worst the program keeps our priority
		}
		_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) // fails before Linux 4.3, which has none
		started <- cmd.Start()
	}()
	return <-started
}
