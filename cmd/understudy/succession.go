package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/vrrp/notify"
	"github.com/understudy-ha/understudy/vrrp/speaker"
)

// A daemon is replaced by another process, of a new version perhaps, in these steps.
// The old one starts the new one and hands it the control socket, the locks and the
// claim of the network namespace as descriptors. The new one reads the
// configuration, opens sockets of its own for the elections, learns of the
// interfaces, and says that it is ready. The old one stops its elections without a
// word, and sends their states; the new one goes on from there and says so; the old
// one ends and leaves the kernel as it is. Until then the old one can go on itself.

// successionEnv names the descriptors that a process has got from the one before it,
// from number 3 on.
const successionEnv = "UNDERSTUDY_SUCCESSION"

// The names in successionEnv.
const (
	talkFD       = "talk" // to the process before
	controlFD    = "control"
	lockFD       = "control-lock"
	ordersFD     = "orders-lock"
	claimFD      = "claim"
	supervisorFD = "supervisor" // where to tell the number of a successor
)

const (
	// readyTime bounds how long a successor may take to be ready.
	readyTime = 20 * time.Second
	// goTime bounds how long it may take to go on, in which nobody advertises.
	goTime = time.Second
)

// message is what the two processes tell each other, one JSON value each.
type message struct {
	Ready  bool             `json:"ready,omitzero"`
	Error  string           `json:"error,omitzero"`
	States []speaker.Frozen `json:"states,omitzero"`
	Clock  int64            `json:"clock,omitzero"` // of the kernel, in nanoseconds, when States[i].At was AgeNS ago
	Ages   []int64          `json:"ages,omitzero"`  // of States, in nanoseconds
	Away   []string         `json:"away,omitzero"`  // those that were handed over by hand
	Told   []notify.Event   `json:"told,omitzero"`  // what was notified last
}

// inheritance is what a process has got from the one before it; nil: nothing.
type inheritance struct {
	files map[string]*os.File
	talk  *json.Encoder
	hear  *json.Decoder
}

// inherited returns what this process has got. It is to be called once, early.
func inherited() *inheritance {
	names := os.Getenv(successionEnv)
	os.Unsetenv(successionEnv)
	if names == "" {
		return nil
	}
	h := &inheritance{files: map[string]*os.File{}}
	for i, name := range strings.Split(names, ",") {
		unix.CloseOnExec(3 + i)
		h.files[name] = os.NewFile(uintptr(3+i), name)
	}
	if f := h.files[talkFD]; f != nil {
		h.talk, h.hear = json.NewEncoder(f), json.NewDecoder(f)
	}
	return h
}

// succeeds reports whether there is a process to succeed.
func (h *inheritance) succeeds() bool { return h != nil && h.talk != nil }

// file returns what was handed over by a name, or nil.
func (h *inheritance) file(name string) *os.File {
	if h == nil {
		return nil
	}
	return h.files[name]
}

// claim returns the claim of the network namespace that was handed over, or takes it.
func (h *inheritance) claim() (io.Closer, error) {
	f := h.file(claimFD)
	if f == nil {
		return claimNamespace(claimName)
	}
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("take over the claim of the network namespace: %w", err)
	}
	return ln, f.Close()
}

// refuse tells the process before that this one cannot follow.
func (h *inheritance) refuse(err error) {
	if h.succeeds() {
		_ = h.talk.Encode(message{Error: err.Error()})
	}
}

// states says that this process is ready, and waits for what the process before
// leaves: the states of its virtual routers, and the rest.
func (h *inheritance) states() (map[string]speaker.Frozen, message, error) {
	if err := h.talk.Encode(message{Ready: true}); err != nil {
		return nil, message{}, fmt.Errorf("tell the process before: %w", err)
	}
	var w message
	if err := h.hear.Decode(&w); err != nil {
		return nil, message{}, fmt.Errorf("hear the process before: %w", err)
	}
	now, clock := time.Now(), clockNow()
	all := map[string]speaker.Frozen{}
	for i, s := range w.States {
		if i < len(w.Ages) {
			s.At = now.Add(-time.Duration(clock - w.Clock + w.Ages[i]))
			all[s.Name] = s
		}
	}
	return all, w, nil
}

// going says that this process goes on.
func (h *inheritance) going() error { return h.talk.Encode(message{Ready: true}) }

// clockNow returns the clock of the kernel that all processes share, in nanoseconds.
func clockNow() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // this clock is always there
	return ts.Nano()
}

// successor is the process that is to follow this one.
type successor struct {
	cmd   *exec.Cmd
	conn  net.Conn
	talk  *json.Encoder
	hear  *json.Decoder
	ended chan struct{}
}

// startSuccessor starts program with the command line of this process and hands it
// files, by name.
func startSuccessor(program string, files map[string]*os.File) (*successor, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), talkFD), os.NewFile(uintptr(pair[1]), talkFD)
	defer ours.Close()
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, fmt.Errorf("make socket pair: %w", err)
	}
	cmd := exec.Command(program, os.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	names := []string{talkFD}
	cmd.ExtraFiles = []*os.File{theirs}
	for name, f := range files {
		names = append(names, name)
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, successionEnv+"=") }),
		successionEnv+"="+strings.Join(names, ","))
	err = cmd.Start()
	// What was handed over is in blocking mode now, for this process too: closing a
	// listener would wait for the next call.
	for _, f := range files {
		_ = unix.SetNonblock(int(f.Fd()), true)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	s := &successor{cmd: cmd, conn: conn, talk: json.NewEncoder(conn), hear: json.NewDecoder(io.LimitReader(conn, 1<<20)), ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		_ = cmd.Wait()
	}()
	return s, nil
}

// ready waits until the successor says that it is, for no longer than limit.
func (s *successor) ready(ctx context.Context, limit time.Duration) error {
	stop := context.AfterFunc(ctx, func() { _ = s.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := s.conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	var w message
	switch err := s.hear.Decode(&w); {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the new process has ended; its log says why")
	case err != nil:
		return fmt.Errorf("wait for the new process: %w", err)
	case w.Error != "":
		return fmt.Errorf("the new process cannot take over: %s", w.Error)
	}
	return nil
}

// hand sends the states of the elections, with what else is in w, and waits until the
// successor goes on.
func (s *successor) hand(ctx context.Context, states []speaker.Frozen, w message) error {
	w.States, w.Clock = states, clockNow()
	now := time.Now()
	for _, f := range states {
		w.Ages = append(w.Ages, int64(now.Sub(f.At)))
	}
	if err := s.conn.SetDeadline(now.Add(goTime)); err != nil {
		return err
	}
	if err := s.talk.Encode(w); err != nil {
		return fmt.Errorf("send states: %w", err)
	}
	return s.ready(ctx, goTime)
}

// give up ends a successor that does not follow.
func (s *successor) giveUp() {
	_ = s.cmd.Process.Kill()
	<-s.ended
	s.conn.Close()
}

// tellSupervisor tells the process that has started this one, if it is a supervisor,
// who follows.
func (h *inheritance) tellSupervisor(pid int) error {
	f := h.file(supervisorFD)
	if f == nil {
		return nil
	}
	_, err := f.WriteString(strconv.Itoa(pid) + "\n")
	return err
}
