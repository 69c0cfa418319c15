package script

import (
	"bytes"
	"strings"
	"unicode"
)

const (
	// keep is how much of the output is kept, in bytes.
	keep = 4096
	// maxLine bounds the line that is taken of it, in bytes.
	maxLine = 200
)

// tail keeps the end of what is written to it. It never fails, so that a program
// that prints much is not held up.
type tail struct {
	end []byte
}

func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	if n >= keep {
		t.end, p = t.end[:0], p[n-keep:]
	}
	if over := len(t.end) + len(p) - keep; over > 0 {
		t.end = append(t.end[:0], t.end[over:]...)
	}
	t.end = append(t.end, p...)
	return n, nil
}

// line returns the last line that is not empty.
func (t *tail) line() string {
	text := bytes.TrimSpace(t.end)
	if i := bytes.LastIndexAny(text, "\r\n"); i >= 0 {
		text = text[i+1:]
	}
	text = text[:min(len(text), maxLine)]
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return '?'
	}, strings.ToValidUTF8(string(text), "?"))
}
