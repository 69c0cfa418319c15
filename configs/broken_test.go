package configs

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestBroken loads the files of testdata/broken. The line of every problem
// carries a comment "# want: REGEXP" that it matches, so that a golden file
// rewritten with -update cannot hide a wrong line. "# want-file: REGEXP" is
// for a problem with a file as a whole.
func TestBroken(t *testing.T) {
	files, err := filepath.Glob("testdata/broken/*.toml")
	if err != nil || len(files) < 25 {
		t.Fatalf("found %d files, %v; expected at least 25", len(files), err)
	}
	for _, file := range append(files, "testdata/broken/include/main.toml") {
		name := strings.TrimSuffix(strings.TrimPrefix(file, "testdata/broken/"), ".toml")
		t.Run(name, func(t *testing.T) {
			_, err := Load(file)
			ps, ok := errors.AsType[Problems](err)
			if !ok {
				t.Fatalf("Load returned the error %v, expected Problems", err)
			}
			checkMarkers(t, ps, markers(t, file))
			checkGolden(t, strings.TrimSuffix(file, ".toml")+".golden", ps.Error()+"\n")
		})
	}
}

type marker struct {
	file string
	line int
	want *regexp.Regexp
}

// markers returns those of a file, and of the files below its directory where
// that is a case of its own.
func markers(t *testing.T, file string) []marker {
	t.Helper()
	files := []string{file}
	if filepath.Base(file) == "main.toml" {
		more, err := filepath.Glob(filepath.Join(filepath.Dir(file), "conf.d", "*.toml"))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, more...)
	}
	var ms []marker
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(data), "\n") {
			for _, want := range strings.Split(line, "# want: ")[1:] {
				ms = append(ms, marker{f, i + 1, regexp.MustCompile(strings.TrimSpace(want))})
			}
			if _, want, ok := strings.Cut(line, "# want-file: "); ok {
				ms = append(ms, marker{f, 0, regexp.MustCompile(strings.TrimSpace(want))})
			}
		}
	}
	return ms
}

// checkMarkers pairs problems with markers one to one.
func checkMarkers(t *testing.T, ps Problems, ms []marker) {
	t.Helper()
	used := make([]bool, len(ms))
	for _, p := range ps {
		found := false
		text := strings.TrimPrefix(p.String(), fmt.Sprintf("%s:%d: ", p.File, p.Line))
		for i, m := range ms {
			if !used[i] && m.file == p.File && m.line == p.Line && m.want.MatchString(text) {
				used[i], found = true, true
				break
			}
		}
		if !found {
			t.Errorf("no marker for: %v", p)
		}
		if !strings.ContainsAny(p.What, ";?") {
			t.Errorf("does not say what to do: %v", p)
		}
	}
	for i, m := range ms {
		if !used[i] {
			t.Errorf("%s:%d: nothing reported that matches %q", m.file, m.line, m.want)
		}
	}
}

func checkGolden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, []byte(got)) {
		t.Errorf("differs from %s (-want +got), rewrite it with -update:\n%s", file, cmp.Diff(string(want), got))
	}
}
