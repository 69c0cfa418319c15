package director

import (
	"maps"
	"slices"
)

// Ledger keeps the names of what we have created where a killed process finds
// them again. It is used by one goroutine.
type Ledger[K comparable] interface {
	// Load returns what was last stored; nothing stored yet is no error.
	Load() ([]K, error)
	// Store replaces what is stored, wholly or not at all.
	Store(keys []K) error
}

// owned is the set of names in a Ledger, which may be nil.
type owned[K comparable] struct {
	ledger  Ledger[K]
	compare func(a, b K) int
	keys    map[K]struct{}
	dirty   bool // the last Store failed
}

func (o *owned[K]) load() error {
	o.keys = map[K]struct{}{}
	if o.ledger == nil {
		return nil
	}
	keys, err := o.ledger.Load()
	if err != nil {
		return err
	}
	for _, k := range keys {
		o.keys[k] = struct{}{}
	}
	return nil
}

func (o *owned[K]) has(k K) bool {
	_, ok := o.keys[k]
	return ok
}

// change adds and removes names and stores the result if there is a difference.
func (o *owned[K]) change(add, remove []K) error {
	for _, k := range add {
		if !o.has(k) {
			o.keys[k] = struct{}{}
			o.dirty = true
		}
	}
	for _, k := range remove {
		if o.has(k) {
			delete(o.keys, k)
			o.dirty = true
		}
	}
	if !o.dirty {
		return nil
	}
	if o.ledger != nil {
		if err := o.ledger.Store(slices.SortedFunc(maps.Keys(o.keys), o.compare)); err != nil {
			return err
		}
	}
	o.dirty = false
	return nil
}
