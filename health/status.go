package health

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Codes is a set of HTTP status codes.
type Codes []codeRange

// codeRange holds the codes from first to last.
type codeRange struct{ first, last int }

// ParseStatus reads a list of codes and ranges of codes such as
// "200-299,304". The codes are from 100 to 599 (RFC 9110 section 15).
func ParseStatus(text string) (Codes, error) {
	var codes Codes
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		first, last, ranged := strings.Cut(part, "-")
		r := codeRange{}
		var err error
		if r.first, err = parseCode(first); err == nil {
			r.last = r.first
			if ranged {
				r.last, err = parseCode(last)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("parse status %q: %w", part, err)
		}
		if r.last < r.first {
			return nil, fmt.Errorf("parse status %q: the range is upside down", part)
		}
		codes = append(codes, r)
	}
	slices.SortFunc(codes, func(a, b codeRange) int { return a.first - b.first })
	merged := codes[:1]
	for _, r := range codes[1:] {
		if end := &merged[len(merged)-1]; r.first <= end.last+1 {
			end.last = max(end.last, r.last)
		} else {
			merged = append(merged, r)
		}
	}
	return merged, nil
}

func parseCode(text string) (int, error) {
	code, err := strconv.ParseUint(strings.TrimSpace(text), 10, 16)
	if err != nil || code < 100 || code > 599 {
		return 0, errors.New("not a code from 100 to 599")
	}
	return int(code), nil
}

// Contains reports whether code is in the set.
func (c Codes) Contains(code int) bool {
	return slices.ContainsFunc(c, func(r codeRange) bool { return r.first <= code && code <= r.last })
}

// String returns the set in canonical form: sorted, merged, without spaces.
func (c Codes) String() string {
	var b strings.Builder
	for i, r := range c {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprint(&b, r.first)
		if r.last > r.first {
			fmt.Fprintf(&b, "-%d", r.last)
		}
	}
	return b.String()
}
