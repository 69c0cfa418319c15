package vmac

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/understudy-ha/understudy/director/statefile"
	"github.com/understudy-ha/understudy/director/sysctl"
)

// loan is a setting that is not ours but is changed as long as it is needed.
type loan struct {
	Key string `json:"key"`
	Was string `json:"was"` // to be put back
	Set string `json:"set"` // by us
}

// loans are the settings that are changed now. They are written to a file before
// the kernel is, so that what a killed daemon has changed is put back too.
type loans struct {
	path  string // empty: no file
	table sysctl.Table
	now   []loan // by key
	read  bool
	stale bool // the file could not be written
}

// load reads the file once. What cannot be read counts as empty.
func (l *loans) load() error {
	if l.read || l.path == "" {
		return nil
	}
	l.read = true
	b, err := statefile.Read(l.path)
	if err != nil || b == nil {
		return err
	}
	var list []loan
	if err := json.Unmarshal(b, &list); err != nil {
		return fmt.Errorf("read %s: %w", l.path, err)
	}
	for _, one := range list {
		// A file that others could write must not lead us to other settings.
		if one.good() {
			l.put(one)
		}
	}
	return nil
}

// good reports whether this package makes such loans.
func (l loan) good() bool {
	return strings.HasPrefix(l.Key, ipv4) &&
		(strings.HasSuffix(l.Key, ".arp_ignore") || strings.HasSuffix(l.Key, ".arp_announce")) &&
		sysctl.CheckKey(l.Key) == nil && sysctl.CheckValue(l.Was) == nil && sysctl.CheckValue(l.Set) == nil
}

func (l *loans) put(one loan) {
	i, found := slices.BinarySearchFunc(l.now, one, func(a, b loan) int { return strings.Compare(a.Key, b.Key) })
	if found {
		l.now[i] = one
	} else {
		l.now = slices.Insert(l.now, i, one)
	}
}

func (l *loans) store() error {
	if l.path == "" {
		return nil
	}
	b, err := json.Marshal(l.now)
	if err != nil {
		return err
	}
	// It need not survive a power cut: the settings do not either.
	err = statefile.Replace(l.path, append(b, '\n'), false)
	l.stale = err != nil
	return err
}

// take makes settings, remembering what they were. What differs although it was
// made before has been changed by somebody else, or the interface is another one:
// what is found then is what is put back.
func (l *loans) take(settings []sysctl.Setting) error {
	var todo []sysctl.Setting
	var errs []error
	for _, s := range settings {
		have, err := l.table.Read(s.Key)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) { // the interface is gone
				errs = append(errs, err)
			}
			continue
		}
		if have == s.Value {
			continue
		}
		l.put(loan{Key: s.Key, Was: have, Set: s.Value})
		todo = append(todo, s)
	}
	if len(todo) == 0 && !l.stale {
		return errors.Join(errs...)
	}
	errs = append(errs, l.store())
	for _, s := range todo {
		if err := l.table.Write(s.Key, s.Value); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// giveBack puts back what is not needed any more. What somebody else has changed
// meanwhile stays as it is.
func (l *loans) giveBack(needed func(key string) bool) error {
	var errs []error
	kept := slices.Clone(l.now)
	kept = slices.DeleteFunc(kept, func(one loan) bool {
		if needed(one.Key) {
			return false
		}
		have, err := l.table.Read(one.Key)
		if err == nil && have == one.Set {
			err = l.table.Write(one.Key, one.Was)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
			return false
		}
		return true
	})
	if len(kept) != len(l.now) {
		l.now = kept
		errs = append(errs, l.store())
	}
	return errors.Join(errs...)
}
