package director

import "slices"

// kind is what diff must know of the objects of a table.
type kind[K, V comparable] struct {
	// compare orders creations and updates among themselves, and deletions.
	compare func(a, b Change[K, V]) int
	// same reports whether what is there will do for what is wanted.
	same func(have, want V) bool
}

func addressKind() kind[AddrKey, AddrSpec] {
	return kind[AddrKey, AddrSpec]{
		compare: func(a, b Change[AddrKey, AddrSpec]) int { return a.Key.Compare(b.Key) },
		// An address that is there is as good as ours: taking over the tag of
		// one that was configured by hand would make it ours to delete.
		same: func(AddrSpec, AddrSpec) bool { return true },
	}
}

// diff returns the changes that turn have into want: creations and updates, then
// deletions, each in the order of the kind. What is neither wanted nor owned
// stays.
func diff[K, V comparable](have, want map[K]V, owns func(K, V) bool, of kind[K, V]) []Change[K, V] {
	var changes, deletions []Change[K, V]
	for k, w := range want {
		if h, ok := have[k]; !ok {
			changes = append(changes, Change[K, V]{Op: Create, Key: k, New: w})
		} else if !of.same(h, w) {
			changes = append(changes, Change[K, V]{Op: Update, Key: k, Old: h, New: w})
		}
	}
	for k, h := range have {
		if _, wanted := want[k]; !wanted && owns(k, h) {
			deletions = append(deletions, Change[K, V]{Op: Delete, Key: k, Old: h})
		}
	}
	slices.SortFunc(changes, of.compare)
	slices.SortFunc(deletions, of.compare)
	return append(changes, deletions...)
}
