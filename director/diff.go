package director

import "slices"

// diff returns the changes that turn have into want: creations in the order of
// the keys, then deletions in the order of the keys. What is neither wanted nor
// owned stays. An address that is there is as good as ours: taking over the tag
// of one that was configured by hand would make it ours to delete.
func diff(have, want map[AddrKey]AddrSpec, owns func(AddrKey, AddrSpec) bool) []Change[AddrKey, AddrSpec] {
	var changes, deletions []Change[AddrKey, AddrSpec]
	for k, w := range want {
		if _, ok := have[k]; !ok {
			changes = append(changes, Change[AddrKey, AddrSpec]{Op: Create, Key: k, New: w})
		}
	}
	for k, h := range have {
		if _, wanted := want[k]; !wanted && owns(k, h) {
			deletions = append(deletions, Change[AddrKey, AddrSpec]{Op: Delete, Key: k, Old: h})
		}
	}
	byKey := func(a, b Change[AddrKey, AddrSpec]) int { return a.Key.Compare(b.Key) }
	slices.SortFunc(changes, byKey)
	slices.SortFunc(deletions, byKey)
	return append(changes, deletions...)
}
