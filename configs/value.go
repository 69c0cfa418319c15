package configs

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// zero returns the value of a key that has none: of the type that record's
// methods expect.
func (k key) zero() any {
	switch k.kind {
	case text:
		return ""
	case integer:
		return int64(0)
	case boolean:
		return false
	case length:
		return time.Duration(0)
	case list, numbers:
		return []entry(nil)
	}
	return nil
}

// initial returns the default of a key that has one.
func (k key) initial(line int) any {
	words, ok := k.fallback.([]string)
	if !ok {
		return k.fallback
	}
	var es []entry
	for _, w := range words {
		es = append(es, entry{text: w, line: line})
	}
	return es
}

// expected says in words which values a key may have.
func (k key) expected() string {
	switch k.kind {
	case text:
		if len(k.choice) > 0 {
			return "one of " + strings.TrimPrefix(strings.Join(k.choice, ", "), ", ") + " in quotes"
		}
		return "a string"
	case integer:
		return "an integer from " + k.span()
	case boolean:
		return "true or false"
	case length:
		return "a duration in quotes"
	case list:
		return "an array of strings"
	case numbers:
		return "an array of integers from " + k.span()
	case table:
		return "a table"
	}
	return "an array of tables"
}

// example returns an assignment that is right, at least in form.
func (k key) example() string {
	switch k.kind {
	case table:
		return k.name + " = { ... }"
	case tables:
		return k.name + " = [ { ... } ]"
	case list:
		if words, ok := k.fallback.([]string); ok && len(words) > 0 {
			return k.assign(words)
		}
		if len(k.choice) > 0 {
			return k.assign(k.choice[:1])
		}
		return k.name + ` = ["..."]`
	case numbers:
		return fmt.Sprintf("%s = [%d]", k.name, k.min)
	}
	if k.fallback != nil && k.fallback != "" {
		return k.assign(k.fallback)
	}
	switch {
	case k.kind == integer:
		return k.assign(k.min)
	case len(k.choice) > 0:
		return k.assign(k.choice[0])
	}
	return k.name + ` = "..."`
}

// assign writes the key with a value as it stands in a file.
func (k key) assign(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%s = %q", k.name, v)
	case time.Duration:
		return fmt.Sprintf("%s = %q", k.name, short(v))
	case []string:
		quoted := make([]string, len(v))
		for i, w := range v {
			quoted[i] = strconv.Quote(w)
		}
		return k.name + " = [" + strings.Join(quoted, ", ") + "]"
	}
	return fmt.Sprintf("%s = %v", k.name, v)
}

// short writes a duration without the zero parts of time.Duration.String.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// span writes the range of a key.
func (k key) span() string {
	s := fmt.Sprintf("%d to %d", k.min, k.max)
	if k.kind == length {
		s = short(time.Duration(k.min)) + " to " + short(time.Duration(k.max))
	}
	switch {
	case k.off && k.kind == length:
		return "0s, or " + s
	case k.off:
		return "0, or " + s
	}
	return s
}

// scalar checks a value that is not a table and returns it in the type that
// record's methods expect.
func (r *record) scalar(k key, v any, p *place) (any, bool) {
	switch k.kind {
	case text:
		if s, ok := v.(string); ok {
			return v, r.chosen(k, s, p.line)
		}
	case integer:
		if n, ok := v.(int64); ok {
			if (n < k.min || n > k.max) && !(n == 0 && k.off) {
				r.report.errorf(r.file, p.line, "%s = %d is out of range; choose %s", k.name, n, k.span())
				return int64(0), false
			}
			return v, true
		}
	case boolean:
		if _, ok := v.(bool); ok {
			return v, true
		}
	case length:
		if s, ok := v.(string); ok {
			return r.length(k, s, p.line)
		}
	case list:
		if vs, ok := v.([]any); ok {
			return r.words(k, vs, p)
		}
	case numbers:
		if vs, ok := v.([]any); ok {
			return r.numbers(k, vs, p)
		}
	}
	r.mismatch(k, v, p.line)
	return k.zero(), false
}

// chosen checks a text against the choice that its key has.
func (r *record) chosen(k key, s string, line int) bool {
	switch {
	case len(k.choice) == 0 || slices.Contains(k.choice, s):
		return true
	case slices.Contains(k.future, s):
		r.report.errorf(r.file, line, "%s = %q is not supported by this version; choose %s", k.name, s, oneOf(k.choice))
		return false
	}
	advice := "choose " + oneOf(k.choice)
	if near := nearest(s, k.choice); near != "" {
		advice = fmt.Sprintf("did you mean %q?", near)
	}
	r.report.errorf(r.file, line, "%s is not a value of %s; %s", quote(s), k.name, advice)
	return false
}

// oneOf joins words as "a, b or c".
func oneOf(words []string) string {
	if words[0] == "" {
		words = append([]string{`""`}, words[1:]...)
	}
	n := len(words) - 1
	if n == 0 {
		return words[0]
	}
	return strings.Join(words[:n], ", ") + " or " + words[n]
}

// length checks a duration.
func (r *record) length(k key, s string, line int) (time.Duration, bool) {
	bad := func(format string, args ...any) (time.Duration, bool) {
		r.report.errorf(r.file, line, "%s = %s %s", k.name, quote(s), fmt.Sprintf(format, args...))
		return 0, false
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return bad(`has no unit; write for example "%ss" or "%sms"`, s, s)
	}
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return bad(`is not a duration; write a number and a unit, for example "500ms", "3s" or "1m30s"`)
	case d == 0 && k.off:
		return d, true
	case int64(d) < k.min || int64(d) > k.max:
		return bad("is out of range; choose %s", k.span())
	case d%k.step != 0:
		return bad("is too fine; choose a multiple of %s", short(k.step))
	}
	return d, true
}

// numbers checks a list of integers; elements that are wrong are left out.
func (r *record) numbers(k key, vs []any, p *place) ([]entry, bool) {
	good := len(vs) > 0 && len(vs) <= maxGroup
	if !good {
		r.report.errorf(r.file, p.line, "%s has %d elements; give 1 to %d", k.name, len(vs), maxGroup)
	}
	var es []entry
	for i, v := range vs {
		line := p.item(i).line
		n, ok := v.(int64)
		if !ok || n < k.min || n > k.max {
			r.report.errorf(r.file, line, "%s holds %s, expected only integers from %s; write for example %s", k.name, describe(v), k.span(), k.example())
			good = false
			continue
		}
		es = append(es, entry{number: n, line: line})
	}
	return es, good
}

// words checks a list of text; elements that are wrong are left out.
func (r *record) words(k key, vs []any, p *place) ([]entry, bool) {
	good := true
	var es []entry
	for i, v := range vs {
		line := p.item(i).line
		s, ok := v.(string)
		if !ok {
			r.report.errorf(r.file, line, "%s holds %s, expected only strings; write for example %s", k.name, describe(v), k.example())
			good = false
			continue
		}
		if !r.chosen(k, s, line) {
			good = false
			continue
		}
		es = append(es, entry{text: s, line: line})
	}
	if n := int64(len(vs)); k.max > 0 && (n < k.min || n > k.max) {
		r.report.errorf(r.file, p.line, "%s has %d elements; give %s", k.name, n, k.span())
		good = false
	} else if n < k.min {
		r.report.errorf(r.file, p.line, "%s is empty; write for example %s", k.name, k.example())
		good = false
	}
	return es, good
}
