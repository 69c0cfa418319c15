package configs

import (
	"errors"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// TestPlaces checks that every value in a file is found at its line, in every
// way TOML can write it: a value of the form "@N" must stand at line N.
func TestPlaces(t *testing.T) {
	for _, tt := range []struct{ name, in string }{
		{"tables", "a = \"@1\"\n[t]\n\nb = \"@4\"\n[t.u]\nc = \"@6\"\n[v]\nc = \"@8\""},
		{"dotted", "t.a = \"@1\"\nt.b.c = \"@2\"\n[u]\nx.y.z = \"@4\"\nx.y.w = \"@5\""},
		{"quoted keys", "\"a.b\".c = \"@1\"\n'x y' = \"@2\"\n[\"t.u\".\"\\u0041\"]\n\"\" = \"@4\""},
		{"arrays of tables", "[[s]]\na = \"@2\"\n[[s.r]]\na = \"@4\"\n[[s.r]]\na = \"@6\"\n[s.r.c]\na = \"@8\"\n[[s]]\na = \"@10\"\n[[s.r]]\na = \"@12\"\nc.d = \"@13\"\n[s.x]\na = \"@15\""},
		{"table before its array", "[s.c]\na = \"@2\"\n[[s.r]]\na = \"@4\"\n[[s.r]]\na = \"@6\"\n[s]\nb = \"@8\""},
		{"inline", "s = { a = \"@1\", b = { c = \"@1\" } }\nr = [ { a = \"@2\" },\n { a = \"@3\", b.c = \"@3\" } ]"},
		{"multi-line inline", "s = {\n  a = \"@2\",\n  b = {\n    c = \"@4\", # comment\n\n  }, d.e = [\n \"@7\",\n\n \"@9\"],\n}"},
		{"nested arrays", "a = [ [ \"@1\",\n \"@2\" ], [\n \"@3\" ],\n \"@4\" ]"},
		{"arrays in arrays of tables", "[[s]]\na = [\"@2\",\n\"@3\"]\n[[s]]\na = [\n\"@6\",\n]\nb = [{ c = \"@8\" },\n{ c = [\"@9\"] }]"},
		{"comments and blank lines", "# @9\n\n[s] # [t]\n# a = 1\na = \"@5\" # b\n"},
		{"multi-line strings", "a = \"\"\"\nx\ny\"\"\"\nb = '''\n[t]\n'''\nc = \"@7\""},
		{"carriage returns", "[s]\r\na = \"@2\"\r\nb = [\r\n\"@4\"]\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root, err := locate([]byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			var raw map[string]any
			if _, err := toml.Decode(tt.in, &raw); err != nil {
				t.Fatal(err)
			}
			if n, want := checkPlaces(t, "", raw, root), strings.Count(tt.in, "\"@"); n != want {
				t.Errorf("found %d values, want %d", n, want)
			}
		})
	}
}

// checkPlaces checks the values below v and returns how many there are.
func checkPlaces(t *testing.T, path string, v any, p *place) int {
	t.Helper()
	n := 0
	switch v := v.(type) {
	case string:
		if line, ok := strings.CutPrefix(v, "@"); ok {
			n++
			if got := (where{"", p.line}).String(); got != ":"+line {
				t.Errorf("%s stands at %s, found at %s", path, line, got)
			}
		}
	case map[string]any:
		for k, e := range v {
			if p.find(k) == nil {
				t.Errorf("%s has no place for %q", path, k)
			}
			n += checkPlaces(t, path+"."+k, e, p.key(k))
		}
	case []map[string]any:
		for i, e := range v {
			n += checkPlaces(t, path+"[]", e, p.item(i))
		}
	case []any:
		if len(p.items) != len(v) {
			t.Errorf("%s has %d places for %d elements", path, len(p.items), len(v))
		}
		for i, e := range v {
			n += checkPlaces(t, path+"[]", e, p.item(i))
		}
	}
	return n
}

