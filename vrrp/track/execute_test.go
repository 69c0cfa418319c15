package track

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// script writes an executable that everybody can run.
func script(t *testing.T, text string) string {
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
		script  string // or the command itself, if it begins with a slash
		args    []string
		user    string
		timeout time.Duration
		pass    bool
		want    string // the reason holds it
		most    time.Duration
	}{
		{name: "true", script: "/bin/true", pass: true, want: "exit status 0"},
		{name: "false", script: "/bin/false", want: "exit status 1"},
		{name: "no such file", script: "/bin/no-such-thing", want: "no such file"},
		{name: "not executable", script: "/etc/passwd", want: "permission denied"},
		{name: "last line", script: "echo one\necho two\necho ''\nexit 3", want: "exit status 3: two"},
		{name: "standard error, unprintable", script: `printf 'a\033[31mb\377\n' >&2; exit 1`, want: "exit status 1: a [31mb?"},
		{name: "arguments as they are", script: `echo "$2"`, args: []string{"$HOME", "a; echo b *"}, pass: true, want: "a; echo b *"},
		{name: "environment", script: "true; /usr/bin/env | /bin/grep -v '^PWD\\|^_=\\|^SHLVL' | /usr/bin/sort | /usr/bin/tr '\\n' ' '; pwd", pass: true, want: "PATH=/usr/bin:/bin UNDERSTUDY_STATE=pass /"},
		{name: "no input", script: "read line && exit 1; exit 0", pass: true},
		{name: "flood", script: "yes 0123456789 | head -c 20000000; echo; echo end", pass: true, want: "exit status 0: end"},
		{name: "flood until the end", script: "yes", timeout: 200 * time.Millisecond, want: "no result within 200ms: y", most: 2 * time.Second},
		{name: "timeout", script: "/bin/sleep", args: []string{"60"}, timeout: 50 * time.Millisecond, want: "no result within 50ms", most: time.Second},
		{name: "with its children", script: "sleep " + nap + " & sleep " + nap, timeout: 50 * time.Millisecond, want: "no result within 50ms", most: time.Second},
		{name: "deaf to signals", script: "trap '' TERM INT HUP\nsleep " + nap + "\nsleep " + nap, timeout: 50 * time.Millisecond, want: "no result within 50ms", most: time.Second},
		{name: "leaves others behind", script: "sleep " + nap + " &\nexit 0", pass: true, most: time.Second},
		{name: "leaves a session behind that holds its output", script: "setsid sleep 1 &\nexit 0", pass: true, most: 800 * time.Millisecond},
		{name: "killed", script: "kill -SEGV $$", want: "killed by signal 11"},
		{name: "no such user", script: "/bin/true", user: "no-such-user", want: "look up user no-such-user"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := tt.script
			if !strings.HasPrefix(path, "/") {
				path = script(t, tt.script)
			}
			target := Target{Kind: Command, Command: Args(append([]string{path}, tt.args...)...), User: tt.user, Timeout: tt.timeout}
			if target.Timeout == 0 {
				target.Timeout = 20 * time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), target.Timeout)
			defer cancel()
			start := time.Now()
			pass, reason := execute(ctx, target, []string{"PATH=/usr/bin:/bin", "UNDERSTUDY_STATE=pass"})
			if pass != tt.pass || !strings.Contains(reason, tt.want) {
				t.Errorf("%t, %q; want %t, %q", pass, reason, tt.pass, tt.want)
			}
			if took := time.Since(start); tt.most > 0 && took > tt.most {
				t.Errorf("took %v", took)
			}
			if n := sleepers(t); n != 0 {
				t.Errorf("%d processes are left", n)
			}
		})
	}
}

// sleepers counts the processes that still sleep for as long as only those do that
// this test has started.
func sleepers(t *testing.T) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil && strings.HasPrefix(string(b), "sleep\x00"+nap+"\x00") {
			n++
		}
	}
	return n
}

// nap is a time that nobody else sleeps for.
var nap = "60." + strconv.Itoa(os.Getpid())

