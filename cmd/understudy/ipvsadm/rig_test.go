package ipvsadm_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/understudy-ha/understudy/cmd/understudy/ipvsadm"
	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// shared is a connection that several runs use.
type shared struct{ *genl.Conn }

func (shared) Close() error { return nil }

// rig runs both programs on one kernel.
type rig struct {
	t     *testing.T
	conn  *genl.Conn
	names *ipvsadm.Names
}

// needKernel skips the test where there is no IPVS that it may use.
func needKernel(t *testing.T) *rig {
	t.Helper()
	if os.Getenv(kernelEnv) == "" {
		t.Skip("would empty the IPVS table of this machine: set " + kernelEnv + "=table if it may")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root to change the IPVS table")
	}
	conn, err := genl.Open()
	if errors.Is(err, genl.ErrMissing) {
		t.Skip("needs a kernel with IPVS")
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("ipvsadm"); err != nil {
		t.Fatal("needs ipvsadm to compare with: apt-get install ipvsadm")
	}
	r := &rig{t: t, conn: conn, names: ipvsadm.SystemNames()}
	t.Cleanup(func() {
		r.empty()
		conn.Close()
	})
	r.empty()
	return r
}

// empty empties the table.
func (r *rig) empty() {
	r.t.Helper()
	results, err := r.conn.Do(context.Background(), []genl.Message{{Op: genl.Flush}})
	if err := errors.Join(append(results, err)...); err != nil {
		r.t.Fatal(err)
	}
}

// result is what a program printed and how it ended.
type result struct {
	stdout, stderr string
	status         int
}

// ours runs our program in this process.
func (r *rig) ours(stdin string, args ...string) result {
	var out, notes bytes.Buffer
	p := ipvsadm.Program{
		Names: r.names, Open: func() (ipvsadm.Kernel, error) { return shared{r.conn}, nil },
		Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &notes,
	}
	err := p.Run(r.t.Context(), args)
	res := result{stdout: out.String(), stderr: notes.String()}
	if err != nil {
		res.stderr += err.Error()
		res.status = 1
		if e, ok := errors.AsType[*ipvsadm.Error](err); ok {
			res.status = e.Status
		}
	}
	return res
}

// child runs our program as a process.
func (r *rig) child(args ...string) result {
	r.t.Helper()
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	return r.execute(cmd)
}

// theirs runs Debian's.
func (r *rig) theirs(stdin string, args ...string) result {
	r.t.Helper()
	cmd := exec.Command("ipvsadm", args...)
	cmd.Stdin = strings.NewReader(stdin)
	return r.execute(cmd)
}

func (r *rig) execute(cmd *exec.Cmd) result {
	r.t.Helper()
	var out, notes bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &notes
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || !exit.Exited()) {
		r.t.Fatalf("%v: %v", cmd.Args, err)
	}
	return result{out.String(), notes.String(), cmd.ProcessState.ExitCode()}
}

// saved is the table as Debian's program sees it.
func (r *rig) saved() string {
	r.t.Helper()
	res := r.theirs("", "-Sn")
	if res.status != 0 {
		r.t.Fatalf("ipvsadm -Sn: %s", res.stderr)
	}
	return res.stdout
}

// lines returns the lines of s in order.
func lines(s string) []string {
	return slices.Sorted(strings.Lines(s))
}

// session is Debian's program that restores rules for as long as there are any:
// a process for every look at the table would cost more than all that is done.
type session struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Scanner
}

// debian starts a session.
func (r *rig) debian() *session {
	r.t.Helper()
	cmd := exec.Command("stdbuf", "-oL", "ipvsadm", "-R")
	in, err := cmd.StdinPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	return &session{r.t, in, bufio.NewScanner(out)}
}

// ask has rules carried out and returns what they print.
func (s *session) ask(rules string) string {
	s.t.Helper()
	// A listing that nothing else prints marks the end.
	if _, err := io.WriteString(s.in, rules+"\n-L --timeout\n"); err != nil {
		s.t.Fatalf("ipvsadm -R has ended: %v\n%s", err, rules)
	}
	var text strings.Builder
	for s.out.Scan() {
		if strings.HasPrefix(s.out.Text(), "Timeout (") {
			return text.String()
		}
		text.WriteString(s.out.Text() + "\n")
	}
	s.t.Fatalf("ipvsadm -R has ended: %v\n%s", s.out.Err(), rules)
	return ""
}
