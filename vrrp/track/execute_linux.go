package track

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

const (
	// outputLimit is how much of the end of a command's output is kept, in bytes.
	outputLimit = 1024
	// reasonLimit bounds the line of it that is shown.
	reasonLimit = 200
	// outputDelay is how long, after the command has ended, its output is waited
	// for that others hold open.
	outputDelay = 100 * time.Millisecond
)

// execute is the runner of real commands. The command leads a process group, which
// is killed when ctx ends, and when the command has ended and left others behind.
func execute(ctx context.Context, t Target, env []string) (pass bool, reason string) {
	words := t.Command.Words()
	if len(words) == 0 {
		return false, "there is no command"
	}
	path, err := filepath.EvalSymlinks(words[0])
	if err != nil {
		return false, fmt.Sprintf("find executable: %v", err)
	}
	as, err := lookUp(t.User)
	if err != nil {
		return false, err.Error()
	}
	if as.uid == 0 {
		if err := trusted(path); err != nil {
			return false, fmt.Sprintf("not run as root: %v", err)
		}
	}
	// The command dies with the thread that has started it, so this one stays
	// with it: a daemon that is killed leaves no command behind.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var output tail
	cmd := &exec.Cmd{
		Path: path, Args: words, Env: env, Dir: "/", Stdout: &output, Stderr: &output, WaitDelay: outputDelay,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: as.credential},
	}
	if err := cmd.Start(); err != nil {
		return false, fmt.Sprintf("start command: %v", err)
	}
	group := -cmd.Process.Pid
	killed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(killed)
		_ = unix.Kill(group, unix.SIGKILL)
	})
	// As long as the command is not waited for, its process group cannot be
	// another's.
	for errors.Is(unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
	}
	late := ctx.Err()
	if !stop() {
		<-killed
	}
	_ = unix.Kill(group, unix.SIGKILL)
	err = cmd.Wait() // what it says of the output does not matter
	line := output.line()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case !ok:
		return false, fmt.Sprintf("wait for command: %v", err)
	case errors.Is(late, context.DeadlineExceeded) && status.Signaled():
		return false, join(fmt.Sprintf("no result within %v", t.Timeout), line)
	case status.Signaled():
		return false, join(fmt.Sprintf("killed by signal %d (%v)", int(status.Signal()), status.Signal()), line)
	case status.ExitStatus() != 0:
		return false, join(fmt.Sprintf("exit status %d", status.ExitStatus()), line)
	}
	return true, join("exit status 0", line)
}

func join(what, line string) string {
	if line == "" {
		return what
	}
	return what + ": " + line
}

// tail keeps the end of what is written to it.
type tail struct{ kept []byte }

func (t *tail) Write(b []byte) (int, error) {
	n := len(b)
	b = b[max(0, len(b)-outputLimit):]
	if over := len(t.kept) + len(b) - outputLimit; over > 0 {
		t.kept = t.kept[:copy(t.kept, t.kept[over:])]
	}
	t.kept = append(t.kept, b...)
	return n, nil
}

// line returns the last line that is not blank, as a terminal can show it.
func (t *tail) line() string {
	lines := strings.Split(strings.TrimSpace(strings.ToValidUTF8(string(t.kept), "?")), "\n")
	line := strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, strings.TrimSpace(lines[len(lines)-1]))
	if len(line) > reasonLimit {
		cut := reasonLimit
		for !utf8.RuneStart(line[cut]) {
			cut--
		}
		line = line[:cut] + "..."
	}
	return line
}
