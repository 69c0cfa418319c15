package ipvsadm_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/cmd/understudy/ipvsadm"
	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// The tests named TestKernel want a kernel with IPVS, whose table they empty,
// and Debian's ipvsadm beside ours. integration runs them in a kernel of its own.
const kernelEnv = "UNDERSTUDY_TEST_IPVS"

// childEnv makes the test binary be our ipvsadm.
const childEnv = "UNDERSTUDY_IPVSADM_TEST_CHILD"

func TestMain(m *testing.M) {
	// ipvsadm; an init or a user may have a shorter PATH.
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/usr/bin:/sbin:/bin")
	if os.Getenv(childEnv) != "" {
		p := ipvsadm.Program{
			Names:  ipvsadm.SystemNames(),
			Open:   func() (ipvsadm.Kernel, error) { return genl.Open() },
			Stdin:  os.Stdin,
			Stdout: os.Stdout,
			Stderr: os.Stderr,
		}
		os.Exit(status(p.Run(context.Background(), os.Args[1:])))
	}
	os.Exit(m.Run())
}

// status is the exit status of an error.
func status(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, err)
	if e, ok := errors.AsType[*ipvsadm.Error](err); ok {
		return e.Status
	}
	return 1
}

func TestKernelOperatorsLines(t *testing.T) {
	r := needKernel(t)
	steps := []string{
		"-C",
		"-A -t 192.168.100.200:80 -s rr -p 20",
		"-a -t 192.168.100.200:80 -r 192.168.100.233 -g -w 1",
		"-a -t 192.168.100.200:80 -r 192.168.100.232 -g -w 1",
		"-L",
		"-L -n",
		"-L -n --stats",
		"",
		"-d -t 192.168.100.200:80 -r 192.168.100.233",
		"-L",
		"-D -t 192.168.100.200:80",
		"-L",
	}
	type after struct {
		step, stdout, table string
		status              int
	}
	play := func(program func(args ...string) result) (all []after) {
		r.empty()
		for _, s := range steps {
			res := program(strings.Fields(s)...)
			all = append(all, after{s, res.stdout, r.saved(), res.status})
		}
		return all
	}
	want := play(func(args ...string) result { return r.theirs("", args...) })
	if !strings.Contains(want[4].stdout, "192.168.100.200:http rr persistent 20") || !strings.Contains(want[3].table, "192.168.100.232:80") {
		t.Fatalf("ipvsadm did something else than is compared here: %+v", want[3:5])
	}
	compare := cmp.AllowUnexported(after{})
	if d := cmp.Diff(want, play(r.child), compare); d != "" {
		t.Errorf("our program as a process (-ipvsadm +ours):\n%s", d)
	}
	if d := cmp.Diff(want, play(func(args ...string) result { return r.ours("", args...) }), compare); d != "" {
		t.Errorf("our program (-ipvsadm +ours):\n%s", d)
	}
}

func TestKernelWrongAddress(t *testing.T) {
	r := needKernel(t)
	r.ours("", "-A", "-t", "192.168.100.200:80")
	before := r.saved()
	begin := time.Now()
	got := r.child("-a", "-t", "192.168.100.200:80", "-r", "192.168.100.2333")
	if got.status != 2 || got.stdout != "" || !strings.Contains(got.stderr, "192.168.100.2333 is no IPv4 address") {
		t.Errorf("%+v, want status 2 and an error that says so", got)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("took %v: was it looked up?", took)
	}
	if d := cmp.Diff(before, r.saved()); d != "" || before == "" {
		t.Errorf("the table changed (-before +after):\n%s", d)
	}
}

// TestKernelRefused runs what both programs, or the kernel, refuse.
func TestKernelRefused(t *testing.T) {
	r := needKernel(t)
	setup := "-A -t 192.0.2.1:80 -s rr\n-a -t 192.0.2.1:80 -r 10.0.0.1\n-A -f 5 -6\n"
	if res := r.ours(setup, "-R"); res.status != 0 {
		t.Fatal(res.stderr)
	}
	before := r.saved()
	for _, s := range refusedLines {
		want, got := r.theirs("", strings.Fields(s)...), r.ours("", strings.Fields(s)...)
		if want.status == 0 {
			t.Errorf("%s: ipvsadm carries it out", s)
		}
		if got.status != want.status || got.stderr == "" || got.stdout != "" {
			t.Errorf("%s: %+v; ipvsadm has status %d", s, got, want.status)
		}
	}
	if d := cmp.Diff(before, r.saved()); d != "" {
		t.Errorf("the table changed (-before +after):\n%s", d)
	}
}

