package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// try runs a command line and returns its exit status and what it printed.
func try(args ...string) (status int, stdout, stderr string) {
	var out, err bytes.Buffer
	status = execute(args, &out, &err)
	return status, out.String(), err.String()
}

// TestCheckBroken runs "understudy check" on every broken file: each line that
// says "want" must be named with the right file and number, and no other.
func TestCheckBroken(t *testing.T) {
	files, err := filepath.Glob("../../configs/testdata/broken/*.toml")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("%d broken files, want at least 20", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			status, stdout, stderr := try("check", file)
			if status != 1 || stdout != "" {
				t.Errorf("exit status %d, printed %q; want 1 and nothing", status, stdout)
			}
			got := map[string]int{}
			for line := range strings.Lines(stderr) {
				m := regexp.MustCompile(`^(.+?:\d+): .+`).FindStringSubmatch(line)
				if m == nil {
					if !strings.HasPrefix(line, file+": ") { // of the file as a whole
						t.Errorf("no FILE:LINE in %q", line)
					}
					continue
				}
				got[m[1]]++
			}
			want := map[string]int{}
			for i, line := range strings.Split(string(content), "\n") {
				if n := strings.Count(line, "# want: "); n > 0 {
					want[file+":"+strconv.Itoa(i+1)] = n
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("problems by line (-want +got):\n%s\nprinted:\n%s", diff, stderr)
			}
		})
	}
}

func TestCheckGood(t *testing.T) {
	for _, c := range []struct{ file, want string }{
		{"pair/lb1.toml", "good: 1 virtual router, 1 service, 3 real servers\n"},
		{"standalone/director.toml", "good: 0 virtual routers"},
		{"vrrp-only/a.toml", " 0 services, 0 real servers\n"},
	} {
		status, stdout, stderr := try("check", "../../configs/examples/"+c.file)
		if status != 0 || stderr != "" || !strings.Contains(stdout, c.want) {
			t.Errorf("%s: status %d, %q, %q; want 0 and %q", c.file, status, stdout, stderr, c.want)
		}
	}
}

func TestErrors(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"check"}, "accepts 1 arg"},
		{[]string{"check", none}, none},
		{[]string{"run", "--config", none}, none},
		{[]string{"run", "--config", "../../configs/testdata/broken/wrong-case.toml"}, "wrong-case.toml:"},
		{[]string{"run", "--confg", none}, "unknown flag"},
		{[]string{"rnu"}, "unknown command"},
		{[]string{"status", "--socket", none}, "no daemon answers at " + none},
		{[]string{"reload", "--socket", none}, "no daemon answers at " + none},
		{[]string{"trace", "--socket", none, "web"}, "no daemon answers at " + none},
	} {
		status, stdout, stderr := try(c.args...)
		if status != 1 || stdout != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: status %d, %q, %q; want 1 and %q", c.args, status, stdout, stderr, c.want)
		}
	}
}

func TestVersion(t *testing.T) {
	status, stdout, _ := try("version")
	if status != 0 || !regexp.MustCompile(`^understudy \S+.* go1\.\d+`).MatchString(stdout) {
		t.Errorf("status %d, %q", status, stdout)
	}
}

func TestAge(t *testing.T) {
	for _, c := range []struct {
		in   time.Duration
		want string
	}{
		{-time.Second, "0s"},
		{1234 * time.Millisecond, "1.23s"},
		{61 * time.Second, "1m1s"},
		{90*time.Minute + time.Second, "1h30m"},
		{50 * time.Hour, "2d2h"},
	} {
		if got := age(c.in); got != c.want {
			t.Errorf("age(%v) = %q, want %q", c.in, got, c.want)
		}
	}
}

// TestStatusBeforeTheFirstTransition: a virtual router that has just been added
// has been so for no time that could be told.
func TestStatusBeforeTheFirstTransition(t *testing.T) {
	var b bytes.Buffer
	if err := writeStatus(&b, statusReply{AsOf: time.Unix(1e9, 0), Started: time.Unix(1e9, 0), Loaded: time.Unix(1e9, 0), Routers: []routerStatus{{Name: "web", State: "init"}}}); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^web .* init +- +- `).MatchString(b.String()) {
		t.Errorf("printed:\n%s", b.String())
	}
}

// TestSocketPathOfAFile shows that a wrong path costs nobody a file.
func TestSocketPathOfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "understudy.toml")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenControl(path); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("got %v, want a refusal", err)
	}
	if content, err := os.ReadFile(path); err != nil || string(content) != "x" {
		t.Errorf("the file now holds %q, %v", content, err)
	}
}

// TestSecondDaemon shows that a control socket has one daemon, and that a
// socket left behind by a killed one is in nobody's way.
func TestSecondDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "u.sock")
	first, err := listenControl(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v; want 0660", info.Mode().Perm(), err)
	}
	if _, err := listenControl(path); err == nil || !strings.Contains(err.Error(), "another understudy") {
		t.Errorf("second daemon: %v, want a refusal", err)
	}
	// Killed: the lock goes with the process, the socket stays.
	_ = first.lock.Close()
	second, err := listenControl(path)
	if err != nil {
		t.Fatalf("after a kill: %v", err)
	}
	second.Close()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}
