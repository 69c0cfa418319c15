package track

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// files reads numbers from files. It watches their directories: who replaces a
// file by renaming another leaves a watch of the file itself behind.
type files struct {
	report  func(Target, finding)
	inotify *inotify
	dirs    map[string]int32 // watched, by path
	targets []Target
}

func newFiles(report func(Target, finding)) *files { return &files{report: report} }

func (f *files) subscribe() (feed[fileEvent], error) {
	i, err := newInotify()
	if err != nil {
		f.inotify = nil
		return nil, err
	}
	f.inotify, f.dirs = i, map[string]int32{}
	return i, nil
}

func (f *files) look(targets []Target, trouble string) time.Duration {
	f.targets = targets
	wait := fileResync
	notes := map[string]string{}
	for _, t := range targets {
		dir := filepath.Dir(t.Name)
		if trouble != "" {
			notes[dir] = trouble
		} else if _, done := notes[dir]; !done {
			notes[dir] = f.watch(dir)
		}
		if notes[dir] != "" {
			wait = time.Second
		}
		f.read(t, notes[dir], false)
	}
	if trouble == "" {
		for dir, wd := range f.dirs {
			if _, needed := notes[dir]; !needed {
				f.inotify.remove(wd)
				delete(f.dirs, dir)
			}
		}
	}
	return wait
}

// watch makes sure that a directory is watched, which may be another one than
// before under its name, and returns why it is not.
func (f *files) watch(dir string) (trouble string) {
	old, watched := f.dirs[dir]
	wd, err := f.inotify.add(dir)
	if watched && (err != nil || wd != old) {
		f.inotify.remove(old)
		delete(f.dirs, dir)
	}
	if err != nil {
		return err.Error()
	}
	f.dirs[dir] = wd
	return ""
}

// hear reads the files that are told of. Where somebody is still writing, an empty
// file says nothing yet.
func (f *files) hear(news []fileEvent) time.Duration {
	for _, e := range news {
		if e.name == "" || e.mask&(unix.IN_IGNORED|unix.IN_UNMOUNT) != 0 {
			return 0
		}
		writing := e.mask&(unix.IN_MODIFY|unix.IN_CREATE) != 0
		for _, t := range f.targets {
			dir, name := filepath.Split(t.Name)
			if wd, ok := f.dirs[filepath.Clean(dir)]; ok && wd == e.watch && name == e.name {
				f.read(t, "", writing)
			}
		}
	}
	return never
}

func (f *files) read(t Target, note string, writing bool) {
	text, err := readNumber(t.Name)
	number, bad := parseNumber(text)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.report(t, finding{state: Pass, reason: "there is no such file, which counts as 0", note: note})
	case err == nil && bad == nil:
		f.report(t, finding{state: passing(number == 0), number: number, reason: "it holds " + strconv.Itoa(number), note: note})
	case err == nil && text == "" && writing:
	default:
		if err != nil {
			bad = err
		}
		f.report(t, finding{state: Pass, first: true, reason: "no number has been read, which counts as 0", note: join(bad.Error(), note)})
	}
}

// numberLimit bounds what is read of a file, in bytes.
const numberLimit = 64

// readNumber returns the content of a file without the blanks around it. It does
// not block on what is not a file.
func readNumber(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("read %s: it is not a file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, numberLimit+1))
	if err != nil {
		return "", err
	}
	if len(b) > numberLimit {
		return "", fmt.Errorf("read %s: it is longer than %d bytes, expected a number", path, numberLimit)
	}
	return strings.TrimSpace(string(b)), nil
}

// parseNumber reads a decimal number; one beyond what counts becomes the greatest
// or least that does.
func parseNumber(s string) (int, error) {
	digits := strings.TrimLeft(s, "+-")
	if digits == "" || len(s)-len(digits) > 1 || slices.ContainsFunc([]byte(digits), func(c byte) bool { return c < '0' || c > '9' }) {
		return 0, fmt.Errorf("%q is not a number", s)
	}
	n, err := strconv.Atoi(s)
	if errors.Is(err, strconv.ErrRange) {
		n = MaxNumber
		if s[0] == '-' {
			n = -MaxNumber
		}
	}
	return max(-MaxNumber, min(n, MaxNumber)), nil
}
