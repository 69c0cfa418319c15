package configs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func serviceText(name string, port int) string {
	return fmt.Sprintf("[[service]]\nname = %q\naddress = \"10.0.0.100:%d\"\nforward = \"nat\"\n[[service.server]]\naddress = \"10.0.0.1:80\"\n", name, port)
}

func TestInclude(t *testing.T) {
	// The directory's name must not be taken for a pattern.
	dir := filepath.Join(t.TempDir(), "a[b]*")
	main := write(t, filepath.Join(dir, "main.toml"),
		"director.include = [\"conf.d/*.toml\", \"*.toml\", \"conf.d/b.toml\", \""+filepath.Join(t.TempDir(), "none*")+"\"]\n"+serviceText("main", 80))
	write(t, filepath.Join(dir, "conf.d/c.toml"), serviceText("c", 83))
	write(t, filepath.Join(dir, "conf.d/b.toml"), serviceText("b", 82))
	write(t, filepath.Join(dir, "conf.d/a.toml"), "[[vrrp]]\nname = \"a\"\ninterface = \"eth0\"\nvrid = 1\naddresses = [\"10.0.0.100/24\"]\n")
	write(t, filepath.Join(dir, "z.toml"), serviceText("z", 84))
	c, err := Load(main)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range c.Director.Services {
		names = append(names, s.Name)
	}
	if want := []string{"main", "b", "c", "z"}; !slices.Equal(names, want) {
		t.Errorf("services are %q, want %q", names, want)
	}
	if len(c.Routers) != 1 {
		t.Errorf("there are %d routers, want 1", len(c.Routers))
	}
	if len(c.Warnings) != 1 || c.Warnings[0].Line != 1 || !strings.Contains(c.Warnings[0].What, "matches no file") {
		t.Errorf("warnings: %v", c.Warnings)
	}
}

func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	large := write(t, filepath.Join(dir, "large.toml"), strings.Repeat("# comment\n", maxSize/10+1))
	half := strings.Repeat("#\n", maxSize/3)
	write(t, filepath.Join(dir, "half.d/a.toml"), half)
	write(t, filepath.Join(dir, "half.d/b.toml"), half)
	halves := write(t, filepath.Join(dir, "halves.toml"), serviceText("a", 80)+"[director]\ninclude = [\"half.d/*\"]\n")
	for _, tt := range []struct {
		name, path, want string
	}{
		{"absent", filepath.Join(dir, "absent.toml"), "absent.toml: cannot open"},
		{"directory", dir, "is a directory; name a file"},
		{"too large", large, "large.toml: the configuration is larger than 16 MiB"},
		{"too large together", halves, "halves.toml:8: the configuration is larger than 16 MiB with "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Load(tt.path)
			ps, ok := errors.AsType[Problems](err)
			if c != nil || !ok || len(ps) != 1 || !strings.Contains(ps[0].String(), tt.want) {
				t.Errorf("Load returned %v, %v; want one problem with %q", c, err, tt.want)
			}
		})
	}
}

func TestParseAlone(t *testing.T) {
	_, err := Parse("-", []byte("director.include = [\"/etc/passwd\"]\n"+serviceText("a", 80)))
	if err == nil || !strings.HasPrefix(err.Error(), "-:1: include cannot be followed") {
		t.Errorf("Parse with include returned %v", err)
	}
	if _, err := Parse("-", make([]byte, maxSize+1)); err == nil || !strings.Contains(err.Error(), "larger than 16 MiB") {
		t.Errorf("Parse of too much returned %v", err)
	}
	if _, err := Parse("-", []byte("\ufeff"+serviceText("a", 80))); err != nil {
		t.Errorf("Parse with a byte order mark returned %v", err)
	}
}

// TestCRLF checks that lines are counted as an editor does.
func TestCRLF(t *testing.T) {
	text := strings.ReplaceAll(serviceText("a", 80)+"weight = -1\n", "\n", "\r\n")
	_, err := Parse("f", []byte(text))
	if err == nil || !strings.HasPrefix(err.Error(), "f:7: weight = -1") {
		t.Errorf("Parse returned %v", err)
	}
}

func TestTooManyProblems(t *testing.T) {
	var b strings.Builder
	b.WriteString(serviceText("a", 80))
	for i := range 5 * maxProblems {
		fmt.Fprintf(&b, "unknown%d = 1\n", i)
	}
	_, err := Parse("f", []byte(b.String()))
	ps, ok := errors.AsType[Problems](err)
	if !ok || len(ps) != maxProblems+1 || !strings.HasPrefix(ps[maxProblems].What, "4000 further problems") {
		t.Errorf("%d problems", len(ps))
	}
}

// TestHostile gives the parser what would exhaust stack or time without a
// bound. What takes a step for every pair of the million elements does not come
// back before the time limit of the tests; how fast the rest is depends on the
// machine, and is not judged.
func TestHostile(t *testing.T) {
	const n = 1 << 20
	for _, tt := range []struct {
		name, in string
	}{
		{"arrays", "a = " + strings.Repeat("[", n)},
		{"inline tables", "a = " + strings.Repeat("{a=", n)},
		{"dotted key", strings.Repeat("a.", n) + "a = 1"},
		{"dotted header", "[" + strings.Repeat("a.", n) + "a]"},
		{"dotted array header", "[[" + strings.Repeat("a.", n) + "a]]"},
		{"dotted inline key", "a = { " + strings.Repeat("a.", n) + "a = 1 }"},
		{"long key", strings.Repeat("a", n) + " = 1"},
		{"long string", "a = '" + strings.Repeat("a", n) + "'"},
		{"long number", "a = " + strings.Repeat("9", n)},
		{"zero bytes", strings.Repeat("\x00", n)},
		{"open string", "a = \"" + strings.Repeat("a\\n", n/3)},
		{"deep after an error", "a = b\na = " + strings.Repeat("[", n)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("f", []byte(tt.in))
			if err == nil {
				t.Fatal("accepted")
			}
			if len(err.Error()) > 1000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

// thousand is a configuration of 1000 services with 10 servers each.
func thousand() []byte {
	var b bytes.Buffer
	for i := range 1000 {
		fmt.Fprintf(&b, "[[service]]\nname = \"s%d\"\naddress = \"10.1.%d.%d:80\"\nscheduler = \"wrr\"\nforward = \"dr\"\n", i, i/250, i%250+1)
		b.WriteString("[service.check]\ntype = \"http\"\npath = \"/healthz\"\nbody = \"^ok\"\n")
		for j := range 10 {
			fmt.Fprintf(&b, "[[service.server]]\naddress = \"10.2.%d.%d:80\"\nweight = %d\ncheck = { path = \"/%d\" }\n", j, i%250+1, j, j)
		}
	}
	return b.Bytes()
}

func TestThousandServices(t *testing.T) {
	c, err := Parse("f", thousand())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(c.Director.Services); n != 1000 {
		t.Errorf("%d services", n)
	}
}

func BenchmarkThousandServices(b *testing.B) {
	data := thousand()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("f", data); err != nil {
			b.Fatal(err)
		}
	}
}