// TestHeaderLine checks where a table itself stands: what is missing in it is
// reported there.
func TestHeaderLine(t *testing.T) {
	root, err := locate([]byte("[a.b]\n[[s]]\n\n[[s]]\n[s.c]\n[a]\nx = {\n}\ns2.y.z = 1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		at   *place
		want int
	}{
		{"a.b", root.key("a").key("b"), 1},
		{"a, first implied", root.key("a"), 6},
		{"s", root.key("s"), 2},
		{"s[0]", root.key("s").item(0), 2},
		{"s[1]", root.key("s").item(1), 4},
		{"s[1].c", root.key("s").item(1).key("c"), 5},
		{"a.x", root.key("a").key("x"), 7},
		{"a.s2.y, implied", root.key("a").key("s2").key("y"), 9},
		{"what is not there: its table", root.key("s").item(1).key("d"), 4},
		{"an element that is not there: its list", root.key("s").item(9), 2},
	} {
		if tt.at.line != tt.want {
			t.Errorf("%s stands at line %d, want %d", tt.name, tt.at.line, tt.want)
		}
	}
}

func TestSyntaxLine(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     int
	}{
		{"no value", "a = 1\nb =\nc = 1\n", 2},
		{"open string", "a = 1\nb = \"x\nc = 1\n", 2},
		{"open array", "a = 1\nb = [\n1,\n", 3},
		{"open inline table", "b = {\na = 1,\n", 2},
		{"second line of an array", "b = [\n1\n2]\n", 3},
		{"garbage after a value", "a = 1\nb = 2 3\n", 2},
		{"no closing bracket", "\n\n[a\nb = 1\n", 3},
		{"not UTF-8", "a = 1\nb = \"\xff\"\n", 2},
		{"UTF-16", "\xff\xfea\x00", 1},
		{"end of file", "a = 1\nb", 2},
	} {
		_, err := locate([]byte(tt.in))
		se, ok := errors.AsType[*syntaxError](err)
		if !ok || se.line != tt.want {
			t.Errorf("%s: %+v, want line %d", tt.name, err, tt.want)
		}
	}
}

func TestNearest(t *testing.T) {
	keys := []string{"name", "interface", "vrid", "advert_interval", "priority", "preempt", "preempt_delay", "sh-port", "wlc"}
	for _, tt := range []struct{ in, want string }{
		{"NAME", "name"},
		{"nmae", "name"},
		{"Priority", "priority"},
		{"prority", "priority"},
		{"advert-interval", "advert_interval"},
		{"advertinterval", "advert_interval"},
		{"preempt-dealy", "preempt_delay"},
		{"vird", "vrid"},
		{"sh_port", "sh-port"},
		{"wcl", "wlc"},
		{"rr", ""},
		{"x", ""},
		{"", ""},
		{"colour", ""},
		{strings.Repeat("n", 1000), ""},
	} {
		if got := nearest(tt.in, keys); got != tt.want {
			t.Errorf("nearest(%q) is %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestProblem(t *testing.T) {
	r := &report{}
	r.errorf("b.toml", 2, "x; do %s", "y")
	r.warnf("a.toml", 10, "z")
	r.errorf("a.toml", 9, "w")
	r.errorf("a.toml", 0, "v")
	const want = "a.toml: v\na.toml:9: w\na.toml:10: warning: z\nb.toml:2: x; do y"
	if got := r.problems().Error(); got != want {
		t.Errorf("problems are\n%s\nwant\n%s", got, want)
	}
}

// Lines are found in any order, though those near the last are found faster.
func TestLine(t *testing.T) {
	text := "a\n\nbc\nd\n\n\n\ne"
	x := &index{number: 1}
	x.parser.Reset([]byte(text))
	for _, step := range []int{1, 3, 5, 7, 11, 13} {
		for i := range len(text) {
			offset := i * step % len(text)
			if got, want := x.line(offset), 1+strings.Count(text[:offset], "\n"); got != want {
				t.Errorf("offset %d, in steps of %d, is in line %d, want %d", offset, step, got, want)
			}
		}
	}
}
