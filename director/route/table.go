package route

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/link"
	"github.com/understudy-ha/understudy/director/rtnl"
)

var _ director.Table[director.RoutingKey, director.RoutingSpec] = (*Table)(nil)

// Table is the kernel's routes and rules.
type Table struct {
	mu     sync.Mutex // one exchange at a time
	socket *rtnl.Socket
	keys   []director.RoutingKey
}

type (
	change = director.Change[director.RoutingKey, director.RoutingSpec]
	list   = map[director.RoutingKey]director.RoutingSpec
)

// New opens a table in the network namespace of the calling thread. Close ends it.
func New() (*Table, error) {
	s, err := rtnl.Dial()
	if err != nil {
		return nil, err
	}
	s.Strict()
	return &Table{socket: s}, nil
}

// Close gives the socket back. It is not to be called during List or Apply.
func (t *Table) Close() error { return t.socket.Close() }

// SetKeys names what List looks for besides what carries our tag.
func (t *Table) SetKeys(keys []director.RoutingKey) {
	keys = slices.Clone(keys)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.keys = keys
}

// List returns the routes and rules that carry our tag, and of the others those
// that SetKeys has named. Where both stand in one place, ours is told of routes,
// and of rules, which the kernel cannot tell apart, the other one.
func (t *Table) List(ctx context.Context) (map[director.RoutingKey]director.RoutingSpec, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	found, err := t.ours(ctx)
	if err != nil {
		return nil, err
	}
	held := make(map[director.RouteKey]bool, len(found))
	for _, e := range found {
		held[e.key] = true
	}
	var missing []director.RouteKey
	for _, k := range t.keys {
		if !k.IsRule() && !held[k.Route] {
			missing = append(missing, k.Route)
		}
	}
	others, err := t.at(ctx, missing)
	if err != nil {
		return nil, err
	}
	for _, e := range others {
		if !held[e.key] {
			held[e.key] = true
			found = append(found, e)
		}
	}
	result := make(list, len(found))
	if err := t.name(ctx, found, result); err != nil {
		return nil, err
	}
	rules, err := t.allRules(ctx)
	if err != nil {
		return nil, err
	}
	for _, e := range rules {
		if key := (director.RoutingKey{Rule: e.rule}); !e.odd && (e.tag == link.Protocol || slices.Contains(t.keys, key)) {
			result[key] = director.RoutingSpec{Ours: e.tag == link.Protocol}
		}
	}
	for _, e := range rules {
		key := director.RoutingKey{Rule: e.rule}
		if _, ok := result[key]; ok && !e.odd && e.tag != link.Protocol {
			result[key] = director.RoutingSpec{}
		}
	}
	return result, nil
}

var families = []uint8{unix.AF_INET, unix.AF_INET6}

// name enters routes in result, with the names of their interfaces.
func (t *Table) name(ctx context.Context, found []entry, result list) error {
	var indexes []int
	for _, e := range found {
		if e.index != 0 {
			indexes = append(indexes, e.index)
		}
	}
	slices.Sort(indexes)
	names, err := t.socket.Names(ctx, slices.Compact(indexes))
	if err != nil {
		return err
	}
	for _, e := range found {
		key := director.RoutingKey{Route: e.key}
		if _, ok := result[key]; ok {
			continue
		}
		if e.spec.Link = names[e.index]; e.index != 0 && e.spec.Link == "" {
			continue // the interface has gone meanwhile, and its routes with it
		}
		result[key] = director.RoutingSpec{Route: e.spec, Ours: e.tag == link.Protocol}
	}
	return nil
}

// ours returns the routes with our tag.
func (t *Table) ours(ctx context.Context) ([]entry, error) {
	var found []entry
	for _, fam := range families {
		entries, err := t.routes(ctx, fam, 0, link.Protocol)
		if err != nil {
			return nil, err
		}
		found = append(found, entries...)
	}
	return found, nil
}

// at returns the routes that stand under the given keys, whosever they are.
func (t *Table) at(ctx context.Context, keys []director.RouteKey) ([]entry, error) {
	type place struct {
		family uint8
		table  uint32
	}
	wanted := make(map[director.RouteKey]bool, len(keys))
	var places []place
	for _, k := range keys {
		wanted[k] = true
		if p := (place{family(k.Destination), k.Table}); !slices.Contains(places, p) {
			places = append(places, p)
		}
	}
	var found []entry
	for _, p := range places {
		entries, err := t.routes(ctx, p.family, p.table, 0)
		if err != nil {
			return nil, err
		}
		found = append(found, slices.DeleteFunc(entries, func(e entry) bool { return !wanted[e.key] })...)
	}
	return found, nil
}

// routes dumps the routes of a family, of one table and with one tag as far as
// these are not zero. A kernel before 4.20 tells all.
func (t *Table) routes(ctx context.Context, fam uint8, table uint32, tag uint8) ([]entry, error) {
	var entries []entry
	err := t.socket.Dump(ctx, func() *nl.NetlinkRequest { return dumpRoutes(fam, table, tag) }, func(body []byte) error {
		e, ok, err := parseRoute(body)
		if ok && family(e.key.Destination) == fam && (table == 0 || e.key.Table == table) && (tag == 0 || e.tag == tag) {
			entries = append(entries, e)
		}
		return err
	})
	if err != nil && !errors.Is(err, unix.ENOENT) { // there is no such table yet
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return entries, nil
}

// allRules returns the rules of both families.
func (t *Table) allRules(ctx context.Context) ([]ruleEntry, error) {
	var all []ruleEntry
	for _, fam := range families {
		entries, err := t.rules(ctx, fam)
		if err != nil {
			return nil, err
		}
		all = append(all, entries...)
	}
	return all, nil
}

// rules dumps the rules of a family in the order in which the kernel looks at
// them.
func (t *Table) rules(ctx context.Context, fam uint8) ([]ruleEntry, error) {
	var entries []ruleEntry
	err := t.socket.Dump(ctx, func() *nl.NetlinkRequest { return dumpRules(fam) }, func(body []byte) error {
		e, ok, err := parseRule(body)
		if ok && e.rule.IPv6 == (fam == unix.AF_INET6) {
			entries = append(entries, e)
		}
		return err
	})
	if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EOPNOTSUPP) {
		return nil, fmt.Errorf("list rules: %w", err)
	}
	return entries, nil
}
