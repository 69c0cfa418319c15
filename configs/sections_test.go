package configs

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// checkSections checks that a configuration that is read in sections is what
// it is when it is read whole, and reports whether it was.
func checkSections(t *testing.T, file string, read func(l *loader)) bool {
	t.Helper()
	got := loadSections(file, read)
	if got == nil {
		return false
	}
	want, err := loadWhole(file, read)
	if err != nil {
		t.Fatalf("%s was read in sections, but as a whole it is refused: %v", file, err)
	}
	if !reflect.DeepEqual(want, got) {
		t.Fatalf("%s (-whole +sections):\n%s", file, cmp.Diff(want.Director, got.Director))
	}
	return true
}

func TestSections(t *testing.T) {
	service := func(name string) string { return serviceText(name, 80+len(name)) }
	const director = "[director]\nrouter_id = \"r\"\n"
	for _, tt := range []struct {
		name, in string
		want     bool // it is read in sections
	}{
		{"services", service("a") + service("bb"), true},
		{"director before", director + service("a"), true},
		{"director behind", service("a") + director, true},
		{"director between", service("a") + director + service("bb") + "[director.log]\nlevel = \"warn\"\n", true},
		{"no line feed at the end", strings.TrimSuffix(service("a"), "\n"), true},
		{"indented", strings.ReplaceAll(service("a")+director, "\n[", "\n \t["), true},
		{"comments", "# [[service]]\n" + strings.ReplaceAll(service("a"), "\n", " # [x]\n") + service("bb"), true},
		{"carriage returns", strings.ReplaceAll(service("a")+director, "\n", "\r\n"), true},
		{"not for the bulk", service("a") + "[service.check]\ntype = \"http\"\nbody = \"a\\\\.b\"\n" + service("bb"), true},
		{"a table below", service("a") + "[service.check]\ntype = \"tcp\"\n[[service.server]]\naddress = \"10.0.0.2:80\"\n", true},
		{"text over lines in a section", "[[service]]\nname = \"\"\"\na\"\"\"\n" + strings.TrimPrefix(service("a"), "[[service]]\nname = \"a\"\n"), true},
		{"warnings", director + "[[service]]\nname = \"a\"\naddress = \"10.0.0.1:80\"\n\n[director.sync]\ninterface = \"eth0\"\n", true},
		{"no service", "[[vrrp]]\nname = \"v\"\ninterface = \"eth0\"\nvrid = 1\naddresses = [\"10.0.0.9/24\"]\n", true},
		{"include", "director.include = [\"x\"]\n" + service("a"), false},
		{"spaces in a header", service("a") + strings.Replace(service("bb"), "[[service]]", "[[ service ]]", 1), false},
		{"spaces in the only header", strings.Replace(service("a"), "[[service]]", "[[ service ]]", 1), false},
		{"quotes in a header", service("a") + strings.Replace(service("bb"), "[[service]]", "[[\"service\"]]", 1), false},
		{"spaces in a header below", strings.Replace(service("a"), "[[service.server]]", "[[ service.server ]]", 1), false},
		{"another header", service("a") + "[[ service ]]\n", false},
		{"list", "service = []\n" + service("a"), false},
		{"table", "[service]\nname = \"x\"\n" + service("a"), false},
		{"table below first", "[service.check]\ntype = \"tcp\"\n" + service("a"), false},
		{"in an array", "[director]\ninclude = [\n" + service("a") + "[]\n]\n", false},
		{"in a text", "[director]\ninclude = [\"\"\"\n" + service("a") + "[foo]\n\"\"\"]\n", false},
		{"in a literal", "[director]\ninclude = ['''\n" + service("a") + "[foo]\n''']\n", false},
		{"in a text of a section", service("a") + "weight = \"\"\"\n" + service("bb") + "\"\"\"\n", false},
		{"garbage behind a header", strings.Replace(service("a"), "[[service]]", "[[service]] x", 1), false},
		{"twice", service("a") + director + service("bb") + director, false},
		{"same name", service("a") + service("a"), false},
		{"unknown key", service("a") + "x = 1\n", false},
		{"nothing", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := checkSections(t, "f", func(l *loader) { l.parse("f", []byte(tt.in)) }); got != tt.want {
				_, err := Parse("f", []byte(tt.in))
				t.Errorf("read in sections: %v, want %v (%v)", got, tt.want, err)
			}
		})
	}
}

