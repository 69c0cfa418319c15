package track

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// program writes an executable that everybody can run.
func program(t *testing.T, text string) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "understudy-track-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "check")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755)); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExecute(t *testing.T) {
	tests := []struct {
		name    string
		command Argv
		timeout time.Duration
		pass    bool
		want    string // the reason holds it
		most    time.Duration
	}{
		{name: "true", command: Args("/bin/true"), pass: true, want: "exit status 0"},
		{name: "false", command: Args("/bin/false"), want: "/bin/false: exit status 1"},
		{name: "missing", command: Args("/bin/no-such-thing"), want: "no such file"},
		{name: "last line", command: Args("/bin/sh", "-c", "echo one; echo two; exit 3"), want: "exit status 3: two"},
		{name: "arguments as they are", command: Args("/bin/echo", "$HOME; a  b *"), pass: true, want: "exit status 0: $HOME; a  b *"},
		{name: "environment", command: Args("/bin/sh", "-c", "echo $UNDERSTUDY_STATE, $HOME."), pass: true, want: "fail, ."},
		{name: "flood", command: Args("/usr/bin/yes"), timeout: 100 * time.Millisecond, want: "killed after its timeout of 100ms: y", most: 2 * time.Second},
		{name: "timeout, with its children", command: Args("/bin/sh", "-c", "trap '' TERM; sleep 60 & sleep 60"), timeout: 50 * time.Millisecond, want: "killed after its timeout of 50ms", most: 2 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target := Target{Kind: Command, Command: tt.command, Timeout: max(tt.timeout, 10*time.Second)}
			if tt.timeout > 0 {
				target.Timeout = tt.timeout
			}
			start := time.Now()
			pass, reason := execute(t.Context(), target, []string{"UNDERSTUDY_STATE=fail"})
			if pass != tt.pass || !strings.Contains(reason, tt.want) {
				t.Errorf("%t, %q; want %t, %q", pass, reason, tt.pass, tt.want)
			}
			if took := time.Since(start); tt.most > 0 && took > tt.most {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	command := func(path, user string) Item {
		return Item{Target: Target{Kind: Command, Command: Args(path), User: user}}
	}
	good := map[string][]Item{"web": {command("/bin/true", ""), {Target: Target{Kind: Interface, Name: "eth1"}}}}
	if err := Check(good); err != nil {
		t.Error(err)
	}
	path := program(t, "true")
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	err := Check(map[string][]Item{
		"web": {command("/nonexistent/x", ""), command(path, "root")},
		"lan": {command("/nonexistent/x", ""), command("/bin/true", "no.such.user")},
	})
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	for i, want := range []string{`track of vrrp "lan": run /nonexistent/x: no such file`, `track of vrrp "lan": find user no.such.user`, `track of vrrp "web": `} {
		if len(lines) != 3 || !strings.Contains(lines[i], want) {
			t.Fatalf("line %d does not say %s:\n%v", i, want, err)
		}
	}
}

func TestEndKillsTheCommand(t *testing.T) {
	path := program(t, "sleep 60 & echo $! > \"$1\"; sleep 60")
	pidFile := filepath.Join(filepath.Dir(path), "pid")
	if err := errors.Join(os.WriteFile(pidFile, nil, 0o666), os.Chmod(pidFile, 0o666)); err != nil {
		t.Fatal(err)
	}
	w := New(Options{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	w.Set(one(Item{Target: Target{Kind: Command, Command: Args(path, pidFile), Interval: time.Minute, Timeout: time.Minute, Rise: 1, Fall: 1}}))
	var pid int
	waitFor(t, "the command", func() bool {
		b, _ := os.ReadFile(pidFile)
		pid, _ = strconv.Atoi(strings.TrimSpace(string(b)))
		return pid > 0
	})
	start := time.Now()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("Run took %v to end", took)
	}
	waitFor(t, "the end of the child", func() bool {
		_, alive := readProcess(pid)
		return !alive
	})
}

// waitFor polls until ok, for 10 s at most.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for %s in vain", what)
		}
	}
}

// TestCommandOfTheTracker runs real commands through all of it.
func TestCommandOfTheTracker(t *testing.T) {
	flag := filepath.Join(filepath.Dir(program(t, "true")), "flag")
	path := program(t, "test -e "+flag+" || { echo no flag; exit 1; }")
	w := New(Options{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	w.Set(one(Item{Target: Target{Kind: Command, Command: Args(path), Interval: 20 * time.Millisecond, Timeout: 10 * time.Second, Rise: 2, Fall: 2}}))
	waitFor(t, "a failure", func() bool { return w.Lookup("web").Fault })
	if r := w.Lookup("web").Reason(); !strings.Contains(r, "exit status 1: no flag") {
		t.Errorf("reason %q", r)
	}
	if err := os.WriteFile(flag, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "a pass", func() bool { return !w.Lookup("web").Fault })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
