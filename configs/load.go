package configs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/BurntSushi/toml"
)

// maxSize bounds what is read, in bytes, over all files of a configuration.
// A thousand services of ten servers need one.
const maxSize = 16 << 20

// Load reads the configuration in the file at path and in those that it
// includes. The error is a Problems.
func Load(path string) (*Config, error) {
	l := &loader{builder: builder{report: &report{}}, seen: make(map[string]bool), left: maxSize}
	if data, ok := l.read(path, l.whole(path)); ok {
		l.main(path, data)
		l.include(path)
	}
	return l.finish(path)
}

// Parse reads the configuration in data; name stands for the file in
// problems. It includes no further files: naming some is a problem. The error
// is a Problems.
func Parse(name string, data []byte) (*Config, error) {
	l := &loader{builder: builder{report: &report{}}}
	if len(data) > maxSize {
		l.errorf(name, 0, "the configuration is larger than %d MiB; split it", maxSize>>20)
		return l.finish(name)
	}
	l.main(name, data)
	if l.director != nil && len(l.director.list("include")) > 0 {
		l.director.problem("include", "include cannot be followed, since this was not read from a file; remove it")
	}
	return l.finish(name)
}

// loader reads the files of one configuration.
type loader struct {
	builder
	seen map[string]bool // paths that were read
	left int64           // bytes that may still be read
}

// finish builds the Config out of what was read.
func (l *loader) finish(file string) (*Config, error) {
	if l.director != nil {
		l.build(file)
	}
	problems := l.problems()
	if l.errors > 0 {
		return nil, problems
	}
	l.config.Warnings = problems
	return &l.config, nil
}

// whole reports problems with a file as such.
func (l *loader) whole(path string) func(format string, args ...any) {
	return func(format string, args ...any) { l.errorf(path, 0, format, args...) }
}

// read returns the content of a file, and whether it could be read.
func (l *loader) read(path string, problem func(format string, args ...any)) ([]byte, bool) {
	l.seen[identity(path)] = true
	f, err := os.Open(path)
	if err != nil {
		problem("cannot open %s: %v; correct the path or the permissions", path, reason(err))
		return nil, false
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, l.left+1))
	switch {
	case err != nil:
		problem("cannot read %s: %v; name a file", path, reason(err))
		return nil, false
	case int64(len(data)) > l.left:
		problem("the configuration is larger than %d MiB with %s; split it over several directors", maxSize>>20, path)
		return nil, false
	}
	l.left -= int64(len(data))
	return data, true
}

// reason strips the path from a file system error: the problem has it.
func reason(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// identity returns what two names of one file have in common.
func identity(path string) string {
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		path = resolved
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return path
}

// main reads the file that the configuration starts from.
func (l *loader) main(name string, data []byte) {
	raw, at, ok := l.decode(name, data)
	if !ok {
		return
	}
	r := read(l.report, name, "the file", mainFile, raw, at)
	l.routers = append(l.routers, r.tables("vrrp")...)
	l.services = append(l.services, r.tables("service")...)
	if l.director = r.table("director"); l.director == nil {
		l.director = read(&report{}, name, "[director]", directorKeys, nil, at)
	}
}

// include reads the files that the main file names.
func (l *loader) include(path string) {
	if l.director == nil {
		return
	}
	for _, pattern := range l.director.list("include") {
		problem := func(format string, args ...any) { l.errorf(path, pattern.line, format, args...) }
		glob := pattern.text
		if !filepath.IsAbs(glob) {
			glob = filepath.Join(quoteGlob(filepath.Dir(path)), glob)
		}
		names, err := filepath.Glob(glob) // sorted
		switch {
		case err != nil || pattern.text == "":
			problem("include holds %s, which is not a pattern for file names; write for example \"conf.d/*.toml\"", quote(pattern.text))
		case len(names) == 0 && !strings.ContainsAny(pattern.text, `*?[\`):
			problem("include names %s, which does not exist; create the file or remove the name", quote(pattern.text))
		case len(names) == 0:
			l.warnf(path, pattern.line, "include holds %s, which matches no file; correct it, unless there are none yet", quote(pattern.text))
		}
		for _, name := range names {
			if l.seen[identity(name)] {
				continue // matched by two patterns, or the main file itself
			}
			if data, ok := l.read(name, problem); ok {
				l.included(name, data)
			}
		}
	}
}

// quoteGlob returns a pattern that matches dir only.
func quoteGlob(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// included reads a file that the main file includes.
func (l *loader) included(name string, data []byte) {
	raw, at, ok := l.decode(name, data)
	if !ok {
		return
	}
	if _, ok := raw["director"]; ok {
		l.errorf(name, at.key("director").line, "[director] stands in an included file; move it to the main file")
		delete(raw, "director")
	}
	r := read(l.report, name, "the file", included, raw, at)
	l.routers = append(l.routers, r.tables("vrrp")...)
	l.services = append(l.services, r.tables("service")...)
}

// decode returns the tree of a TOML file and where everything in it stands.
func (l *loader) decode(name string, data []byte) (raw map[string]any, at *place, ok bool) {
	line := 1
	// A fault in a parser must not end a daemon that is asked to reload.
	defer func() {
		if p := recover(); p != nil {
			l.errorf(name, line, "the file cannot be parsed (%v); simplify the syntax", p)
			ok = false
		}
	}()
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	at, err := locate(data)
	if se, bad := errors.AsType[*syntaxError](err); bad {
		l.errorf(name, se.line, "%s; correct the syntax%s", se.what, hint(data, se.line))
		return nil, nil, false
	}
	if _, err := toml.Decode(string(data), &raw); err != nil {
		what := err.Error()
		if pe, ok := errors.AsType[toml.ParseError](err); ok {
			line, what = pe.Position.Line, cut(pe.Message)
		}
		advice := "correct the value"
		if strings.Contains(what, " already ") {
			advice = "remove one of the two"
		}
		l.errorf(name, line, "%s; %s", lower(strings.TrimSuffix(what, ".")), advice)
		return nil, nil, false
	}
	return raw, at, true
}

// hint guesses the most frequent slip in a line that is not TOML.
func hint(data []byte, line int) string {
	lines := bytes.SplitN(data, []byte("\n"), line+1)
	if line > len(lines) {
		return ""
	}
	_, value, found := bytes.Cut(lines[line-1], []byte("="))
	value, _, _ = bytes.Cut(value, []byte("#"))
	value = bytes.TrimSpace(value)
	number := len(bytes.Trim(value, "+-0123456789_")) == 0
	if found && !number && !bytes.ContainsAny(value[:1], `"'[{`) {
		return " (text, addresses and durations stand in quotes)"
	}
	return ""
}

// cut shortens a message that repeats a value from the file.
func cut(s string) string {
	if len(s) > 4*maxWord {
		return strings.ToValidUTF8(s[:4*maxWord], "") + "..."
	}
	return s
}

// lower starts a message with a small letter.
func lower(s string) string {
	if s == "" {
		return "error"
	}
	return strings.ToLower(s[:1]) + s[1:]
}
