package director

// settle says what the kernel should hold now, given what it holds: everything
// to be held, and what is to be kept if it is there. An object that is there
// and kept still gets the wanted content.
func settle[K, V comparable](have map[K]V, want map[K]Want[V]) map[K]V {
	final := make(map[K]V, len(want))
	for k, w := range want {
		switch w.Intent {
		case Hold:
			final[k] = w.Spec
		case Keep:
			if _, ok := have[k]; ok {
				final[k] = w.Spec
			}
		}
	}
	return final
}
