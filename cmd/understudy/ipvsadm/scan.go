package ipvsadm

import (
	"fmt"
	"strings"
)

// word is an option of a command line as it was read.
type word struct {
	option
	typed string // how it was typed: -t, --tcp-service
	value string
	has   bool // value was given
}

// scan reads a command line as options and the arguments that belong to none,
// by the rules of libpopt: letters may be bundled, a value may follow its letter
// or a '=', and nothing after "--" is an option. Long names are not abbreviated.
func scan(args []string) (words []word, rest []string, err error) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			return words, append(rest, args[i+1:]...), nil
		case len(arg) < 2 || arg[0] != '-':
			rest = append(rest, arg)
			continue
		}
		// next returns the argument that follows, if it may be a value of o.
		next := func(o *option) (string, bool) {
			if o.arg == none || i+1 >= len(args) || o.arg == optional && strings.HasPrefix(args[i+1], "-") {
				return "", false
			}
			i++
			return args[i], true
		}
		if name, ok := strings.CutPrefix(arg, "--"); ok {
			name, value, has := strings.Cut(name, "=")
			o := findLong(name)
			switch {
			case o == nil:
				return nil, nil, unknown("--"+name, completions(name))
			case has && o.arg == none:
				return nil, nil, illegible("--%s has no value; leave out %q", name, "="+value)
			case !has:
				value, has = next(o)
			}
			words = append(words, word{*o, "--" + name, value, has})
		} else {
			for j := 1; j < len(arg); j++ {
				o := findShort(arg[j])
				if o == nil {
					return nil, nil, unknown(fmt.Sprintf("-%c", rune(arg[j])), nil)
				}
				w := word{option: *o, typed: o.name()}
				switch follows := arg[j+1:]; {
				case o.arg == none && strings.HasPrefix(follows, "="):
					return nil, nil, illegible("%s has no value; leave out %q", w.typed, follows)
				case o.arg != none && follows != "":
					w.value, w.has = strings.TrimPrefix(follows, "="), true
					j = len(arg)
				default:
					if follows == "" {
						w.value, w.has = next(o)
					}
				}
				words = append(words, w)
			}
		}
		if w := words[len(words)-1]; w.arg == required && !w.has {
			return nil, nil, illegible("%s needs a value after it", w.typed)
		}
	}
	return words, rest, nil
}

func unknown(typed string, perhaps []string) error {
	hint := "see -h"
	if len(perhaps) > 0 {
		hint = "is it " + strings.Join(perhaps, " or ") + "?"
	}
	return illegible("there is no option %s; %s", quoteOption(typed), hint)
}

// quoteOption leaves an ordinary option as it is, and quotes one that could do
// something to a terminal.
func quoteOption(s string) string {
	for _, r := range s {
		if r <= ' ' || r > '~' {
			return fmt.Sprintf("%q", s)
		}
	}
	return s
}

// Error ends a command with a status of its own.
type Error struct {
	Status int
	Err    error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// The statuses, which are ipvsadm's.
const (
	statusAbsent  = 1   // the service to be listed does not exist
	statusUsage   = 2   // the command line makes no sense, or the kernel cannot be reached
	statusRefused = 255 // the kernel refuses, or the command line cannot be read as options
)

func illegible(format string, args ...any) error {
	return &Error{statusRefused, fmt.Errorf(format, args...)}
}

func misuse(format string, args ...any) error {
	return &Error{statusUsage, fmt.Errorf(format, args...)}
}
