package track

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// Inode numbers of the first namespaces (linux/proc_ns.h).
const (
	firstUser = 0xEFFFFFFD // PROC_USER_INIT_INO
	firstPID  = 0xEFFFFFFC // PROC_PID_INIT_INO
)

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// mayConnect reports whether the kernel has to let this process subscribe to
// process events; otherwise why not.
func mayConnect(t *testing.T) (bool, string) {
	switch {
	case os.Geteuid() != 0:
		return false, "needs root"
	case inode(t, "/proc/self/ns/user") != firstUser, inode(t, "/proc/self/ns/pid") != firstPID:
		return false, "is not in the first namespace of users and processes"
	}
	c, err := dialConnector()
	switch {
	case err == nil:
		c.Close()
	case errors.Is(err, unix.ECONNREFUSED):
		return false, "is in a network namespace to which the kernel does not listen, so not in the first"
	case errors.Is(err, unix.EPROTONOSUPPORT):
		return false, "is on a kernel without connector"
	}
	return true, ""
}

// TestProcessOfTheKernel counts processes that come and go, by the connector where
// there must be one, and otherwise by looking.
func TestProcessOfTheKernel(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	// Longer than what the kernel keeps of a name: told by its first argument.
	path := filepath.Join(t.TempDir(), "understudy-track-sleeper")
	in, err := os.Open(sleep)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(path)
	w := watch(t, Item{Target: Target{Kind: Process, Name: name, Count: 2}})
	w.until(t, "none", func() error { return nil }, fault)
	note := w.Lookup("web").Items[0].Note
	can, why := mayConnect(t)
	if can && note != "" {
		t.Fatalf("cannot have the connector: %q", note)
	}
	connected := note == ""

	start := func() *exec.Cmd {
		cmd := exec.Command(path, "60")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	end := func(cmd *exec.Cmd) {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	first := start()
	defer end(first)
	var came, went []time.Duration
	rounds := 20
	if !connected {
		rounds = 1
	}
	for range rounds {
		var second *exec.Cmd
		came = append(came, w.until(t, "a second", func() error { second = start(); return nil }, passes))
		went = append(went, w.until(t, "it ends", func() error { return second.Process.Kill() }, fault))
		end(second)
	}
	if !connected {
		t.Skipf("no process events: the test %s; looking for processes took %v and %v", why, came, went)
	}
	summary(t, "started", came)
	summary(t, "killed", went)
}

func TestConnectorIsRefusedElsewhere(t *testing.T) {
	if !again(t) { // in another network namespace
		return
	}
	start := time.Now()
	c, err := dialConnector()
	if err == nil {
		c.Close()
		t.Fatal("subscribed in another network namespace")
	}
	t.Logf("after %v: %v", time.Since(start).Round(time.Millisecond), err)
}

// procDatagram is what the kernel sends.
func procDatagram(what uint32, data ...uint32) []byte {
	b := make([]byte, cnHeader)
	binary.NativeEndian.PutUint32(b, cnIdxProc)
	binary.NativeEndian.PutUint32(b[4:], cnValProc)
	binary.NativeEndian.PutUint32(b[12:], 78)
	binary.NativeEndian.PutUint16(b[16:], uint16(eventHeader+4*len(data)))
	b = binary.NativeEndian.AppendUint32(b, what)
	b = append(b, make([]byte, 12)...)
	for _, d := range data {
		b = binary.NativeEndian.AppendUint32(b, d)
	}
	return request(unix.NLMSG_DONE, 0, 1, b)
}

func TestParseProcEvents(t *testing.T) {
	tests := []struct {
		name string
		in   []byte
		want []procEvent
		bad  bool
	}{
		{name: "fork", in: procDatagram(eventFork, 10, 9, 20, 20), want: []procEvent{{procFork, 20, 9}}},
		{name: "a thread", in: procDatagram(eventFork, 9, 9, 20, 9)},
		{name: "exec", in: procDatagram(eventExec, 20, 20), want: []procEvent{{procName, 20, 0}}},
		{name: "a new name", in: procDatagram(eventComm, 20, 20, 1, 2, 3, 4), want: []procEvent{{procName, 20, 0}}},
		{name: "a new name of a thread", in: procDatagram(eventComm, 21, 20, 1, 2, 3, 4)},
		{name: "exit", in: procDatagram(eventExit, 20, 20, 0, 9, 1, 1), want: []procEvent{{procExit, 20, 0}}},
		{name: "exit of a thread", in: procDatagram(eventExit, 21, 20, 0, 9, 1, 1)},
		{name: "what is of no interest", in: procDatagram(4, 20, 20, 0, 0)},
		{name: "acknowledgement", in: procDatagram(eventNone, 0)},
		{name: "short exit", in: procDatagram(eventExit, 20), bad: true},
		{name: "cut off", in: procDatagram(eventExit, 20, 20)[:50], bad: true},
		{name: "of another", in: request(unix.NLMSG_DONE, 0, 1, make([]byte, 60)), bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := appendProcEvents(nil, tt.in)
			if (err != nil) != tt.bad {
				t.Errorf("error %v", err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(procEvent{})); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, tt := range []struct {
		in    []byte
		token uint32
		code  int
		ok    bool
	}{
		{procDatagram(eventNone, 0), 77, 0, true},
		{procDatagram(eventNone, 1), 77, 1, true},
		{procDatagram(eventNone, 0xFFFFFFFF), 77, 1, true},
		{procDatagram(eventNone, 0x80000000), 77, 1 << 31, true},
		{procDatagram(eventNone, 0), 78, 0, false},
		{procDatagram(eventNone), 77, 0, false},
		{procDatagram(eventExit, 20, 20), 77, 0, false},
		{nil, 77, 0, false},
	} {
		if code, ok := parseAcknowledgement(tt.in, tt.token); code != tt.code || ok != tt.ok {
			t.Errorf("%d, %t; want %d, %t", code, ok, tt.code, tt.ok)
		}
	}
}

func TestReceiveSaysWhatIsLost(t *testing.T) {
	n, err := openNetlink(unix.NETLINK_ROUTE, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	n.buf = n.buf[:64] // less than any answer takes
	body := make([]byte, unix.SizeofIfInfomsg)
	if err := errors.Join(n.send(request(unix.RTM_GETLINK, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, 1, body)), n.deadline(time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := n.receive(1, func(b []byte) { t.Errorf("%d bytes", len(b)) }); !errors.Is(err, errOverflow) {
		t.Errorf("error %v", err)
	}
}
