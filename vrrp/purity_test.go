package vrrp

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// allowed is everything that the package may import: nothing that reaches the
// outside, keeps time, runs in parallel or draws lots. net/netip is values.
var allowed = []string{
	"bytes", "encoding/binary", "errors", "fmt", "iter", "net/netip", "slices", "strconv", "strings", "time",
}

// pureTime is what the package may use of package time: values.
var pureTime = []string{
	"Duration", "Time", "Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour",
	"Parse", "ParseDuration", "RFC3339Nano", "UTC",
}

// impure returns what the source does that a pure package does not.
func impure(filename string, src any) ([]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), filename, src, 0)
	if err != nil {
		return nil, err
	}
	var found []string
	timeName := ""
	for _, imp := range file.Imports {
		path, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(allowed, path) {
			found = append(found, "imports "+path)
		}
		if path == "time" {
			timeName = "time"
			if imp.Name != nil {
				timeName = imp.Name.Name
			}
		}
		if imp.Name != nil && imp.Name.Name == "." {
			found = append(found, "imports everything of "+path)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = append(found, "starts a goroutine")
		case *ast.ChanType:
			found = append(found, "uses a channel")
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && timeName != "" && x.Name == timeName && !slices.Contains(pureTime, n.Sel.Name) {
				found = append(found, "uses time."+n.Sel.Name)
			}
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "fmt" && (strings.HasPrefix(n.Sel.Name, "Print") || strings.HasPrefix(n.Sel.Name, "Scan")) {
				found = append(found, "uses fmt."+n.Sel.Name)
			}
		}
		return true
	})
	return found, nil
}

func TestPurity(t *testing.T) {
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	sources := 0
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		sources++
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found, err := impure(path, src)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			t.Errorf("%s %s", path, f)
		}
	}
	if sources < 10 {
		t.Errorf("looked at %d files, which cannot be all", sources)
	}
}

// TestPurityFinds shows that TestPurity can fail.
func TestPurityFinds(t *testing.T) {
	tests := []struct {
		name, src string
		want      []string
	}{
		{"nothing", `import ("fmt"; "time"); var d = 2 * time.Second; var e = fmt.Errorf("x")`, nil},
		{"net", `import "net"; var x net.IP`, []string{"imports net"}},
		{"os", `import "os"; var x = os.Args`, []string{"imports os"}},
		{"context", `import "context"; var x context.Context`, []string{"imports context"}},
		{"sync", `import "sync"; var x sync.Mutex`, []string{"imports sync"}},
		{"atomic", `import "sync/atomic"; var x atomic.Bool`, []string{"imports sync/atomic"}},
		{"slog", `import "log/slog"; var x slog.Level`, []string{"imports log/slog"}},
		{"rand", `import "math/rand/v2"; var x = rand.Int()`, []string{"imports math/rand/v2"}},
		{"crypto rand", `import _ "crypto/rand"`, []string{"imports crypto/rand"}},
		{"now", `import "time"; var x = time.Now()`, []string{"uses time.Now"}},
		{"since", `import "time"; func f(t time.Time) any { return time.Since(t) }`, []string{"uses time.Since"}},
		{"renamed", `import clock "time"; var x = clock.Now`, []string{"uses time.Now"}},
		{"dot", `import . "time"; var x = Now()`, []string{"imports everything of time"}},
		{"after func", `import "time"; var x = time.AfterFunc`, []string{"uses time.AfterFunc"}},
		{"timer", `import "time"; var x = time.NewTimer(1)`, []string{"uses time.NewTimer"}},
		{"ticker", `import "time"; var x = time.Tick(1)`, []string{"uses time.Tick"}},
		{"sleep", `import "time"; func f() { time.Sleep(1) }`, []string{"uses time.Sleep"}},
		{"goroutine", `func f() { go f() }`, []string{"starts a goroutine"}},
		{"channel", `var c chan int`, []string{"uses a channel"}},
		{"print", `import "fmt"; func f() { fmt.Println() }`, []string{"uses fmt.Println"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := impure("bad.go", "package vrrp; "+tt.src)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
