package configs

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/pelletier/go-toml/v2/unstable"
)

// maxDepth bounds how deep tables, arrays and dotted keys may nest. The schema
// needs five; the bound keeps the decoder, which has none, from exhausting the
// stack or spending quadratic time on a hostile file.
const maxDepth = 16

// place is where a value stands: the line of its key, or of the element in a
// list, and the places of what it holds. Methods accept a nil place, which
// stands for a value that the index does not know.
type place struct {
	line   int
	header bool // line is that of the header or key, not of a dotted key below it
	keys   []named
	byName map[string]*place // of keys, once they are many
	items  []*place
	table  map[string]any // that is read in bulk, for headers below it
	list   *tableList     // the same of an array of tables
}

// clear makes an empty place out of one that was used.
func (p *place) clear() {
	*p = place{keys: p.keys[:0], items: p.items[:0]}
}

// named is the place of a key.
type named struct {
	name string
	*place
}

// manyKeys is from when on keys are looked up by name: most tables have a few.
const manyKeys = 16

// find returns the place of a key of a table, or nil.
func (p *place) find(name string) *place {
	if p.byName != nil {
		return p.byName[name]
	}
	for _, k := range p.keys {
		if k.name == name {
			return k.place
		}
	}
	return nil
}

// key returns the place of a key of a table; where it is unknown, the table's.
func (p *place) key(name string) *place {
	if c := p.find(name); c != nil {
		return c
	}
	return &place{line: p.line}
}

// item returns the place of an element of a list; where it is unknown, the
// list's.
func (p *place) item(i int) *place {
	if i < len(p.items) {
		return p.items[i]
	}
	return &place{line: p.line}
}

// child returns the place of a key of p, made if absent.
func (x *index) child(p *place, key []byte, line int) *place {
	name, ok := x.names[string(key)]
	if !ok {
		name = string(key)
		x.names[name] = name
	}
	if c := p.find(name); c != nil {
		return c
	}
	c := x.place(line)
	p.keys = append(p.keys, named{name, c})
	switch {
	case p.byName != nil:
		p.byName[name] = c
	case len(p.keys) > manyKeys:
		p.byName = make(map[string]*place, 2*manyKeys)
		for _, k := range p.keys {
			p.byName[k.name] = k.place
		}
	}
	return c
}

// place returns a new place.
func (x *index) place(line int) *place {
	p := x.places.take()
	p.clear()
	p.line = line
	return p
}

// latest returns the table that keys below p belong to: p itself, or its last
// element so far.
func (p *place) latest() *place {
	if n := len(p.items); n > 0 {
		return p.items[n-1]
	}
	return p
}

// syntaxError is a file that is not TOML.
type syntaxError struct {
	line int
	what string
}

func (e *syntaxError) Error() string { return e.what }

// index finds out where everything in a file stands. It can be used for one
// file, or section of one, after the other: what it has returned for the last
// is overwritten with the next.
type index struct {
	parser unstable.Parser
	size   int
	offset int // that was looked up last
	number int // the line of that
	names  map[string]string
	places pool[place]
	bulk   bulk
}

// locate returns the place of everything in a TOML file, or a *syntaxError.
func locate(data []byte) (*place, error) {
	root, _, err := new(index).read(data, 1, false)
	return root, err
}

// read returns the place of everything in data, whose first line is counted as
// line, or a *syntaxError. With bulk it returns the tree, too, or nil where
// that is for the decoder to read.
func (x *index) read(data []byte, line int, bulk bool) (*place, map[string]any, error) {
	x.size, x.offset, x.number = len(data), 0, line
	if x.names == nil {
		x.names = make(map[string]string)
	}
	x.parser.Reset(data)
	x.places.reset()
	root := x.place(line)
	x.bulk.reset(bulk && plain(data), root)
	at := root
	for x.parser.NextExpression() {
		e := x.parser.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			t, err := x.header(root, e)
			if err != nil {
				return nil, nil, err
			}
			at = t
		case unstable.KeyValue:
			if err := x.keyValue(at, e, 1); err != nil {
				return nil, nil, err
			}
			x.assign(e)
		}
	}
	if err := x.parser.Error(); err != nil {
		return nil, nil, x.syntax(err)
	}
	tree, _ := x.bulk.tree()
	return root, tree, nil
}

