package configs

import (
	"bytes"
	"os"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
)

// checkBulk checks that what is read in bulk is what the decoder reads, and
// reports whether it was.
func checkBulk(t *testing.T, data []byte) bool {
	t.Helper()
	_, got, err := new(index).read(data, 1, true)
	if err != nil || got == nil {
		return false
	}
	var want map[string]any
	if _, err := toml.Decode(string(data), &want); err != nil {
		t.Fatalf("it was read in bulk, but the decoder says %v:\n%s", err, data)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("(-decoder +bulk):\n%s\n%s", diff, data)
	}
	return true
}

func TestBulk(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     bool // it is read in bulk
	}{
		{"values", "a = \"x\"\nb = -5\nc = true\nd = [1, \"x\", [false], []]\ne = { f = 'y', \"g h\" = {} }\ni = 0\n", true},
		{"tables", "[a]\nb = 1\n[a.c]\nd = 1\n[[e]]\nf = 1\n[e.g]\nh = 1\n[[e.i]]\n[[e.i]]\nj = 2\n[[e]]\n[[e.i]]\nk = 3\n", true},
		{"comments", "# a\n\na = 1 # b\n[b] # c\n", true},
		{"nothing", "", true},
		{"many keys", "a=1\nb=1\nc=1\nd=1\ne=1\nf=1\ng=1\nh=1\ni=1\nj=1\nk=1\nl=1\nm=1\nn=1\no=1\np=1\nq=1\nr=1\ns=2\n", true},
		{"duplicate among many", "a=1\nb=1\nc=1\nd=1\ne=1\nf=1\ng=1\nh=1\ni=1\nj=1\nk=1\nl=1\nm=1\nn=1\no=1\np=1\nq=1\nr=1\nr=2\n", false},
		{"duplicate", "a = 1\na = 2\n", false},
		{"duplicate below", "a = { b = 1, b = 2 }\n", false},
		{"table twice", "[a]\n[b]\n[a]\n", false},
		{"table of a value", "a = 1\n[a.b]\n", false},
		{"table of an inline table", "a = {}\n[a.b]\n", false},
		{"array of an array", "a = [1]\n[[a]]\n", false},
		{"array of a table", "[a]\n[[a]]\n", false},
		{"table of an array", "[[a]]\n[a]\n", false},
		{"value of an array", "[[a.b]]\n", false},
		{"key of an array", "[[a]]\n[b]\n[[a.c]]\nd = 1\n", true},
		{"super table later", "[a.b]\n[a]\n", false},
		{"dotted", "a.b = 1\n", false},
		{"dotted below", "a = { b.c = 1 }\n", false},
		{"escape", "a = \"\\u0041\"\n", false},
		{"many lines", "a = \"\"\"x\"\"\"\n", false},
		{"float", "a = 1.5\n", false},
		{"date", "a = 2020-01-01\n", false},
		{"hexadecimal", "a = 0x10\n", false},
		{"underscore", "a = 1_0\n", false},
		{"sign", "a = +1\n", false},
		{"negative zero", "a = -0\n", false},
		{"too large", "a = 9223372036854775808\n", false},
		{"tables in an array", "a = [{ b = 1 }]\n", false},
		{"carriage return", "a = 1\r\n", false},
		{"not UTF-8", "a = \"\xff\"\n", false},
		{"open", "a = \"\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := checkBulk(t, []byte(tt.in)); got != tt.want {
				t.Errorf("read in bulk: %v, want %v", got, tt.want)
			}
		})
	}
}

func TestBulkReadsLargeFiles(t *testing.T) {
	data := thousand()
	if len(data) < bulkSize || !checkBulk(t, data) {
		t.Error("a thousand services are not read in bulk")
	}
	if reference, err := os.ReadFile("reference.toml"); err != nil || !checkBulk(t, reference) {
		t.Errorf("the reference is not read in bulk, %v", err)
	}
	// An error in a large file is that of the decoder, at its line.
	broken := append(bytes.Clone(data), "[[service]]\nname = \"x\"\nname = \"y\"\n"...)
	_, err := Parse("f", broken)
	short := "[[service]]\nname = \"x\"\nname = \"y\"\n"
	_, wanted := Parse("f", []byte(short))
	lines := bytes.Count(data, []byte("\n"))
	if err == nil || wanted == nil || err.(Problems)[0].What != wanted.(Problems)[0].What || err.(Problems)[0].Line != lines+3 {
		t.Errorf("error %v, want %v at line %d", err, wanted, lines+3)
	}
}

func FuzzBulk(f *testing.F) {
	addFiles(f)
	f.Add([]byte("[a]\n[[a.b]]\nc = [1, -2]\n[[a.b]]\n[a.b.c]\nd = { e = 'f' }\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 4<<10 {
			checkBulk(t, data)
		}
	})
}
