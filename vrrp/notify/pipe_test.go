package notify

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// runNotifier runs n; what it returns ends it.
func runNotifier(t *testing.T, n *Notifier) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	end = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
	t.Cleanup(end)
	return end
}

func poll(t *testing.T, ready func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ready(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen within 10 s")
		}
	}
}

// reader reads lines from a pipe, as a program of the operator would.
type reader struct {
	file *os.File
	*bufio.Reader
}

func openReader(t *testing.T, path string) reader {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	if err := file.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return reader{file, bufio.NewReader(file)}
}

func (r reader) expect(t *testing.T, want string) {
	t.Helper()
	if got, err := r.ReadString('\n'); err != nil || got != want+"\n" {
		t.Errorf("read %q, %v, want %q", got, err, want)
	}
}

// TestPipe has a reader that comes late, one that goes away, and one that makes a
// pipe of its own.
func TestPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	n := New(Options{})
	a, g := router("a"), Subject{KindGroup, "g"}
	n.Set(map[Subject][]Target{a: {{FIFO: path}}, g: {{FIFO: path, On: Of(StateMaster)}}})
	end := runNotifier(t, n)
	send := func(e Event) {
		t.Helper()
		before := n.Status()[0].Delivered
		n.Notify(e)
		poll(t, func() bool { return n.Status()[0].Delivered > before })
	}
	master := Event{Subject: a, To: StateMaster, Priority: 100}
	send(Event{Subject: a, To: StateBackup, Priority: 100})
	send(master)
	if info, err := os.Lstat(path); err != nil || info.Mode() != fs.ModeNamedPipe|0o600 {
		t.Errorf("the pipe is %v, %v", info.Mode(), err)
	}
	late := openReader(t, path)
	late.expect(t, `INSTANCE "a" BACKUP 100`)
	late.expect(t, `INSTANCE "a" MASTER 100`)
	send(Event{Subject: g, To: StateMaster})
	late.expect(t, `GROUP "g" MASTER 0`)
	_ = late.file.Close()
	send(Event{Subject: a, To: StateFault, Priority: 100})
	next := openReader(t, path)
	next.expect(t, `INSTANCE "a" FAULT 100`)

	if err := errors.Join(os.Remove(path), unix.Mkfifo(path, 0o666)); err != nil {
		t.Fatal(err)
	}
	other := openReader(t, path)
	send(master)
	other.expect(t, `INSTANCE "a" MASTER 100`)
	n.Notify(Event{Subject: a, To: StateStop, Priority: 100})
	end()
	other.expect(t, `INSTANCE "a" STOP 100`)
}

// smallPipe makes a pipe that holds a page, and returns who could read it.
func smallPipe(t *testing.T) (path string, r reader) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	r = openReader(t, path)
	if _, err := unix.FcntlInt(r.file.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(int(r.file.Fd()), true); err != nil { // which Fd has taken back
		t.Fatal(err)
	}
	return path, r
}

// TestPipeThatIsFull fills a pipe that nobody reads. The election does not wait,
// and who reads at last finds the newest state at the end.
func TestPipeThatIsFull(t *testing.T) {
	path, r := smallPipe(t)
	n := New(Options{})
	a := Subject{KindRouter, strings.Repeat("a", 64)}
	n.Set(map[Subject][]Target{a: {{FIFO: path}}})
	runNotifier(t, n)
	for i := range 4000 {
		n.Notify(Event{Subject: a, To: []State{StateBackup, StateMaster}[i%2]})
	}
	n.Notify(Event{Subject: a, To: StateFault})
	poll(t, func() bool { return n.Status()[0].Failing })
	st := n.Status()[0]
	if st.LastError != "write "+path+": the pipe is full; nobody reads it" || st.Waiting > maxQueue+1 || st.Failed > 0 {
		t.Errorf("%+v", st)
	}
	lines, last := 0, ""
	for !strings.Contains(last, "FAULT") {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		lines, last = lines+1, line
	}
	poll(t, func() bool { return n.Status()[0].Waiting == 0 })
	st = n.Status()[0]
	if st.Delivered != uint64(lines) || st.Delivered+st.Dropped != 4001 || st.Failing {
		t.Errorf("%d lines, %+v", lines, st)
	}
}

// TestPipeAtTheStop checks that a full pipe holds up the stop for its bound alone.
func TestPipeAtTheStop(t *testing.T) {
	path, _ := smallPipe(t)
	n := New(Options{})
	a := Subject{KindRouter, strings.Repeat("a", 64)}
	n.Set(map[Subject][]Target{a: {{FIFO: path}}})
	end := runNotifier(t, n)
	for i := range 4000 {
		n.Notify(Event{Subject: a, To: []State{StateBackup, StateMaster}[i%2]})
	}
	poll(t, func() bool { return n.Status()[0].Failing })
	began := time.Now()
	end()
	if took := time.Since(began); took > DrainLimit+time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestPipeThatIsNone(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(file, []byte("x"), 0o600), unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600), os.Symlink("pipe", link)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, in, want string }{
		{"file", file, "open " + file + ": it is not a named pipe; remove it, or name another"},
		{"link", link, "open " + link + ": it is not a named pipe; remove it, or name another"},
		{"directory", dir, "open " + dir + ": it is not a named pipe; remove it, or name another"},
		{"nowhere", "/nonexistent/pipe", "make pipe /nonexistent/pipe: no such file or directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSender(Target{FIFO: tt.in})
			defer s.close()
			if err := s.send(t.Context(), event, noWait); fmt.Sprint(err) != tt.want {
				t.Errorf("send() = %v, want %s", err, tt.want)
			}
		})
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "x" {
		t.Errorf("the file holds %q, %v", data, err)
	}
}
