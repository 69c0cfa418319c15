package addr

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/link"
	"github.com/understudy-ha/understudy/director/rtnl"
)

var _ director.Table[director.AddrKey, director.AddrSpec] = (*Table)(nil)

// Table is the kernel's table of addresses on some interfaces.
type Table struct {
	mu     sync.Mutex // one exchange at a time
	socket *rtnl.Socket
	links  []string            // sorted, without duplicates
	tags   bool                // List has seen a tag
	known  map[string]linkInfo // of links, as last listed
}

// New opens a table in the network namespace of the calling thread. It lists
// nothing until SetLinks says which interfaces matter. Close ends it.
func New() (*Table, error) {
	s, err := rtnl.Dial()
	if err != nil {
		return nil, err
	}
	return &Table{socket: s}, nil
}

// Close gives the socket back. It is not to be called during List or Apply.
func (t *Table) Close() error { return t.socket.Close() }

// SetLinks names the interfaces that List looks at. Names of interfaces that do
// not exist, or not yet, do no harm.
func (t *Table) SetLinks(names []string) {
	names = slices.Clone(names)
	slices.Sort(names)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.links = slices.Compact(names)
}

// Tags reports whether a listing has shown that the kernel keeps tags: it has some
// of its own, on the IPv6 addresses that it makes.
func (t *Table) Tags() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tags
}

// List returns the addresses of the interfaces named by SetLinks, except the
// IPv6 link-local ones that do not carry our tag, and those that do carry it on
// any other interface: an earlier configuration may have named that.
func (t *Table) List(ctx context.Context) (map[director.AddrKey]director.AddrSpec, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make(map[director.AddrKey]director.AddrSpec)
	names := make(map[int]string, len(t.links))
	t.known = make(map[string]linkInfo, len(t.links))
	for i, l := range t.resolve(ctx, t.links) {
		switch {
		case l.err == nil:
			names[l.index] = t.links[i]
			t.known[t.links[i]] = l
		case !errors.Is(l.err, unix.ENODEV):
			return nil, fmt.Errorf("look up link %s: %w", t.links[i], l.err)
		}
	}
	entries, err := t.entries(ctx, unix.AF_UNSPEC)
	if err != nil {
		return nil, err
	}
	if err := t.nameStrays(ctx, entries, names); err != nil {
		return nil, err
	}
	for _, e := range entries {
		name, ok := names[e.Index]
		ours := e.Tag == link.Protocol
		t.tags = t.tags || e.Tag != 0
		if !ok || !ours && (!slices.Contains(t.links, name) || e.Prefix.Addr().Is6() && e.Prefix.Addr().IsLinkLocalUnicast()) {
			continue
		}
		list[director.AddrKey{Link: name, Prefix: e.Prefix}] = director.AddrSpec{Ours: ours}
	}
	return list, nil
}

// nameStrays adds the names of interfaces that hold an address with our tag and
// are not in names.
func (t *Table) nameStrays(ctx context.Context, entries []link.Address, names map[int]string) error {
	var strays []int
	for _, e := range entries {
		if _, ok := names[e.Index]; !ok && e.Tag == link.Protocol && !slices.Contains(strays, e.Index) {
			strays = append(strays, e.Index)
		}
	}
	found, err := t.socket.Names(ctx, strays)
	maps.Copy(names, found)
	return err
}

// Apply carries out the changes. Creating an address that exists succeeds and
// leaves it as it is, whosever it is; deleting one that is absent, or whose
// interface is, succeeds. It waits, 200 ms at most, until a new IPv6 address can be
// reached. An update does what a creation does: an address has no
// content but its owner, which it keeps.
func (t *Table) Apply(ctx context.Context, changes []director.Change[director.AddrKey, director.AddrSpec]) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var names []string
	for _, c := range changes {
		names = append(names, c.Key.Link)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	links := make(map[string]*linkInfo, len(names))
	infos := t.resolve
	if !slices.ContainsFunc(changes, func(c change) bool { return c.Op == director.Delete }) {
		infos = t.find
	}
	for i, l := range infos(ctx, names) {
		links[names[i]] = &l
	}
	var fresh []change
	var errs []error
	for len(changes) > 0 {
		// Deletions may take other addresses along, so they are looked at
		// when everything before them has been done.
		deletes := changes[0].Op == director.Delete
		n := slices.IndexFunc(changes, func(c change) bool { return (c.Op == director.Delete) != deletes })
		if n < 0 {
			n = len(changes)
		}
		if deletes {
			errs = append(errs, t.promote(ctx, changes[:n], links))
		}
		created, failed := t.run(ctx, changes[:n], links)
		fresh, errs = append(fresh, created...), append(errs, failed...)
		changes = changes[n:]
	}
	t.awaitLocal(ctx, fresh, links)
	return errors.Join(errs...)
}

type change = director.Change[director.AddrKey, director.AddrSpec]

// linkInfo is what was found under the name of an interface.
type linkInfo struct {
	index    int
	promotes bool  // promote_secondaries is set on the interface itself
	made     bool  // the interface is one of ours, above another one
	err      error // ENODEV if there is none
}

// resolve looks up interfaces by name.
func (t *Table) resolve(ctx context.Context, names []string) []linkInfo {
	infos := make([]linkInfo, len(names))
	reqs := make([]*nl.NetlinkRequest, len(names))
	for i, name := range names {
		reqs[i] = rtnl.LinkRequest(name)
	}
	errs := t.socket.Do(ctx, reqs, func(i int, m syscall.NetlinkMessage) {
		infos[i] = parseLink(m.Data)
	})
	for i, err := range errs {
		if err != nil {
			infos[i].err = err
		}
	}
	return infos
}

