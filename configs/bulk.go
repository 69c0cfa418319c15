package configs

import (
	"bytes"
	"strconv"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"
)

// bulkSize is from when on a whole file is decoded while it is indexed, in
// bytes; sections always are. The decoder takes most of the time that a large
// file costs; what is read so is plain enough that it could not be read
// otherwise.
const bulkSize = 64 << 10

// bulk is the tree of a file, built while the file is indexed. It gives up at
// anything but tables, plain keys, and text without escapes, decimal integers,
// booleans, and lists and inline tables of these, each given once: then the
// decoder has the word, with its errors.
type bulk struct {
	odd   bool // there is no tree, or no more
	root  map[string]any
	at    map[string]any // the table that keys go into
	maps  pool[map[string]any]
	lists pool[tableList]
	texts map[string]any // that are handed out once more
}

// tableList is an array of tables, which grows while the file is read.
type tableList struct {
	in     map[string]any
	name   string
	tables []map[string]any
}

// reset begins with a file, whose place is root, or with none.
func (b *bulk) reset(wanted bool, root *place) {
	b.odd = !wanted
	b.maps.reset()
	b.lists.reset()
	if wanted {
		b.root = b.table()
		if b.texts == nil {
			b.texts = make(map[string]any)
		}
		b.at, root.table = b.root, b.root
	}
}

// table returns an empty table.
func (b *bulk) table() map[string]any {
	m := b.maps.take()
	if *m == nil {
		*m = make(map[string]any, 8)
	}
	clear(*m)
	return *m
}

// plain reports whether data has nothing that decoders might see differently:
// escapes, text over several lines, control characters.
func plain(data []byte) bool {
	if !utf8.Valid(data) || bytes.IndexByte(data, '\\') >= 0 || bytes.Contains(data, []byte(`"""`)) || bytes.Contains(data, []byte(`'''`)) {
		return false
	}
	for _, c := range data {
		if c < ' ' && c != '\n' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// tree returns what was built, and whether it is the whole file.
func (b *bulk) tree() (map[string]any, bool) {
	if b.odd {
		return nil, false
	}
	for l := range b.lists.taken() {
		l.in[l.name] = l.tables
	}
	return b.root, true
}

// enter opens the table of a header. c is its place, the last of path, below
// the table at the place parent.
func (b *bulk) enter(parent, c *place, name string, array bool, item *place) {
	if b.odd {
		return
	}
	in := parent.table
	_, taken := in[name]
	list := c.list
	switch {
	case in == nil, taken && list == nil, list != nil && !array:
		b.odd = true
		return
	case !array:
		b.at = b.table()
		in[name], c.table = b.at, b.at
		return
	case list == nil:
		list = b.lists.take()
		*list = tableList{in: in, name: name, tables: list.tables[:0]}
		c.list = list
		in[name] = list // until the end of the file
	}
	b.at = b.table()
	list.tables = append(list.tables, b.at)
	item.table = b.at
}

// set enters a key with its value.
func (b *bulk) set(name string, e *unstable.Node) {
	if b.odd {
		return
	}
	b.odd = !b.put(b.at, name, e.Value())
}

func (b *bulk) put(in map[string]any, name string, n *unstable.Node) bool {
	if _, taken := in[name]; taken {
		return false
	}
	v, ok := b.value(n)
	in[name] = v
	return ok
}

// text returns a text. The first few that are short are remembered, since most
// are the names of choices, or addresses that many services have in common.
func (b *bulk) text(s []byte) any {
	v, known := b.texts[string(s)]
	if known {
		return v
	}
	v = string(s)
	if len(b.texts) < 256 && len(s) < 64 {
		b.texts[v.(string)] = v
	}
	return v
}

// value returns a value as the decoder would, or false.
func (b *bulk) value(n *unstable.Node) (any, bool) {
	switch n.Kind {
	case unstable.String:
		return b.text(n.Data), true
	case unstable.Bool:
		return n.Data[0] == 't', true
	case unstable.Integer:
		s := string(n.Data)
		v, err := strconv.ParseInt(s, 10, 64)
		return v, err == nil && strconv.FormatInt(v, 10) == s // no sign, zero or underscore too many
	case unstable.Array:
		list := []any{}
		for it := n.Children(); it.Next(); {
			if it.Node().Kind == unstable.InlineTable {
				return nil, false
			}
			v, ok := b.value(it.Node())
			if !ok {
				return nil, false
			}
			list = append(list, v)
		}
		return list, true
	case unstable.InlineTable:
		t := b.table()
		for it := n.Children(); it.Next(); {
			keys := it.Node().Key()
			keys.Next()
			if !keys.IsLast() || !b.put(t, string(keys.Node().Data), it.Node().Value()) {
				return nil, false
			}
		}
		return t, true
	}
	return nil, false
}
