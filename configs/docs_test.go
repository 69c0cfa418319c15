package configs

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestDocs checks that docs/configuration.md has a row for every key that is
// supported, below the heading of its table, with its default, range and
// choice, and rows for nothing else.
func TestDocs(t *testing.T) {
	data, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string][]string) // "[[vrrp]] name" to the cells of its row
	heading := ""
	for line := range strings.Lines(string(data)) {
		if h, ok := strings.CutPrefix(line, "### `"); ok {
			heading, _, _ = strings.Cut(h, "`")
		} else if strings.HasPrefix(line, "## ") {
			heading = ""
		}
		if cells := strings.Split(line, " | "); heading != "" && strings.HasPrefix(line, "| `") {
			rows[heading+" "+strings.Trim(cells[0], "|` ")] = cells
		}
	}
	checkDocs(t, "", mainFile, rows)
	for row := range rows {
		t.Errorf("%s: there is no such key", row)
	}
}

func checkDocs(t *testing.T, path string, schema []key, rows map[string][]string) {
	t.Helper()
	for _, k := range schema {
		switch {
		case k.later != "":
			continue
		case k.keys != nil:
			name := strings.TrimPrefix(path+"."+k.name, ".")
			heading := "[" + name + "]"
			if k.kind == tables {
				heading = "[[" + name + "]]"
			}
			keys := k.keys
			if name == "service.server.check" {
				keys = keys[:len(keys)-len(probeKeys)] // the rest is said once, in service.check
			}
			if name == "group.notify" {
				keys = nil // they are said once, in vrrp.notify
			}
			below := make(map[string][]string)
			for row, cells := range rows {
				if key, ok := strings.CutPrefix(row, heading+" "); ok {
					below[key] = cells
					delete(rows, row)
				}
			}
			for _, sub := range keys {
				if sub.keys == nil && sub.later == "" {
					checkRow(t, heading, sub, below[sub.name])
				}
				delete(below, sub.name)
			}
			for key := range below {
				t.Errorf("%s %s: there is no such key", heading, key)
			}
			checkDocs(t, name, keys, rows)
		}
	}
}

func checkRow(t *testing.T, heading string, k key, cells []string) {
	t.Helper()
	if len(cells) != 4 {
		t.Errorf("%s %s: the row has %d cells", heading, k.name, len(cells))
		return
	}
	values, fallback := cells[1], cells[2]
	want := k.derived
	switch {
	case k.required:
		want = "**required**"
	case k.derived == "" && k.kind == text && k.fallback == "":
		want = "`\"\"`"
	case k.derived == "" && k.kind == list:
		_, list, _ := strings.Cut(k.assign(k.fallback), " = ")
		want = "`" + list + "`"
	case k.derived == "":
		want = fmt.Sprintf("`%v`", k.fallback)
		if k.fallback == time.Minute {
			want = "`60s`"
		}
	}
	if fallback != want {
		t.Errorf("%s %s: the default is documented as %s, want %s", heading, k.name, fallback, want)
	}
	for _, c := range k.choice {
		if c != "" && !strings.Contains(values, "`"+c+"`") {
			t.Errorf("%s %s: the choice %q is not documented", heading, k.name, c)
		}
	}
	ranged := k.kind == integer && k.name != "version" && k.name != "persistence_mask" || k.kind == length && k.name != "advert_interval"
	if ranged && !strings.Contains(values, k.span()) {
		t.Errorf("%s %s: the range %s is not documented", heading, k.name, k.span())
	}
}