// find is resolve for whoever only creates addresses. An interface that still has the
// index under which it was listed is not asked for again.
func (t *Table) find(ctx context.Context, names []string) []linkInfo {
	infos := make([]linkInfo, len(names))
	for i, name := range names {
		index, err := t.socket.Index(name)
		known, ok := t.known[name]
		switch {
		case errors.Is(err, unix.ENODEV):
			infos[i].err = err
		case err != nil || !ok || known.err != nil || known.index != index:
			return t.resolve(ctx, names)
		default:
			infos[i] = known
		}
	}
	return infos
}

// entries dumps the addresses of a family on all interfaces.
func (t *Table) entries(ctx context.Context, family int) ([]link.Address, error) {
	var entries []link.Address
	err := t.socket.Dump(ctx, func() *nl.NetlinkRequest { return dumpRequest(family) }, func(body []byte) error {
		e, err := link.ParseAddress(body)
		if err == nil {
			entries = append(entries, e)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	return entries, nil
}

// run carries out changes and returns the creations of what was not there, and the
// failures.
func (t *Table) run(ctx context.Context, changes []change, links map[string]*linkInfo) (created []change, failures []error) {
	fail := func(c change, err error) {
		failures = append(failures, &director.ChangeError[director.AddrKey]{Op: c.Op, Key: c.Key, Err: err})
	}
	var sent []change
	var reqs []*nl.NetlinkRequest
	for _, c := range changes {
		l := links[c.Key.Link]
		switch {
		case !c.Key.Prefix.IsValid() || c.Key.Prefix.Addr().Is4In6() || c.Key.Prefix.Addr().Zone() != "":
			fail(c, errors.New("the address is not valid"))
		case c.Op == director.Delete && errors.Is(l.err, unix.ENODEV):
		case errors.Is(l.err, unix.ENODEV):
			fail(c, fmt.Errorf("no such interface: %w", unix.ENODEV))
		case l.err != nil:
			fail(c, fmt.Errorf("look up the interface: %w", l.err))
		default:
			var tag uint8
			if c.New.Ours {
				tag = link.Protocol
			}
			sent = append(sent, c)
			reqs = append(reqs, changeRequest(c.Op, *l, c.Key.Prefix, tag))
		}
	}
	var elsewhere []change // the IPv6 address exists, perhaps with another prefix length
	for i, err := range t.socket.Do(ctx, reqs, nil) {
		c := sent[i]
		switch {
		case err == nil && c.Op != director.Delete:
			created = append(created, c)
		case err == nil:
		case c.Op == director.Delete && (errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO)):
		case c.Op != director.Delete && errors.Is(err, unix.EEXIST):
			if c.Key.Prefix.Addr().Is6() {
				elsewhere = append(elsewhere, c)
			}
		default:
			fail(c, err)
		}
	}
	if len(elsewhere) == 0 {
		return created, failures
	}
	entries, err := t.entries(ctx, unix.AF_INET6)
	for _, c := range elsewhere {
		present := slices.ContainsFunc(entries, func(e link.Address) bool {
			return e.Index == links[c.Key.Link].index && e.Prefix == c.Key.Prefix
		})
		switch {
		case err != nil:
			fail(c, err)
		case !present:
			fail(c, fmt.Errorf("the interface holds this address with another prefix length: %w", unix.EEXIST))
		}
	}
	return created, failures
}

// promote sets promote_secondaries on the interfaces where one of the deletions
// would take an address along that is not to be deleted. A failure does not
// stop the deletions: an address that stays where it must not be does more harm
// than one that the next pass puts back.
func (t *Table) promote(ctx context.Context, deletes []change, links map[string]*linkInfo) error {
	going := make(map[director.AddrKey]bool, len(deletes))
	look := false
	for _, c := range deletes {
		going[c.Key] = true
		l := links[c.Key.Link]
		look = look || c.Key.Prefix.Addr().Is4() && l.err == nil && !l.promotes
	}
	if !look {
		return nil
	}
	entries, err := t.entries(ctx, unix.AF_INET)
	if err != nil {
		return err
	}
	var errs []error
	for name, l := range links {
		if l.err != nil || l.promotes || !losesMore(entries, name, l.index, going) {
			continue
		}
		if err := t.socket.Do(ctx, []*nl.NetlinkRequest{promoteRequest(l.index)}, nil)[0]; err != nil {
			errs = append(errs, fmt.Errorf("set promote_secondaries on %s: %w", name, err))
			continue
		}
		l.promotes = true
	}
	return errors.Join(errs...)
}

// losesMore reports whether deleting the addresses in going would make the
// kernel delete another one on the interface.
func losesMore(entries []link.Address, name string, index int, going map[director.AddrKey]bool) bool {
	goes := func(e link.Address) bool {
		return going[director.AddrKey{Link: name, Prefix: e.Prefix}]
	}
	stays := make(map[netip.Prefix]bool) // subnets with secondaries that are to stay
	for _, e := range entries {
		if e.Index == index && e.Secondary && !goes(e) {
			stays[e.Prefix.Masked()] = true
		}
	}
	return slices.ContainsFunc(entries, func(e link.Address) bool {
		return e.Index == index && !e.Secondary && goes(e) && stays[e.Prefix.Masked()]
	})
}
