// Package configs turns the TOML files of an operator into validated values.
//
// Reading is strict and reports every problem at once, each with its file and
// line. It goes in four steps, each with a file of its own:
//
//   - place.go indexes where every key and list element stands; it also is the
//     gate that refuses bad syntax and deep nesting before anything recurses.
//   - github.com/BurntSushi/toml decodes the file into a generic tree.
//   - record.go walks tree and index along the schema (schema.go): unknown keys,
//     types, ranges, choices, missing keys, defaults.
//   - router.go, track.go, service.go, server.go and check.go check what concerns
//     more than one key and build the values that the daemon runs on.
//
// A file goes these steps in sections (sections.go), one [[service]] after the
// other in the same memory. Where anything is amiss it goes them again as a
// whole, so that every problem shows.
//
// The package owns no state and starts nothing: the same bytes give the same
// Config. It reads files (Load) and the host name, and nothing else: it does not
// look at interfaces, addresses or the kernel, so that a file can be checked on
// another machine than the one it is for.
//
// reference.toml holds every key with its default, examples/ complete setups.
package configs
