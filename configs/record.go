package configs

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// entry is one element of a list: of text, or of numbers.
type entry struct {
	text   string
	number int64
	line   int
}

// extra is a key of an open table that the schema does not name.
type extra struct {
	name  string
	value any // as it was decoded
	line  int
}

// field is the value of one key.
type field struct {
	line    int32 // of the key; of the table's header when the key is not given
	given   bool  // in the file, right or wrong
	good    bool  // value passed every check of the schema, or is the default
	value   any   // string, int64, bool, time.Duration, []entry
	records []*record
}

// record is a table that was checked against the schema: it has a field for
// every key. A field that is not good holds its zero value, has been reported,
// and must not be judged again.
type record struct {
	*source
	line   int
	name   string // as in "[[vrrp]]"
	schema []key
	fields []field // one for each key of the schema
	extras []extra // sorted by name
}

// source is the file that records are read from.
type source struct {
	file    string
	report  *report
	records pool[record]
}

// record returns a record without content.
func (s *source) record(line int, name string, schema []key) *record {
	r := s.records.take()
	fields := slices.Grow(r.fields[:0], len(schema))[:len(schema)]
	*r = record{source: s, line: line, name: name, schema: schema, fields: fields}
	return r
}

// read checks the table raw, which stands at p, against the schema.
func (s *source) read(name string, schema []key, raw map[string]any, p *place) *record {
	return s.readOpen(name, schema, "", raw, p)
}

// readOpen is read for a table that may have further keys that begin with
// open, unless that is empty.
func (s *source) readOpen(name string, schema []key, open string, raw map[string]any, p *place) *record {
	r := s.record(p.line, name, schema)
	known := 0
	for i, k := range schema {
		if v, ok := raw[k.name]; ok {
			known++
			r.fields[i] = r.present(k, v, p.key(k.name))
		} else {
			r.fields[i] = r.absent(k)
		}
	}
	if known == len(raw) {
		return r
	}
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		switch line := p.key(name).line; {
		case r.field(name) != nil:
		case open != "" && strings.HasPrefix(name, open):
			r.extras = append(r.extras, extra{name: name, value: raw[name], line: line})
		case open != "" && name+"." == open:
			r.report.errorf(r.file, line, "%s in %s is split at its dots; write the whole name in quotes", open+"*", r.name)
		default:
			r.unknown(name, line)
		}
	}
	return r
}

// field returns the field of a key, or nil where the schema does not have it.
func (r *record) field(name string) *field {
	for i := range r.schema {
		if r.schema[i].name == name {
			return &r.fields[i]
		}
	}
	return nil
}

func (r *record) unknown(name string, line int) {
	if r.report.full() {
		r.report.left++
		return
	}
	var names []string
	for _, k := range r.schema {
		names = append(names, k.name)
	}
	if near := nearest(name, names); near != "" {
		r.report.errorf(r.file, line, "unknown key %s in %s; did you mean %q?", quote(name), r.name, near)
		return
	}
	names = names[:0]
	for _, k := range r.schema {
		if k.later == "" {
			names = append(names, k.name)
		}
	}
	r.report.errorf(r.file, line, "unknown key %s in %s; remove it, the keys here are %s", quote(name), r.name, strings.Join(names, ", "))
}

// absent returns the field of a key that is not in the file.
func (r *record) absent(k key) field {
	f := field{line: int32(r.line), good: !k.required}
	switch {
	case k.required:
		r.report.errorf(r.file, r.line, "%s has no %s; add %s", r.name, k.name, k.example())
		f.value = k.zero()
	case k.kind == table && k.derived == "" && k.later == "":
		f.records = []*record{r.read(r.inner(k), k.keys, nil, &place{line: r.line})}
	default:
		f.value = k.zero()
		if k.fallback != nil {
			f.value = k.initial(r.line)
		}
	}
	return f
}

// present returns the field of a key that is in the file.
func (r *record) present(k key, v any, p *place) field {
	f := field{line: int32(p.line), given: true, value: k.zero()}
	switch {
	case k.later != "" && k.keys == nil:
		f.good = r.unsupported(k, v, p)
		if f.good && k.fallback != nil {
			f.value = k.initial(p.line)
		}
	case k.kind == table:
		t, ok := v.(map[string]any)
		if !ok {
			r.mismatch(k, v, p.line)
			return f
		}
		f.good = true
		f.records = []*record{r.readOpen(r.inner(k), k.keys, k.open, t, p)}
	case k.kind == tables:
		f.good = true
		ts, ok := asTables(v)
		if !ok {
			r.mismatch(k, v, p.line)
			return f
		}
		inner := r.inner(k)
		f.records = make([]*record, 0, len(ts))
		for i, t := range ts {
			if r.report.full() {
				break // nobody reads on, and the rest need not fit in memory
			}
			f.records = append(f.records, r.read(inner, k.keys, t, p.item(i)))
		}
	default:
		f.value, f.good = r.scalar(k, v, p)
	}
	return f
}

