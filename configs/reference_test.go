package configs

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestReference checks that reference.toml is right, that it has every key of
// the schema, only these, and that it says their defaults: the first time a
// key appears it has its default, unless its comment says "(required)" or
// where the default comes from.
func TestReference(t *testing.T) {
	const file = "reference.toml"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	config, err := Parse(file, data)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range config.Warnings {
		t.Errorf("warning: %v", w)
	}
	l := newLoader()
	raw, at, _, ok := l.tree(file, data)
	if !ok {
		t.Fatal(l.found)
	}
	d := documented{t: t, lines: strings.Split(string(data), "\n")}
	d.tables("", mainFile, []map[string]any{raw}, []*place{at})
}

type documented struct {
	t     *testing.T
	lines []string
}

// tables checks the keys of a schema against all tables it applies to.
func (d documented) tables(path string, schema []key, ts []map[string]any, ps []*place) {
	for _, k := range schema {
		name := strings.TrimPrefix(path+"."+k.name, ".")
		var below []map[string]any
		var places []*place
		first := -1
		for i, t := range ts {
			v, ok := t[k.name]
			if !ok {
				continue
			}
			if first < 0 {
				first = i
			}
			switch v := v.(type) {
			case map[string]any:
				below, places = append(below, v), append(places, ps[i].key(k.name))
			case []map[string]any:
				for j, e := range v {
					below, places = append(below, e), append(places, ps[i].key(k.name).item(j))
				}
			}
		}
		switch {
		case k.later != "":
			if first >= 0 {
				d.t.Errorf("%s is not supported, but stands in the reference", name)
			}
			continue
		case first < 0:
			d.t.Errorf("%s is missing", name)
			continue
		}
		line := ps[first].key(k.name).line
		d.defaults(name, k, ts[first][k.name], line)
		if k.keys != nil && name != "group.notify" { // which is said once, in vrrp.notify
			d.tables(name, k.keys, below, places)
		}
	}
}

func (d documented) defaults(name string, k key, v any, line int) {
	_, comment, _ := strings.Cut(d.lines[line-1], "#")
	if strings.Contains(comment, "(required)") != k.required {
		d.t.Errorf("line %d: %s: comment %q, required is %t", line, name, comment, k.required)
	}
	if k.required {
		return
	}
	if k.derived != "" {
		if !strings.Contains(comment, k.derived) {
			d.t.Errorf("line %d: %s: the comment does not say %q", line, name, k.derived)
		}
		return
	}
	if strings.Contains(comment, "default:") {
		d.t.Errorf("line %d: %s: the comment says a default, the schema has a plain one", line, name)
	}
	if k.keys != nil {
		return
	}
	if diff := cmp.Diff(written(k.fallback), v); diff != "" {
		d.t.Errorf("line %d: %s is not the default (-default +reference):\n%s", line, name, diff)
	}
	if k.kind == integer || k.kind == length {
		if !strings.Contains(comment, "..") && len(k.choice) == 0 && k.name != "version" && !strings.HasPrefix(name, "service.server.check.") {
			d.t.Errorf("line %d: %s: the comment does not say the range %s", line, name, k.span())
		}
	}
	for _, c := range k.choice {
		if !strings.Contains(comment, c) && !strings.HasPrefix(name, "service.server.check.") {
			d.t.Errorf("line %d: %s: the comment does not say the choice %q", line, name, c)
		}
	}
}

// written returns a default as the decoder would return it from a file.
func written(fallback any) any {
	switch v := fallback.(type) {
	case time.Duration:
		if v >= time.Minute {
			return fmt.Sprintf("%ds", int(v.Seconds()))
		}
		return v.String()
	case []string:
		words := []any{}
		for _, w := range v {
			words = append(words, w)
		}
		return words
	}
	return fallback
}
