package script

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// command returns one that runs text in a shell, which here is the program.
func command(text string, args ...string) Command {
	return Command{Args: append([]string{"/bin/sh", "-c", text}, args...), Timeout: 10 * time.Second}
}

func TestRun(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   Command
		code int
		line string
		err  string // "" : none
	}{
		{"success", command("true"), 0, "", ""},
		{"last line", command("echo one; echo two >&2; echo"), 0, "two", ""},
		{"status", command("echo no; exit 3"), 3, "no", "/bin/sh: exit status 3"},
		{"signal", command("kill -TERM $$"), -1, "", "/bin/sh: signal: terminated"},
		{"arguments are not split", command(`echo "$1"`, "sh", "a  b;$(c)"), 0, "a  b;$(c)", ""},
		{"environment", Command{Args: []string{"/usr/bin/env"}, Env: []string{"UNDERSTUDY_NAME=web"}}, 0, "UNDERSTUDY_NAME=web", ""},
		{"only that", command("env | grep -cvE '^(PATH|PWD|SHLVL|_|OLDPWD)='"), 1, "0", "/bin/sh: exit status 1"},
		{"directory", command("pwd"), 0, "/", ""},
		{"no input", command("read x || echo end"), 0, "end", ""},
		{"not printable", command(`printf 'a\033[31mb\377\n'`), 0, "a?[31mb?", ""},
		{"much", command("head -c 1000000 /dev/zero | tr '\\0' x; echo; echo end"), 0, "end", ""},
		{"one long line", command("head -c 1000000 /dev/zero | tr '\\0' x"), 0, strings.Repeat("x", maxLine), ""},
		{"nothing", Command{}, -1, "", "run nothing: the command is empty; name a program"},
		{"relative", Command{Args: []string{"sh"}}, -1, "", "run sh: the path is not absolute; begin it with a slash"},
		{"missing", Command{Args: []string{"/nonexistent/x"}}, -1, "", "run /nonexistent/x: no such file or directory; correct the path"},
		{"directory as program", Command{Args: []string{"/usr"}}, -1, "", "run /usr: it is not a file; name a program"},
		{"zero byte", Command{Args: []string{"/bin/sh", "a\x00b"}}, -1, "", "run /bin/sh: an argument has a zero byte, which no program can be given; remove it"},
		{"no such user", Command{Args: []string{"/bin/sh"}, User: "no.such.user"}, -1, "", "find user no.such.user: no such user; create it, or name another"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := tt.in.Run(t.Context())
			text := ""
			if err != nil {
				text = err.Error()
			}
			if r.Code != tt.code || r.Line != tt.line || text != tt.err {
				t.Errorf("Run() = %d %q, %q; want %d %q, %q", r.Code, r.Line, text, tt.code, tt.line, tt.err)
			}
		})
	}
}

// TestTimeout has a program with a child that ignores what can be ignored; both
// are killed.
func TestTimeout(t *testing.T) {
	c := command("trap '' TERM INT HUP; sleep 100 & echo $$ $!; wait; sleep 100")
	c.Timeout = 200 * time.Millisecond
	began := time.Now()
	r, err := c.Run(t.Context())
	if !errors.Is(err, ErrTimeout) || r.Code != -1 {
		t.Errorf("Run() = %+v, %v", r, err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	expectGone(t, r.Line)
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	r, err := command("sleep 100 & echo $$ $!; wait").Run(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrTimeout) {
		t.Errorf("Run() = %+v, %v", r, err)
	}
	expectGone(t, r.Line)
	if _, err := command("true").Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Run with a context that has ended: %v", err)
	}
}

// expectGone waits until the processes have ended; who reaps the orphan may take
// its time.
func expectGone(t *testing.T, pids string) {
	t.Helper()
	for pid := range strings.FieldsSeq(pids) {
		ended := func() bool {
			stat, err := os.ReadFile("/proc/" + pid + "/stat")
			_, state, _ := strings.Cut(string(stat), ") ")
			return err != nil || strings.HasPrefix(state, "Z") || strings.HasPrefix(state, "X")
		}
		for end := time.Now().Add(5 * time.Second); !ended(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the process %s is still there", pid)
			}
		}
	}
	if len(strings.Fields(pids)) != 2 {
		t.Errorf("there are no two processes, but %q", pids)
	}
}

// TestLeftBehind has a program that ends while a process that it started holds
// its output: it has ended, and that process lives on.
func TestLeftBehind(t *testing.T) {
	began := time.Now()
	r, err := command("sleep 100 & echo $!").Run(t.Context())
	if err != nil || time.Since(began) > 5*time.Second {
		t.Errorf("Run() = %+v, %v after %s", r, err, time.Since(began))
	}
	pid, _ := strconv.Atoi(r.Line)
	if pid <= 0 {
		t.Fatalf("the line is %q", r.Line)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("the process that was left behind: %v", err)
	}
}

func TestRunAsAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		c := command("echo $(id -un) $(awk '/^CapEff|^CapAmb/ { print $2 }' /proc/self/status)")
		r, err := c.Run(t.Context())
		if want := DefaultUser() + " 0000000000000000 0000000000000000"; err != nil || r.Line != want {
			t.Errorf("Run() = %+v, %v, want the line %q", r, err, want)
		}
		c.User = "root"
		if _, err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "only root can") {
			t.Errorf("as root: %v", err)
		}
		return
	}
	const whoami = "echo $(id -un) $(id -g) $(id -G) $(awk '/^CapEff|^CapAmb/ { print $2 }' /proc/self/status)"
	for _, tt := range []struct{ user, want string }{
		{"", "nobody 65534 65534 0000000000000000 0000000000000000"},
		{"nobody", "nobody 65534 65534 0000000000000000 0000000000000000"},
		{"root", "root 0 "},
	} {
		c := command(whoami)
		c.User = tt.user
		r, err := c.Run(t.Context())
		if err != nil || !strings.HasPrefix(r.Line, tt.want) {
			t.Errorf("as %q: %q, %v, want %q", tt.user, r.Line, err, tt.want)
		}
	}
}