// inner returns how a message calls the table below the key k.
func (r *record) inner(k key) string {
	path := k.name
	if outer := strings.Trim(r.name, "[]"); strings.HasPrefix(r.name, "[") {
		path = outer + "." + k.name
	}
	if k.kind == tables {
		return "[[" + path + "]]"
	}
	return "[" + path + "]"
}

// asTables returns a list of tables, however it was written.
func asTables(v any) ([]map[string]any, bool) {
	switch v := v.(type) {
	case []map[string]any:
		return v, true
	case []any:
		ts := make([]map[string]any, len(v))
		for i, e := range v {
			t, ok := e.(map[string]any)
			if !ok {
				return nil, false
			}
			ts[i] = t
		}
		return ts, true
	}
	return nil, false
}

// unsupported reports a key that this version cannot obey, unless its value
// is what this version does anyway.
func (r *record) unsupported(k key, v any, p *place) bool {
	switch k.kind {
	case table, tables:
		if ts, ok := asTables(v); ok && len(ts) == 0 {
			return true
		}
		r.report.errorf(r.file, p.line, "%s is not supported by this version; %s", r.inner(k), k.later)
		return false
	case length:
		s, _ := v.(string)
		if d, err := time.ParseDuration(s); err == nil && d == k.fallback {
			return true
		}
	default:
		if v == k.fallback {
			return true
		}
	}
	if k.fallback == "" {
		r.report.errorf(r.file, p.line, "%s is not supported by this version; %s", k.name, k.later)
		return false
	}
	r.report.errorf(r.file, p.line, "%s is not supported by this version other than as %s; %s",
		k.name, k.assign(k.fallback), k.later)
	return false
}

func (r *record) mismatch(k key, v any, line int) {
	found := describe(v)
	if s, ok := v.(string); ok {
		found += " " + quote(s)
	}
	if k.secret {
		found = "of the wrong type"
	}
	r.report.errorf(r.file, line, "%s is %s, expected %s; write for example %s", k.name, found, k.expected(), k.example())
}

// describe names the TOML type of a decoded value.
func describe(v any) string {
	switch v := v.(type) {
	case string:
		return "a string"
	case int64:
		return fmt.Sprintf("the integer %d", v)
	case float64:
		return fmt.Sprintf("the float %v", v)
	case bool:
		return fmt.Sprintf("the boolean %t", v)
	case time.Time:
		return "a date or time"
	case map[string]any:
		return "a table"
	case []map[string]any:
		return "an array of tables"
	case []any:
		return "an array"
	}
	return "a value"
}

func (r *record) problem(name, format string, args ...any) {
	r.report.errorf(r.file, int(r.field(name).line), format, args...)
}

func (r *record) warn(name, format string, args ...any) {
	r.report.warnf(r.file, int(r.field(name).line), format, args...)
}

func (r *record) good(names ...string) bool {
	for _, name := range names {
		if !r.field(name).good {
			return false
		}
	}
	return true
}

func (r *record) given(name string) bool { return r.field(name).given }

func (r *record) text(name string) string            { return r.field(name).value.(string) }
func (r *record) integer(name string) int64          { return r.field(name).value.(int64) }
func (r *record) boolean(name string) bool           { return r.field(name).value.(bool) }
func (r *record) duration(name string) time.Duration { return r.field(name).value.(time.Duration) }
func (r *record) list(name string) []entry           { return r.field(name).value.([]entry) }
func (r *record) tables(name string) []*record       { return r.field(name).records }

// table returns a table, or nil where it is absent and has no defaults.
func (r *record) table(name string) *record {
	if rs := r.field(name).records; len(rs) > 0 {
		return rs[0]
	}
	return nil
}

// where returns the place of a key, to point at from another problem.
func (r *record) where(name string) where {
	return where{r.file, int(r.field(name).line)}
}

// where is a place in a message.
type where struct {
	file string
	line int
}

func (w where) String() string { return fmt.Sprintf("%s:%d", w.file, w.line) }
