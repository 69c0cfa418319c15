package configs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Severity says whether a Problem keeps a configuration from being used.
type Severity uint8

// The severities.
const (
	Error Severity = iota
	Warning
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	File     string
	Line     int // from 1; 0 when the problem is with the file as a whole
	Severity Severity
	What     string // what is wrong, and what to do
}

// String returns "FILE:LINE: what, and what to do".
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	b.WriteString(": ")
	if p.Severity == Warning {
		b.WriteString("warning: ")
	}
	b.WriteString(p.What)
	return b.String()
}

// Problems is everything that was found, warnings included, ordered by file
// and line. As an error it holds at least one Problem of severity Error.
type Problems []Problem

// Error returns one line per problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// maxProblems bounds the report: beyond it nobody reads on, and a hostile file
// must not make the report larger than itself.
const maxProblems = 1000

// report collects problems while a configuration is read.
type report struct {
	found  []Problem
	errors int
	left   int // not recorded, because there were too many
}

// full reports whether further problems are only counted.
func (r *report) full() bool { return len(r.found) >= maxProblems }

func (r *report) add(p Problem) {
	if p.Severity == Error {
		r.errors++
	}
	if r.full() {
		r.left++
		return
	}
	r.found = append(r.found, p)
}

func (r *report) errorf(file string, line int, format string, args ...any) {
	r.add(Problem{File: file, Line: line, What: fmt.Sprintf(format, args...)})
}

func (r *report) warnf(file string, line int, format string, args ...any) {
	r.add(Problem{File: file, Line: line, Severity: Warning, What: fmt.Sprintf(format, args...)})
}

// problems returns what was found, in order.
func (r *report) problems() Problems {
	out := slices.Clone(r.found)
	slices.SortStableFunc(out, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.What, b.What))
	})
	if r.left > 0 {
		last := out[len(out)-1]
		out = append(out, Problem{File: last.File, Line: last.Line,
			What: fmt.Sprintf("%d further problems are not shown; correct these first", r.left)})
	}
	return out
}