// TestPriority checks that a program does not inherit that of the daemon, and
// that the daemon keeps its own.
func TestPriority(t *testing.T) {
	// Each thread has its own.
	set := func(nice int) (err error) {
		tasks, err := os.ReadDir("/proc/self/task")
		for _, task := range tasks {
			tid, _ := strconv.Atoi(task.Name())
			if e := syscall.Setpriority(syscall.PRIO_PROCESS, tid, nice); e != nil && !errors.Is(e, syscall.ESRCH) {
				err = e
			}
		}
		return err
	}
	before, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0) // 20 less the nice value
	if err != nil {
		t.Fatal(err)
	}
	if err := set(-5); err != nil {
		t.Skipf("the priority cannot be raised: %v", err)
	}
	defer func() { _ = set(20 - before) }()
	for range 4 {
		r, err := command("nice").Run(t.Context())
		if err != nil || r.Line != "0" {
			t.Errorf("the program has the nice value %q, %v", r.Line, err)
		}
		if now, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0); err != nil || now != 25 {
			t.Errorf("the daemon has the nice value %d, %v", 20-now, err)
		}
	}
}

func TestCheckAsRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make files of root")
	}
	// Below /tmp everything is in reach of everybody.
	dir, err := os.MkdirTemp("/root", "script")
	if err != nil {
		t.Skipf("no directory of root's own: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	file := func(name string, mode os.FileMode, uid, gid int) string {
		p := filepath.Join(dir, name)
		must(t, os.WriteFile(p, []byte("#!/bin/sh\n"), 0o700))
		must(t, os.Chown(p, uid, gid))
		must(t, os.Chmod(p, mode))
		return p
	}
	in := func(name string, mode os.FileMode) string {
		must(t, os.Mkdir(filepath.Join(dir, name), 0o755))
		must(t, os.Chmod(filepath.Join(dir, name), mode))
		return file(name+"/x", 0o755, 0, 0)
	}
	link := func(name, to string) string {
		must(t, os.Symlink(to, filepath.Join(dir, name)))
		return filepath.Join(dir, name)
	}
	good := file("good", 0o755, 0, 0)
	open := in("open", 0o777)
	temp := filepath.Join(t.TempDir(), "x")
	must(t, os.WriteFile(temp, []byte("#!/bin/sh\n"), 0o755))
	for _, tt := range []struct{ name, in, want string }{
		{"root's", good, ""},
		{"root's group may write", file("rootgroup", 0o775, 0, 0), ""},
		{"somebody's", file("owned", 0o755, 65534, 0), "owned belongs to user 65534; chown root"},
		{"everybody may write", file("world", 0o757, 0, 0), "everybody can write " + dir + "/world; chmod o-w"},
		{"a group may write", file("group", 0o775, 0, 65534), "group 65534 can write " + dir + "/group; chmod g-w"},
		{"not executable", file("plain", 0o644, 0, 0), "it is not executable; chmod +x"},
		{"in an open directory", open, "everybody can write " + dir + "/open; chmod o-w"},
		{"behind an open directory", dir + "/open/../good", "everybody can write " + dir + "/open"},
		{"below /tmp", temp, "everybody can write /tmp; chmod o-w"},
		{"link", link("link", "good"), ""},
		{"absolute link", link("absolute", good), ""},
		{"link to an open directory", link("way", "open/x"), "everybody can write " + dir + "/open"},
		{"link in an open directory", filepath.Dir(open) + "/l", "everybody can write " + dir + "/open"},
		{"link to itself", link("loop", "loop"), "too many levels of symbolic links"},
		{"link to somebody's", link("tosomebody", "owned"), "owned belongs to user 65534"},
	} {
		if tt.name == "link in an open directory" {
			must(t, os.Symlink("../good", tt.in))
		}
		t.Run(tt.name, func(t *testing.T) {
			err := Check([]string{tt.in}, "root")
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("Check(%s) = %v, want %q", tt.in, err, tt.want)
			}
		})
	}
	// Another user runs what there is.
	if err := Check([]string{open}, ""); err != nil {
		t.Errorf("as the default user: %v", err)
	}
	if _, err := (Command{Args: []string{open}, User: "root"}).Run(t.Context()); err == nil {
		t.Error("root ran a program that everybody can write")
	}
	// Nobody cannot reach a file below /root.
	if _, err := (Command{Args: []string{good}}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "user nobody has to be able to reach") {
		t.Errorf("out of reach: %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTail(t *testing.T) {
	var whole strings.Builder
	var kept tail
	for i := range 5000 {
		s := fmt.Sprint(i, strings.Repeat(" ", i%7))
		whole.WriteString(s)
		if n, err := kept.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatal(n, err)
		}
		want := whole.String()
		want = want[max(len(want)-keep, 0):]
		if string(kept.end) != want {
			t.Fatalf("after %d writes it holds %q, want %q", i, kept.end, want)
		}
	}
	if _, _ = kept.Write([]byte(strings.Repeat("y", 3*keep))); string(kept.end) != strings.Repeat("y", keep) {
		t.Errorf("it holds %q", kept.end)
	}
}