// assign hands a key with its value over to the bulk.
func (x *index) assign(e *unstable.Node) {
	if x.bulk.odd {
		return
	}
	it := e.Key()
	it.Next()
	if !it.IsLast() {
		x.bulk.odd = true
		return
	}
	x.bulk.set(x.names[string(it.Node().Data)], e)
}

// line returns the line of a byte offset.
func (x *index) line(offset int) int {
	// Everything is looked up in the order of the file, or nearly so.
	data := x.parser.Data()
	if offset >= x.offset {
		x.number += bytes.Count(data[x.offset:offset], []byte("\n"))
	} else {
		x.number -= bytes.Count(data[offset:x.offset], []byte("\n"))
	}
	x.offset = offset
	return x.number
}

// nodeLine returns the line of a node, or that of its parent for the kinds
// (arrays) that carry no position.
func (x *index) nodeLine(n *unstable.Node, parent int) int {
	if n.Raw.Length == 0 {
		return parent
	}
	return x.line(int(n.Raw.Offset))
}

func tooDeep(line int) error {
	return &syntaxError{line: line, what: fmt.Sprintf("nested more than %d deep; no key of this file needs that", maxDepth)}
}

// header enters [a.b] or [[a.b]] and returns the table it opens.
func (x *index) header(root *place, e *unstable.Node) (*place, error) {
	at := root
	it := e.Key()
	for depth := 1; it.Next(); depth++ {
		n := it.Node()
		line := x.nodeLine(n, at.line)
		if depth > maxDepth {
			return nil, tooDeep(line)
		}
		c := x.child(at, n.Data, line)
		if !it.IsLast() {
			at = c.latest()
			continue
		}
		if !c.header {
			c.line, c.header = line, true
		}
		parent := at
		at = c
		if e.Kind == unstable.ArrayTable {
			at = x.place(line)
			at.header = true
			c.items = append(c.items, at)
		}
		x.bulk.enter(parent, c, x.names[string(n.Data)], e.Kind == unstable.ArrayTable, at)
	}
	return at, nil
}

// keyValue enters a.b = value below the table at.
func (x *index) keyValue(at *place, e *unstable.Node, depth int) error {
	it := e.Key()
	for it.Next() {
		n := it.Node()
		line := x.nodeLine(n, at.line)
		if depth++; depth > maxDepth {
			return tooDeep(line)
		}
		at = x.child(at.latest(), n.Data, line)
	}
	at.header = true
	return x.value(at, e.Value(), depth)
}

// value enters what a value holds.
func (x *index) value(at *place, v *unstable.Node, depth int) error {
	if depth > maxDepth {
		return tooDeep(at.line)
	}
	switch v.Kind {
	case unstable.Array:
		for it := v.Children(); it.Next(); {
			item := x.place(x.nodeLine(it.Node(), at.line))
			item.header = true
			at.items = append(at.items, item)
			if err := x.value(item, it.Node(), depth+1); err != nil {
				return err
			}
		}
	case unstable.InlineTable:
		for it := v.Children(); it.Next(); {
			if err := x.keyValue(at, it.Node(), depth); err != nil {
				return err
			}
		}
	}
	return nil
}

// syntax gives the parser's error its line.
func (x *index) syntax(err error) *syntaxError {
	var pe *unstable.ParserError
	if !errors.As(err, &pe) {
		return &syntaxError{line: x.number, what: err.Error()}
	}
	offset := x.size
	if len(pe.Highlight) > 0 {
		offset = int(x.parser.Range(pe.Highlight).Offset)
	} else if i := bytes.LastIndexByte(x.parser.Data(), '\n'); i >= 0 && i == x.size-1 {
		offset = i
	}
	return &syntaxError{line: x.line(offset), what: pe.Message}
}
