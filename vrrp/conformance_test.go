package vrrp

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// sources are the tests of all packages, by the package's directory.
type sources map[string]*source

type source struct {
	functions map[string]bool
	words     map[string]bool // the string literals, among which are the names of subtests
}

// readSources reads the test files below root.
func readSources(root string) (sources, error) {
	all := make(sources)
	files := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == ".git"):
			return fs.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		s := all[filepath.ToSlash(dir)]
		if s == nil {
			s = &source{functions: make(map[string]bool), words: make(map[string]bool)}
			all[filepath.ToSlash(dir)] = s
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil {
					s.functions[n.Name.Name] = true
				}
			case *ast.BasicLit:
				if n.Kind == token.STRING {
					word, _ := strconv.Unquote(n.Value)
					s.words[word] = true
				}
			}
			return true
		})
		return nil
	})
	return all, err
}

var testName = regexp.MustCompile(`^([a-z0-9/]+)\.((?:Test|Fuzz)\w+)(?:/(.+))?$`)

// has reports what is wrong with a reference: a test as directory.Function/subtest,
// or a path below root.
func (all sources) has(root, ref string) error {
	m := testName.FindStringSubmatch(ref)
	if m == nil {
		_, err := os.Stat(filepath.Join(root, ref))
		return err
	}
	switch s := all[m[1]]; {
	case s == nil:
		return fmt.Errorf("%s has no tests", m[1])
	case !s.functions[m[2]]:
		return fmt.Errorf("%s has no %s", m[1], m[2])
	case m[3] != "" && !s.words[m[3]]:
		return fmt.Errorf("%s has no %q", m[1], m[3])
	}
	return nil
}

// row is one of docs/conformance.md.
type row struct{ section, sentence, here, test string }

// readRows returns the rows of the tables in text.
func readRows(text string) ([]row, error) {
	var rows []row
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "| section |") || strings.HasPrefix(line, "|---") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if len(cells) != 4 || slices.Contains(cells, "") {
			return nil, fmt.Errorf("line %d has not four cells: %s", n, line)
		}
		rows = append(rows, row{cells[0], cells[1], cells[2], cells[3]})
	}
	return rows, nil
}

// reason is found in what is said of a sentence that nothing here is tested for.
var reason = regexp.MustCompile(`\*\*no\*\*: |\*kernel\*: |\*n/a\*: |\*operator\*`)

// check returns the tests that r names.
func (r row) check(root string, all sources) (names []string, err error) {
	if r.test == "—" {
		if !reason.MatchString(r.here) {
			return nil, fmt.Errorf("%s %s: neither a test nor a reason", r.section, r.sentence)
		}
		return nil, nil
	}
	for item := range strings.SplitSeq(r.test, "; ") {
		name, closed := strings.CutSuffix(strings.TrimPrefix(item, "`"), "`")
		if !closed || !strings.HasPrefix(item, "`") {
			return nil, fmt.Errorf("%s: %s is no name of a test", r.section, item)
		}
		if err := all.has(root, name); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", r.section, name, err)
		}
		names = append(names, name)
	}
	return names, nil
}

// TestConformance holds docs/conformance.md to the tests that there are: each that
// it names exists, each sentence has a test or a reason for none, and each test that
// is named after an RFC is there.
func TestConformance(t *testing.T) {
	const root = ".."
	text, err := os.ReadFile(filepath.Join(root, "docs", "conformance.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := readRows(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) < 150 {
		t.Errorf("read %d rows, which cannot be all", len(rows))
	}
	all, err := readSources(root)
	if err != nil {
		t.Fatal(err)
	}
	named := make(map[string]bool)
	for _, r := range rows {
		names, err := r.check(root, all)
		if err != nil {
			t.Error(err)
		}
		for _, name := range names {
			function, _, _ := strings.Cut(name[strings.LastIndex(name, ".")+1:], "/")
			named[function] = true
		}
	}
	for dir, s := range all {
		for name := range s.functions {
			if strings.HasPrefix(name, "TestRFC") && !named[name] {
				t.Errorf("%s.%s stands in no row", dir, name)
			}
		}
	}
}

// TestConformanceFinds shows that TestConformance can fail.
func TestConformanceFinds(t *testing.T) {
	all := sources{"vrrp": {functions: map[string]bool{"TestX": true}, words: map[string]bool{"a b": true}}}
	tests := []struct{ name, here, test, want string }{
		{"a test", "**yes**", "`vrrp.TestX`", ""},
		{"a subtest", "**yes**", "`vrrp.TestX/a b`", ""},
		{"a file", "**yes**", "`vrrp/doc.go`", ""},
		{"two tests", "**yes**", "`vrrp.TestX`; `vrrp.TestX/a b`", ""},
		{"a test and one to come", "**yes**", "`vrrp.TestX`; TBD: something", "no name of a test"},
		{"a reason", "*kernel*: it does that", "—", ""},
		{"no reason", "**yes**", "—", "neither a test nor a reason"},
		{"no such test", "**yes**", "`vrrp.TestX`; `vrrp.TestY`", "vrrp has no TestY"},
		{"no such subtest", "**yes**", "`vrrp.TestX/c`", `vrrp has no "c"`},
		{"no such package", "**yes**", "`none.TestX`", "none has no tests"},
		{"no such file", "**yes**", "`vrrp/none.txt`", "no such file"},
		{"words", "**yes**", "somebody tests it", "no name of a test"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := row{"1", "so", tt.here, tt.test}.check("..", all)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if rows, err := readRows("| 1 | so | **yes** |\n"); err == nil {
		t.Errorf("three cells are %v", rows)
	}
}
