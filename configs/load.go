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
	return load(path, func(l *loader) { l.files(path) })
}

// Parse reads the configuration in data; name stands for the file in
// problems. It includes no further files: naming some is a problem. The error
// is a Problems.
func Parse(name string, data []byte) (*Config, error) {
	return load(name, func(l *loader) { l.parse(name, data) })
}

// load makes a Config of what read reads, in sections if that can be.
func load(file string, read func(l *loader)) (*Config, error) {
	if config := loadSections(file, read); config != nil {
		return config, nil
	}
	return loadWhole(file, read)
}

func loadWhole(file string, read func(l *loader)) (*Config, error) {
	l := newLoader()
	read(l)
	return l.finish(file)
}

// loader reads the files of one configuration.
type loader struct {
	builder
	seen     map[string]bool // paths that were read
	left     int64           // bytes that may still be read
	sections *sections       // nil: files are read whole
}

func newLoader() *loader {
	return &loader{builder: builder{report: &report{}}, seen: make(map[string]bool), left: maxSize}
}

// files reads a file and those that it includes.
func (l *loader) files(path string) {
	if data, ok := l.read(path, l.whole(path)); ok {
		l.main(path, data)
		l.include(path)
	}
}

// parse reads a configuration that is not in a file.
func (l *loader) parse(name string, data []byte) {
	if len(data) > maxSize {
		l.errorf(name, 0, "the configuration is larger than %d MiB; split it", maxSize>>20)
		return
	}
	l.main(name, data)
	if l.director != nil && len(l.director.list("include")) > 0 {
		l.director.problem("include", "include cannot be followed, since this was not read from a file; remove it")
	}
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
	var content bytes.Buffer
	if info, err := f.Stat(); err == nil {
		content.Grow(int(min(max(info.Size(), 0), l.left)) + bytes.MinRead)
	}
	_, err = content.ReadFrom(io.LimitReader(f, l.left+1))
	data := content.Bytes()
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
	raw, at, services, ok := l.tree(name, data)
	if !ok {
		return
	}
	src := &source{file: name, report: l.report}
	r := src.read("the file", mainFile, raw, at)
	l.routers = append(l.routers, r.tables("vrrp")...)
	l.groups = append(l.groups, r.tables("group")...)
	l.services = append(l.services, r.tables("service")...)
	if l.director = r.table("director"); l.director == nil {
		src = &source{file: name, report: &report{}}
		l.director = src.read("[director]", directorKeys, nil, at)
	}
	l.buildSections(name, services)
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
			if l.sections != nil && l.spoiled() {
				return
			}
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
	raw, at, services, ok := l.tree(name, data)
	if !ok {
		return
	}
	if _, ok := raw["director"]; ok {
		l.errorf(name, at.key("director").line, "[director] stands in an included file; move it to the main file")
		delete(raw, "director")
	}
	src := &source{file: name, report: l.report}
	r := src.read("the file", included, raw, at)
	l.routers = append(l.routers, r.tables("vrrp")...)
	l.groups = append(l.groups, r.tables("group")...)
	l.services = append(l.services, r.tables("service")...)
	l.buildSections(name, services)
}

// tree returns the tree of a TOML file and where everything in it stands, and
// apart from that the services, where the file is read in sections.
func (l *loader) tree(name string, data []byte) (raw map[string]any, at *place, services []section, ok bool) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if l.sections == nil {
		raw, at, ok = l.decode(name, new(index), data, 1, len(data) >= bulkSize)
		return raw, at, nil, ok
	}
	rest, services := split(data)
	if raw, at, ok = l.decode(name, new(index), rest.text, 1, true); ok && !rest.complete(raw, at) {
		l.sections.odd = true
		return nil, nil, nil, false
	}
	return raw, at, services, ok
}

// decode returns the tree of a TOML file, or of a section of one that begins
// at a line, and where everything in it stands.
func (l *loader) decode(name string, x *index, data []byte, line int, bulk bool) (raw map[string]any, at *place, ok bool) {
	// A fault in a parser must not end a daemon that is asked to reload.
	defer func() {
		if p := recover(); p != nil {
			l.errorf(name, line, "the file cannot be parsed (%v); simplify the syntax", p)
			ok = false
		}
	}()
	at, raw, err := x.read(data, line, bulk)
	if se, bad := errors.AsType[*syntaxError](err); bad {
		l.errorf(name, se.line, "%s; correct the syntax%s", se.what, hint(data, se.line))
		return nil, nil, false
	}
	if raw != nil {
		return raw, at, true
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
