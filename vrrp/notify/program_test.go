package notify

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/understudy-ha/understudy/vrrp/script"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func noWait(error) { panic("it waits") }

// TestProgram runs commands as the daemon does where it is not root, or as the
// user nobody where it is.
func TestProgram(t *testing.T) {
	dir := openDir(t)
	out := filepath.Join(dir, "out")
	writer := []string{"/bin/sh", "-c", `echo "$@ $UNDERSTUDY_STATE $UNDERSTUDY_ROUTER_ID" >> ` + out, "sh", "{KIND}", "{name}", "{STATE}", "{priority}"}
	failing := []string{"/bin/sh", "-c", "echo reading; echo cannot >&2; exit 7"}
	for _, tt := range []struct {
		name string
		in   Target
		err  string
	}{
		{"written", Target{Command: writer, RouterID: "lb1"}, ""},
		{"fails", Target{Command: failing}, `/bin/sh: exit status 7; it said "cannot"`},
		{"takes long", Target{Command: []string{"/bin/sleep", "60"}, Timeout: 50 * time.Millisecond}, "/bin/sleep: killed after its timeout of 50ms"},
		{"missing", Target{Command: []string{"/nonexistent/x"}}, "run /nonexistent/x: no such file or directory; correct the path"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSender(tt.in)
			defer s.close()
			err := s.send(t.Context(), event, noWait)
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || err.Error() != tt.err) {
				t.Errorf("send() = %v, want %q", err, tt.err)
			}
			if tt.name == "takes long" && !errors.Is(err, script.ErrTimeout) {
				t.Errorf("%v is not ErrTimeout", err)
			}
		})
	}
	got, err := os.ReadFile(out)
	if err != nil || string(got) != "INSTANCE web MASTER 100 master lb1\n" {
		t.Errorf("the command wrote %q, %v", got, err)
	}
}

// openDir returns a directory that the user nobody can write.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "notify")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	bad := Target{Command: []string{plain}}
	err := Check(map[Subject][]Target{
		router("b"):        {bad, {FIFO: plain}, {FIFO: filepath.Join(dir, "missing")}, {URL: "http://x"}},
		router("a"):        {bad, {Command: []string{"/bin/true"}}},
		{KindGroup, "a"}:   {{Command: []string{"/nonexistent/x"}}},
		router("nobody's"): nil,
	})
	want := strings.Join([]string{
		`notify for vrrp "a": run ` + plain + `: it is not executable; chmod +x`,
		`notify for vrrp "b": open ` + plain + `: it is not a named pipe; remove it, or name another`,
		`notify for group "a": run /nonexistent/x: no such file or directory; correct the path`,
	}, "\n")
	if err == nil || err.Error() != want {
		t.Errorf("Check() = %v\nwant %s", err, want)
	}
}

// TestCommandsInOrder runs a command for each event through a Notifier.
func TestCommandsInOrder(t *testing.T) {
	dir := openDir(t)
	out := filepath.Join(dir, "out")
	target := Target{Command: []string{"/bin/sh", "-c", "echo $1 $2 >> " + out, "sh", "{name}", "{state}"}}
	n := New(Options{})
	n.Set(map[Subject][]Target{router("a"): {target}, router("b"): {target}})
	end := runNotifier(t, n)
	var want strings.Builder
	for i := range 20 {
		state := []State{StateBackup, StateMaster}[i%2]
		for _, name := range []string{"a", "b"} {
			n.Notify(to(router(name), state))
			want.WriteString(name + " " + state.String() + "\n")
		}
	}
	poll(t, func() bool { return n.Status()[0].Delivered == 40 })
	n.Notify(to(router("a"), StateStop))
	end()
	want.WriteString("a stop\n")
	if got, err := os.ReadFile(out); err != nil || string(got) != want.String() {
		t.Errorf("the commands wrote %q, %v, want %q", got, err, want.String())
	}
}
