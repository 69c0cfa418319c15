package configs

import (
	"bytes"
	"errors"
	"fmt"
	"sort"

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
	keys   map[string]*place
	items  []*place
}

// key returns the place of a key of a table; where it is unknown, the table's.
func (p *place) key(name string) *place {
	if c := p.keys[name]; c != nil {
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

// child returns the place of a key, made if absent.
func (p *place) child(name string, line int) *place {
	if p.keys == nil {
		p.keys = make(map[string]*place)
	}
	c := p.keys[name]
	if c == nil {
		c = &place{line: line}
		p.keys[name] = c
	}
	return c
}

// table returns the table that keys below p belong to: p itself, or its last
// element so far.
func (p *place) table() *place {
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

// index is a file being indexed.
type index struct {
	parser unstable.Parser
	size   int
	breaks []int // offsets of the line feeds
}

// locate returns the place of everything in a TOML file, or a *syntaxError.
func locate(data []byte) (*place, error) {
	x := &index{size: len(data)}
	for i, c := range data {
		if c == '\n' {
			x.breaks = append(x.breaks, i)
		}
	}
	x.parser.Reset(data)
	root := &place{line: 1}
	at := root
	for x.parser.NextExpression() {
		e := x.parser.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			t, err := x.header(root, e)
			if err != nil {
				return nil, err
			}
			at = t
		case unstable.KeyValue:
			if err := x.keyValue(at, e, 1); err != nil {
				return nil, err
			}
		}
	}
	if err := x.parser.Error(); err != nil {
		return nil, x.syntax(err)
	}
	return root, nil
}

// line returns the line of a byte offset.
func (x *index) line(offset int) int {
	return sort.SearchInts(x.breaks, offset) + 1
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
		c := at.child(string(n.Data), line)
		if !it.IsLast() {
			at = c.table()
			continue
		}
		if !c.header {
			c.line, c.header = line, true
		}
		at = c
		if e.Kind == unstable.ArrayTable {
			at = &place{line: line, header: true}
			c.items = append(c.items, at)
		}
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
		at = at.table().child(string(n.Data), line)
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
			item := &place{line: x.nodeLine(it.Node(), at.line), header: true}
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
		return &syntaxError{line: 1, what: err.Error()}
	}
	offset := x.size
	if len(pe.Highlight) > 0 {
		offset = int(x.parser.Range(pe.Highlight).Offset)
	} else if i := bytes.LastIndexByte(x.parser.Data(), '\n'); i >= 0 && i == x.size-1 {
		offset = i
	}
	return &syntaxError{line: x.line(offset), what: pe.Message}
}
