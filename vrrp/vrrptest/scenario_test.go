package vrrptest

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/vrrp"
)

var updateFlag = flag.Bool("update", false, "rewrite the golden scenarios")

func TestScenarios(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) < 10 {
		t.Fatalf("found %d scenarios: %v", len(paths), err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Play(want)
			if err != nil {
				t.Fatal(err)
			}
			if *updateFlag {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestRecorderPlays takes a LAN with notes and plays what was noted.
func TestRecorderPlays(t *testing.T) {
	const size = 25 // far less than happens, so that the traces begin in the middle
	var recorders []*vrrp.Recorder
	s := newSim(7, func(c vrrp.Config) Elector {
		c.Name = `a "name" = 1 #`
		c.Password = strings.Repeat("p", int(c.Version-1))
		r := vrrp.Record(vrrp.New(c), size)
		recorders = append(recorders, r)
		return r
	})
	if err := s.run(); err != nil {
		t.Fatal(err)
	}
	var text []byte
	for i, r := range recorders {
		if i > 0 {
			text = append(text, '\n')
		}
		text, _ = r.AppendText(text)
	}
	for _, part := range []string{"state backup", "state master", " tick\n", " receive src=", ">master reason="} {
		if !bytes.Contains(text, []byte(part)) {
			t.Errorf("no %q in %d traces, so that this tests little", part, len(recorders))
		}
	}
	got, err := Play(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(text), string(got)); diff != "" {
		t.Errorf("(-recorded +played)\n%s", diff)
	}
	wrong := bytes.ReplaceAll(text, []byte(">master reason="), []byte(">fault reason="))
	if got, err = Play(wrong); err != nil || !bytes.Equal(got, text) {
		t.Errorf("a trace with wrong outputs plays as it is written, not as it would happen (%v)", err)
	}
}

func TestPlayErrors(t *testing.T) {
	const router = "router a\n"
	tests := []struct{ name, in, want string }{
		{"no end", router + "0s start a\n", "no line says when it ends"},
		{"after the end", router + "1s end\n2s start a\n", `line 3: "2s" after the end`},
		{"unknown word", "ruoter a\n1s end\n", `line 1: unknown word "ruoter"`},
		{"unknown router", "0s start b\n1s end\n", "line 1: start: which router?"},
		{"unknown verb", router + "0s strat a\n1s end\n", `line 2: cannot strat`},
		{"back in time", router + "2s start a\n1s end\n", "line 3: 1s is before 2s"},
		{"same name", router + router + "1s end\n", "line 2: a router needs a name of its own"},
		{"bad priority", "router a priority=256\n1s end\n", "priority: "},
		{"unknown key", "router a prio=2\n1s end\n", "prio: unknown key"},
		{"unknown network", "lan dleay=1s\n1s end\n", "network: dleay: unknown key"},
		{"unterminated", "router \"a\n1s end\n", "line 1: unterminated quote"},
		{"director", router + "director a b\n1s end\n", `no router "b" that is free`},
		{"director of one", router + "director a\n1s end\n", "several routers"},
		{"partition", router + "0s partition a b\n1s end\n", `no router "b"`},
		{"trace", "trace a priority=1\n0s explode\n", `line 2: unknown event "explode"`},
		{"trace output", "trace a priority=1\n0s start\n0s -> drop=what\n", `unknown word "what"`},
		{"trace state", "trace a priority=1\nstate asleep\n", `unknown word "asleep"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Play([]byte(tt.in)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestRunRepeats shows that a seed is a reproduction.
func TestRunRepeats(t *testing.T) {
	for seed := range uint64(20) {
		a, err := Run(seed, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := Run(seed, nil); a != b {
			t.Errorf("seed %d: %+v, then %+v", seed, a, b)
		}
		if c, _ := Run(seed+1000, nil); a == c {
			t.Errorf("seeds %d and %d do the same: %+v", seed, seed+1000, a)
		}
	}
}

// TestFailureReport shows that what is said of a failure is enough to look into it.
func TestFailureReport(t *testing.T) {
	const seed = 5
	// Nothing keeps a promise of a master within less than no time.
	_, err := run(seed, nil, func(c *checker) { c.longest = -time.Minute })
	if err == nil {
		t.Fatal("a promise that nobody keeps was kept")
	}
	report := err.Error()
	for _, part := range []string{"seed 5: at ", "after everything had settled\n", "\nrouter a version=", "ppm\n", "0s start a\n", "\ntrace a version="} {
		if !strings.Contains(report, part) {
			t.Errorf("no %q in\n%s", part, report)
		}
	}
	_, traces, _ := strings.Cut(report, "\n\n")
	if got, err := Play([]byte(traces)); err != nil || string(got) != traces {
		t.Errorf("the traces do not play (%v):\n%s", err, traces)
	}
}
