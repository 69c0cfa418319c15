package configs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// addFiles makes seeds of the files that there are, good and bad.
func addFiles(f *testing.F) {
	f.Helper()
	for _, pattern := range []string{"testdata/broken/*.toml", "examples/*/*.toml", "reference.toml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
}

// FuzzParse checks that no input makes Parse panic, that every error is a
// list of problems at lines that the file has, that the same bytes give the
// same Config, and that it takes bounded time.
func FuzzParse(f *testing.F) {
	addFiles(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 64<<10 {
			t.Skip("larger inputs only cost time")
		}
		// A hang ends the process, so that the fuzzer keeps the input.
		hang := time.AfterFunc(5*time.Second, func() { panic("Parse takes more than 5 s") })
		defer hang.Stop()
		c, err := Parse("f", data)
		if err == nil {
			for _, w := range c.Warnings {
				checkProblem(t, w, data)
				if w.Severity != Warning {
					t.Errorf("an error among the warnings: %v", w)
				}
			}
			again, err := Parse("f", data)
			if err != nil || !same(c, again) {
				t.Errorf("parsed again, it is\n%+v, %v\nit was\n%+v", again, err, c)
			}
			return
		}
		ps, ok := errors.AsType[Problems](err)
		if !ok || len(ps) == 0 {
			t.Fatalf("the error is %T %v", err, err)
		}
		for _, p := range ps {
			checkProblem(t, p, data)
		}
	})
}

func checkProblem(t *testing.T, p Problem, data []byte) {
	t.Helper()
	lines := strings.Count(string(data), "\n") + 1
	if p.File != "f" || p.Line < 0 || p.Line > lines || p.What == "" {
		t.Errorf("problem %+v in a file of %d lines", p, lines)
	}
	if strings.Contains(p.What, "cannot be parsed") {
		t.Errorf("a parser failed: %v", p)
	}
	if strings.ContainsAny(p.String(), "\n\r\x1b") {
		t.Errorf("problem %q would break the output of a terminal", p)
	}
}
