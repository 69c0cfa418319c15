package sysctl

import (
	"cmp"
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// anyPositive stands in Need.Also for every number above 0.
const anyPositive = "1.."

// Finding is a setting that is not as it should be.
type Finding struct {
	Key      string
	Have     string // empty: the kernel does not have the key
	Want     string
	Why      string // what happens, or why it is wanted
	Fix      string // the command that sets it; empty where there is no such key
	Severity Severity
	Err      string // why it could not be read or set; empty: it could, or was not tried
}

// whyNamed is the reason of a setting that the configuration gives.
const whyNamed = "[director.sysctl] names it"

// Value is what was read of a key.
type Value struct {
	Text   string
	Absent bool   // the kernel has no such key
	Err    string // why it could not be read
}

// Look compares what a configuration wants with what a table has. It changes
// nothing.
func Look(t Table, c Config) []Finding {
	needs := Needs(c.Director, c.Sync)
	return compare(c, needs, look(t, keys(c, needs)))
}

// look reads keys.
func look(t Table, keys []string) map[string]Value {
	have := make(map[string]Value, len(keys))
	for _, key := range keys {
		have[key] = value(t, key)
	}
	return have
}

func value(t Table, key string) Value {
	text, err := t.Read(key)
	switch {
	case err == nil:
		return Value{Text: text}
	case errors.Is(err, fs.ErrNotExist):
		return Value{Absent: true}
	}
	return Value{Err: err.Error()}
}

// keys returns the keys that compare looks at.
func keys(c Config, needs []Need) []string {
	var keys []string
	for _, n := range needs {
		keys = append(keys, n.Key)
		if n.Beside != "" {
			keys = append(keys, n.Beside)
		}
	}
	for _, s := range c.Values {
		keys = append(keys, s.Key)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// Compare returns what is not as it should be, given what the kernel has, the
// most important first. It is pure.
//
// What the configuration names is taken for the operator's decision: where it
// goes against a need, that is a finding only if nothing works without. A key
// that the kernel does not have matters only if it was named or is required.
func Compare(c Config, have map[string]Value) []Finding {
	return compare(c, Needs(c.Director, c.Sync), have)
}

func compare(c Config, needs []Need, have map[string]Value) []Finding {
	named := make(map[string]string, len(c.Values))
	for _, s := range c.Values {
		named[s.Key] = s.Value
	}
	var out []Finding
	for _, n := range needs {
		if _, ok := named[n.Key]; ok && n.Severity < Required {
			continue
		}
		v := have[n.Key]
		if n.met(v.Text, have[n.Beside].Text) || v.Absent && n.Severity < Required {
			continue
		}
		out = append(out, finding(n.Key, n.Want, n.Why, n.Severity, v))
	}
	for _, s := range c.Values {
		v := have[s.Key]
		reported := slices.ContainsFunc(out, func(f Finding) bool { return f.Key == s.Key })
		if !reported && (v.Absent || v.Err != "" || !same(v.Text, s.Value)) {
			out = append(out, finding(s.Key, s.Value, whyNamed, Required, v))
		}
	}
	slices.SortStableFunc(out, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Key, b.Key))
	})
	return out
}

func finding(key, want, why string, severity Severity, v Value) Finding {
	f := Finding{Key: key, Have: v.Text, Want: want, Why: why, Severity: severity, Err: v.Err}
	if !v.Absent {
		f.Fix = Command(Setting{Key: key, Value: want})
	}
	return f
}

// Command returns the command that makes a setting.
func Command(s Setting) string {
	if strings.ContainsAny(s.Key+s.Value, " \t'\"\\$`&|;<>()*?[]#~!{}%") {
		return "sysctl -w '" + strings.ReplaceAll(s.Key+"="+s.Value, "'", `'\''`) + "'"
	}
	return "sysctl -w " + s.Key + "=" + s.Value
}

// met reports whether a value of the key does.
func (n Need) met(have, beside string) bool {
	if n.Beside != "" {
		have = greater(have, beside)
	}
	if same(have, n.Want) {
		return true
	}
	for _, also := range n.Also {
		if v, err := strconv.Atoi(have); also == anyPositive && err == nil && v > 0 {
			return true
		}
		if same(have, also) {
			return true
		}
	}
	return false
}

// greater returns the greater of two numbers; a, if either is none.
func greater(a, b string) string {
	x, err1 := strconv.Atoi(a)
	y, err2 := strconv.Atoi(b)
	if err1 == nil && err2 == nil && y > x {
		return b
	}
	return a
}

// linkPart returns the name of an interface as a part of a key.
func linkPart(link string) string { return strings.ReplaceAll(link, ".", "/") }
