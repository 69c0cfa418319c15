package notify

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/understudy-ha/understudy/vrrp/script"
)

// DefaultTimeout ends a delivery of a Target that gives none.
const DefaultTimeout = 10 * time.Second

// Target is who hears of events: exactly one of Command, FIFO and URL is given.
// It is a value; Command is never written.
type Target struct {
	On       States        // that are told; 0: AllStates
	Command  []string      // program and arguments, with placeholders in the arguments
	User     string        // runs Command; empty: script.DefaultUser
	FIFO     string        // absolute path of a named pipe, made if it is missing
	URL      string        // http or https; gets a POST
	Timeout  time.Duration // of one Command, or one try of URL; 0: DefaultTimeout
	RouterID string        // what this director is called, told to Command and URL
}

// on returns the states that are told.
func (t Target) on() States {
	if t.On == 0 {
		return AllStates
	}
	return t.On
}

// key is the same for targets that are one, whichever states they are told.
func (t Target) key() string {
	if t.FIFO != "" {
		return "fifo " + t.FIFO
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%q %q %s %q", t.URL, t.User, t.timeout(), t.RouterID)
	for _, arg := range t.Command {
		b.WriteString(" " + strconv.Quote(arg))
	}
	return b.String()
}

func (t Target) timeout() time.Duration {
	if t.Timeout <= 0 {
		return DefaultTimeout
	}
	return t.Timeout
}

// String names the target for people. Of a URL it says scheme and host alone:
// the rest may be secret.
func (t Target) String() string {
	switch {
	case t.FIFO != "":
		return t.FIFO
	case len(t.Command) > 0:
		return t.Command[0]
	}
	u, err := url.Parse(t.URL)
	if err != nil {
		return "url"
	}
	return u.Scheme + "://" + u.Host
}

// Check reports what keeps targets from working on this machine: programs that
// are missing, or that may not run as their user, and files where there should be
// a pipe.
func Check(targets map[Subject][]Target) error {
	var errs []error
	seen := make(map[string]bool)
	for _, s := range slices.SortedFunc(maps.Keys(targets), Subject.compare) {
		for _, t := range targets[s] {
			if seen[t.key()] {
				continue
			}
			seen[t.key()] = true
			if err := t.check(); err != nil {
				errs = append(errs, fmt.Errorf("notify for %s: %w", s, err))
			}
		}
	}
	return errors.Join(errs...)
}

func (t Target) check() error {
	switch {
	case len(t.Command) > 0:
		return script.Check(t.Command, t.User)
	case t.FIFO != "":
		info, err := os.Lstat(t.FIFO)
		if err == nil && info.Mode()&fs.ModeNamedPipe == 0 {
			return notPipe(t.FIFO)
		}
	}
	return nil
}

func notPipe(path string) error {
	return fmt.Errorf("open %s: it is not a named pipe; remove it, or name another", path)
}
