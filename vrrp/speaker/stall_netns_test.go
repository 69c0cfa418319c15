package speaker

import (
	"bufio"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/director/link"
	"github.com/understudy-ha/understudy/vrrp"
)

// childEnv makes the test binary a backup on eth0 of the namespace it is started
// in, which logs to its standard output until its standard input ends.
const childEnv = "UNDERSTUDY_SPEAKER_TEST_BACKUP"

const childInterval = 100 * time.Millisecond

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	ctx, cancel := context.WithCancel(context.Background())
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	s := New("eth0", Options{Log: log})
	s.Set([]Router{web(100, childInterval)})
	w := link.New(log)
	w.Watch("eth0", s.SetLink)
	go func() { _ = w.Run(ctx) }()
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		cancel()
	}()
	if err := s.Run(ctx); err != nil {
		log.Error("run", "err", err)
		os.Exit(1)
	}
}

func TestNetnsAStoppedProcessDoesNotSeizeTheAddress(t *testing.T) {
	t.Parallel()
	nodes := cable(t)
	master, ns := nodes[0], nodes[1].ns
	master.start(t, web(150, childInterval))
	master.await(t, time.Now(), vrrp.StateMaster)

	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stderr = t.Output()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := inside(ns, cmd.Start); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scan := bufio.NewScanner(stdout); scan.Scan(); {
			lines <- scan.Text()
		}
	}()
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Process.Signal(syscall.SIGCONT)
		for range lines {
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("backup: %v", err)
		}
	})
	// expect reads the log until a line contains text.
	expect := func(text string) {
		t.Helper()
		late := time.After(patience)
		for {
			select {
			case line, ok := <-lines:
				if !ok {
					t.Fatalf("the backup ended before %q", text)
				}
				if strings.Contains(line, text) {
					return
				}
			case <-late:
				t.Fatalf("no %q within %v", text, patience)
			}
		}
	}
	expect("to=backup")

	// Stopped for three times the master-down interval, then watched for one.
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	<-time.After(3 * 361 * time.Millisecond)
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	quiet := time.After(361 * time.Millisecond)
	for done := false; !done; {
		select {
		case line := <-lines:
			t.Errorf("the backup woke up and said: %s", line)
		case <-quiet:
			done = true
		}
	}
	if s := master.Status()[0]; s.Epoch != 1 || s.Counters.Received != 0 {
		t.Errorf("the master heard %d advertisements, epoch %d", s.Counters.Received, s.Epoch)
	}

	// It does take over once the master is gone.
	master.stop()
	expect("to=master")
}