func TestShutdownKillsTheCommand(t *testing.T) {
	path := script(t, "sleep 60 & echo $! > \"$1\"; sleep 60")
	pidFile := filepath.Join(filepath.Dir(path), "pid")
	if err := os.WriteFile(pidFile, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	_ = os.Chmod(pidFile, 0o666)
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

func TestCommandRunsAsItsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		if as, err := lookUp(""); err != nil || as.credential != nil || int(as.uid) != os.Geteuid() {
			t.Errorf("%+v, %v", as, err)
		}
		if _, err := lookUp("root"); err == nil || !strings.Contains(err.Error(), "only root") {
			t.Errorf("as root: %v", err)
		}
		return
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	path := script(t, "id -u; id -G | tr '\\n' ' '; test \"$(id -u)\" != 0")
	for name, want := range map[string]string{"": "exit status 0: " + nobody.Gid, "nobody": "exit status 0: " + nobody.Gid, "root": "can be written"} {
		if name == "root" {
			_ = os.Chmod(path, 0o777)
		}
		_, reason := execute(t.Context(), Target{Command: Args(path), User: name, Timeout: time.Second}, []string{searchPath})
		if !strings.Contains(reason, want) {
			t.Errorf("as %q: %q, want %q", name, reason, want)
		}
	}
}

func TestTrusted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make files that root owns")
	}
	dir := filepath.Dir(script(t, "true"))
	file := func(name string, mode fs.FileMode, uid int) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o755), os.Chmod(path, mode), os.Chown(path, uid, 0)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	open := file("open/check", 0o755, 0)
	theirs := file("theirs/check", 0o755, 0)
	if err := errors.Join(os.Chmod(filepath.Dir(open), 0o777), os.Chown(filepath.Dir(theirs), 65534, 0), os.Symlink(open, filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, path, user, want string }{
		{"good", file("good", 0o755, 0), "root", ""},
		{"group can write", file("group", 0o775, 0), "root", "can be written"},
		{"others can write", file("others", 0o757, 0), "root", "can be written"},
		{"of somebody else", file("else", 0o755, 65534), "root", "not owned by root"},
		{"not executable", file("plain", 0o644, 0), "root", "not executable"},
		{"directory", dir, "root", "not a file"},
		{"in a directory that others can write", open, "root", "open can be written"},
		{"in a directory of somebody else", theirs, "root", "theirs is not owned"},
		{"by a link", filepath.Join(dir, "link"), "root", "open can be written"},
		{"missing", filepath.Join(dir, "missing"), "root", "no such file"},
		{"others can write, for nobody", filepath.Join(dir, "others"), "nobody", ""},
		{"others can write, by default", filepath.Join(dir, "others"), "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := CheckRoot(tt.user, tt.path)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func TestTail(t *testing.T) {
	var out tail
	for range 1000 {
		_, _ = out.Write([]byte("0123456789"))
	}
	if len(out.kept) != outputLimit || !strings.HasSuffix(string(out.kept), "6789") {
		t.Errorf("%d bytes: %q", len(out.kept), out.kept)
	}
	_, _ = out.Write([]byte("\n" + strings.Repeat("é", reasonLimit)))
	if line := out.line(); len(line) > reasonLimit+3 || !utf8.ValidString(line) {
		t.Errorf("%d bytes: %q", len(line), line)
	}
	_, _ = out.Write(make([]byte, 10*outputLimit))
	if len(out.kept) != outputLimit || cap(out.kept) > 4*outputLimit {
		t.Errorf("%d bytes of %d", len(out.kept), cap(out.kept))
	}
}

// TestCommandOfTheTracker runs real commands through all of it.
func TestCommandOfTheTracker(t *testing.T) {
	flag := filepath.Join(filepath.Dir(script(t, "true")), "flag")
	path := script(t, "test -e "+flag+" || { echo no flag; exit 1; }")
	w := New(Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	w.Set(one(Item{Target: Target{Kind: Command, Command: Args(path), Interval: 20 * time.Millisecond, Timeout: 20 * time.Second, Rise: 2, Fall: 2}}))
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
	if err := unix.Access(path, unix.X_OK); err != nil {
		t.Error(err)
	}
}