var refusedLines = []string{
	"-A -t 192.0.2.1:80",                       // exists
	"-E -t 192.0.2.1:81",                       // does not
	"-D -u 192.0.2.1:80",                       //
	"-D -f 5",                                  // only with -6
	"-Z -t 192.0.2.1:81",                       //
	"-L -t 192.0.2.1:81",                       //
	"-a -t 192.0.2.1:80 -r 10.0.0.1",           // exists
	"-a -t 192.0.2.1:81 -r 10.0.0.1",           // no service
	"-e -t 192.0.2.1:80 -r 10.0.0.2",           // no server
	"-d -t 192.0.2.1:80 -r 10.0.0.2",           //
	"-a -t 192.0.2.1:80 -r 10.0.0.2 -x 3 -y 4", // thresholds
	"-a -t 192.0.2.1:80 -r 2001:db8::1 -m",     // families
	"-a -f 5 -6 -r 10.0.0.1",                   //
	"-A -t 192.0.2.2:80 -s nosuch",             // scheduler
	"-A -u 192.0.2.2:80 -p --pe nosuch",        // engine
	"-A -t 192.0.2.2:80 -s mh -b sh-port",      // flag of another
	"-A -t 192.0.2.2",                          // port
	"-A -t 192.0.2.2:80 -o",                    // UDP only
	"-A -t 192.0.2.2:80 -p 0",                  // numbers
	"-A -t 192.0.2.2:80 -p 2678401",            //
	"-A -t 192.0.2.2:65536",                    //
	"-A -f 0",                                  //
	"-A -f 4294967296",                         //
	"-a -t 192.0.2.1:80 -r 10.0.0.2 -w -1",     //
	"-a -t 192.0.2.1:80 -r 10.0.0.2 -i --tun-type gue",
	"-a -t 192.0.2.1:80 -r 10.0.0.2 -i --tun-type gre --tun-remcsum",
	"-a -t 192.0.2.1:80 -r 10.0.0.2 --tun-type ipip",
	"-a -t 192.0.2.1:80 -r 10.0.0.2 -g -m",
	"-A -t 192.0.2.2:80 -u 192.0.2.2:80",
	"-A -t 192.0.2.2:80 extra",
	"-A -t 192.0.2.2:80 --nosuch",
	"-A -t 192.0.2.2:80 -s",
	"-A -t 192.0.2.2:80 -w 1",
	"-A -t 192.0.2.256:80",
	"-C -t 192.0.2.1:80",
	"-L -n --stats --timeout",
	"-t 192.0.2.2:80 -A",
	"--lis",
	"--set 1 2",
	"--set 1 2 x",
	"--start-daemon both",
	"--start-daemon master --mcast-interface nosuchdevice",
	"--start-daemon master --mcast-interface lo --mcast-group 10.0.0.1",
	"--start-daemon master --mcast-interface lo --syncid 256",
	"--stop-daemon master",
}

func TestKernelSequences(t *testing.T) {
	r := needKernel(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	g := generator{rand.New(rand.NewPCG(seed, 0))}
	debian := r.debian()
	begin := time.Now()
	const sequences, single = 500, 25
	var entries, refused int
	for i := range sequences {
		steps := g.sequence()
		text := strings.Join(steps, "\n") + "\n"

		r.empty()
		switch i % 3 {
		case 0:
			for _, s := range steps {
				r.ours("", strings.Fields(s)...)
			}
		default:
			r.ours(text, "-R")
		}
		listed := r.ours("", "-Sn").stdout + r.ours("", "-Ln", "--thresholds").stdout

		// -S leaves thresholds out.
		var got, want string
		if i%single == 0 {
			table := func() string { return r.saved() + r.theirs("", "-Ln", "--thresholds").stdout }
			got = table()
			r.empty()
			for _, s := range steps {
				if res := r.theirs("", strings.Fields(s)...); res.status != 0 {
					refused++
				}
			}
			want = table()
		} else {
			got = debian.ask("-S -n\n-L -n --thresholds")
			want = debian.ask("-C\n" + text + "-S -n\n-L -n --thresholds")
		}
		entries += strings.Count("\n"+want, "\n-")
		if d := cmp.Diff(lines(want), lines(got)); d != "" {
			t.Fatalf("sequence %d of seed %d makes another table (-ipvsadm +ours):\n%s\n%s", i, seed, d, text)
		}
		if d := cmp.Diff(got, listed); d != "" {
			t.Fatalf("sequence %d of seed %d is listed otherwise (-ipvsadm +ours):\n%s\n%s", i, seed, d, text)
		}
	}
	t.Logf("%d sequences, %d entries at their ends, in %v; one command at a time, %d were refused", sequences, entries, time.Since(begin), refused)
	if entries < 5*sequences || refused == 0 {
		t.Errorf("%d entries, %d refused: the sequences do too little", entries, refused)
	}
}
