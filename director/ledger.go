package director

import (
	"fmt"
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
	keys    map[K]struct{} // nil: not loaded yet
	dirty   bool           // keys is not what is stored
}

// load reads the ledger unless that was done or tried before.
func (o *owned[K]) load() error {
	if o.keys != nil {
		return nil
	}
	o.keys = map[K]struct{}{}
	if o.ledger == nil {
		return nil
	}
	keys, err := o.ledger.Load()
	if err != nil {
		return fmt.Errorf("read the ledger, taken as empty: %w", err)
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

func (o *owned[K]) add(k K) {
	if !o.has(k) {
		o.keys[k] = struct{}{}
		o.dirty = true
	}
}

func (o *owned[K]) remove(k K) {
	if o.has(k) {
		delete(o.keys, k)
		o.dirty = true
	}
}

// store writes the names down if they are not what is stored.
func (o *owned[K]) store() error {
	if !o.dirty {
		return nil
	}
	if o.ledger != nil {
		if err := o.ledger.Store(slices.SortedFunc(maps.Keys(o.keys), o.compare)); err != nil {
			return fmt.Errorf("write the ledger: %w", err)
		}
	}
	o.dirty = false
	return nil
}
