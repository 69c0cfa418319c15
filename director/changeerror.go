package director

import (
	"errors"
	"fmt"
)

// ChangeError is the failure of one change of an Apply.
type ChangeError[K comparable] struct {
	Op  Op
	Key K
	Err error
}

// Error says what was to be done to which object, and why it was not.
func (e *ChangeError[K]) Error() string { return fmt.Sprintf("%v %v: %v", e.Op, e.Key, e.Err) }

// Unwrap returns the cause, usually a syscall.Errno.
func (e *ChangeError[K]) Unwrap() error { return e.Err }

// failuresOf returns a joined error of Apply without the failures of other
// changes than those of the wanted keys.
func failuresOf[K comparable](err error, wanted func(K) bool) error {
	switch e := err.(type) {
	case *ChangeError[K]:
		if !wanted(e.Key) {
			return nil
		}
	case interface{ Unwrap() []error }:
		var rest []error
		for _, err := range e.Unwrap() {
			rest = append(rest, failuresOf(err, wanted))
		}
		return errors.Join(rest...)
	}
	return err
}

// failures takes a joined error of Apply apart: the failed changes by key, and
// whatever was not a ChangeError.
func failures[K comparable](err error) (byKey map[K]error, rest []error) {
	byKey = map[K]error{}
	var walk func(error)
	walk = func(err error) {
		switch e := err.(type) {
		case nil:
		case *ChangeError[K]:
			byKey[e.Key] = e.Err
		case interface{ Unwrap() []error }:
			for _, err := range e.Unwrap() {
				walk(err)
			}
		default:
			rest = append(rest, err)
		}
	}
	walk(err)
	return byKey, rest
}

// briefLimit bounds the errors that brief tells one by one.
const briefLimit = 5

// brief returns the text of an error of Apply. Of many failures it tells the
// first ones: a table may have ten thousand, and each object shows its own.
func brief(err error) string {
	e, joined := err.(interface{ Unwrap() []error })
	if !joined || len(e.Unwrap()) <= briefLimit {
		return err.Error()
	}
	all := e.Unwrap()
	return fmt.Sprintf("%v\nand %d more", errors.Join(all[:briefLimit]...), len(all)-briefLimit)
}