// What is right is read in sections, and what is wrong never.
func TestSectionsOfFiles(t *testing.T) {
	right, err := filepath.Glob("examples/*/*.toml")
	if err != nil || len(right) < 5 {
		t.Fatalf("found %d examples, %v", len(right), err)
	}
	for _, file := range append(right, "reference.toml") {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !checkSections(t, file, func(l *loader) { l.parse(file, data) }) {
			t.Errorf("%s is not read in sections", file)
		}
	}
	wrong, err := filepath.Glob("testdata/broken/*.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(wrong, "testdata/broken/include/main.toml") {
		checkSections(t, file, func(l *loader) { l.files(file) })
	}
	dir := t.TempDir()
	main := write(t, filepath.Join(dir, "main.toml"), "director.include = [\"conf.d/*\"]\n"+serviceText("m", 80))
	write(t, filepath.Join(dir, "conf.d/a.toml"), serviceText("a", 81)+serviceText("b", 82))
	write(t, filepath.Join(dir, "conf.d/c.toml"), serviceText("c", 83))
	if !checkSections(t, main, func(l *loader) { l.files(main) }) {
		t.Error("included files are not read in sections")
	}
	// The text has the header, and something else the element.
	inText := write(t, filepath.Join(dir, "text.toml"), "[director]\ninclude = [\"\"\"\n"+serviceText("a", 80)+"[foo]\n\"\"\"]\n[[ service ]]\n")
	if checkSections(t, inText, func(l *loader) { l.files(inText) }) {
		t.Error("a service in a text was read as a section")
	}
}

// Of problems that are too many to show, those are shown that are found when
// the file is read whole.
func TestSectionsWithManyWarnings(t *testing.T) {
	var b strings.Builder
	b.WriteString("[[vrrp]]\nname = \"v\"\ninterface = \"eth0\"\nvrid = 1\naddresses = [\"10.0.0.9/24\"]\npriority = 255\npreempt = false\n")
	for i := range maxProblems + 1 {
		fmt.Fprintf(&b, "[[service]]\nname = \"s%d\"\nfwmark = %d\nforward = \"nat\"\n", i, i+1)
	}
	c, err := Parse("f", []byte(b.String()))
	if err != nil || !strings.Contains(c.Warnings[0].What, "preempt") {
		t.Errorf("the first warning is not that of the router: %v, %v", c.Warnings[0], err)
	}
}

// A large configuration is read in little more memory than it fills: every
// page costs as much as reading it.
func TestSectionsReuseMemory(t *testing.T) {
	data := thousand()
	if !checkSections(t, "f", func(l *loader) { l.parse("f", data) }) {
		t.Fatal("a thousand services are not read in sections")
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Parse("f", data); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	got := after.TotalAlloc - before.TotalAlloc
	t.Logf("%.1f MiB for %.1f MiB of text", float64(got)/(1<<20), float64(len(data))/(1<<20))
	if limit := uint64(7 << 20); got > limit {
		t.Errorf("reading takes %d bytes, want at most %d", got, limit)
	}
}

func FuzzSections(f *testing.F) {
	addFiles(f)
	f.Add([]byte(serviceText("a", 80) + "[director]\nlog = { level = \"warn\" }\n" + serviceText("b", 81)))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 16<<10 {
			checkSections(t, "f", func(l *loader) { l.parse("f", data) })
		}
	})
}
