package directortest

import (
	"context"
	"maps"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
)

// Routing returns a copy of the routes and rules.
func (k *Kernel) Routing() map[director.RoutingKey]director.RoutingSpec {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.routing)
}

// RoutingJournal returns what has changed since the last call.
func (k *Kernel) RoutingJournal() []RoutingChange {
	k.mu.Lock()
	defer k.mu.Unlock()
	j := k.routingJournal
	k.routingJournal = nil
	return j
}

// Route adds a route or rule that carries no tag, unless s says otherwise.
func (h Hand) Route(key director.RoutingKey, s director.RoutingSpec) error {
	return h.k.addRouting(key, s)
}

// DeleteRoute removes a route or rule.
func (h Hand) DeleteRoute(key director.RoutingKey) error { return h.k.deleteRouting(key) }

// addRouting is as strict as Linux: one route for a key, over a gateway that is
// reached, from an address that is there.
func (k *Kernel) addRouting(key director.RoutingKey, s director.RoutingSpec) error {
	if _, ok := k.routing[key]; ok {
		return unix.EEXIST
	}
	s, err := k.resolve(s)
	if err != nil {
		return err
	}
	k.routing[key] = s
	k.routingJournal = append(k.routingJournal, RoutingChange{Op: director.Create, Key: key, New: s})
	return nil
}

func (k *Kernel) setRouting(key director.RoutingKey, s director.RoutingSpec) error {
	old, ok := k.routing[key]
	if !ok {
		return unix.ENOENT
	}
	s, err := k.resolve(s)
	if err != nil {
		return err
	}
	k.routing[key] = s
	k.routingJournal = append(k.routingJournal, RoutingChange{Op: director.Update, Key: key, Old: old, New: s})
	return nil
}

func (k *Kernel) deleteRouting(key director.RoutingKey) error {
	old, ok := k.routing[key]
	if !ok {
		return unix.ESRCH
	}
	delete(k.routing, key)
	k.routingJournal = append(k.routingJournal, RoutingChange{Op: director.Delete, Key: key, Old: old})
	return nil
}

// resolve checks a route and finds its interface.
func (k *Kernel) resolve(s director.RoutingSpec) (director.RoutingSpec, error) {
	r := &s.Route
	held := func(a netip.Addr) bool {
		for o := range k.addrs {
			if o.Prefix.Addr() == a {
				return true
			}
		}
		return false
	}
	if r.Source.IsValid() && !held(r.Source) {
		return s, unix.EINVAL
	}
	if !r.Via.IsValid() || r.OnLink {
		return s, nil
	}
	for o := range k.addrs {
		if o.Prefix.Contains(r.Via) && (r.Link == "" || r.Link == o.Link) {
			r.Link = o.Link
			return s, nil
		}
	}
	for o, spec := range k.routing {
		over := spec.Route
		if o.Route.Destination.IsValid() && o.Route.Destination.Contains(r.Via) && !over.Via.IsValid() && over.Link != "" && (r.Link == "" || r.Link == over.Link) {
			r.Link = over.Link
			return s, nil
		}
	}
	return s, unix.ENETUNREACH
}

// forget takes the routes from an address along that has gone.
func (k *Kernel) forget(gone director.AddrKey) {
	maps.DeleteFunc(k.routing, func(_ director.RoutingKey, s director.RoutingSpec) bool {
		return gone.Prefix.Addr().Is4() && s.Route.Source == gone.Prefix.Addr()
	})
}

// Routing is the model as the table of routes and rules.
type Routing struct{ p *Process }

var _ director.Table[director.RoutingKey, director.RoutingSpec] = (*Routing)(nil)

// Routing returns the routes and rules as a table.
func (p *Process) Routing() *Routing { return &Routing{p} }

// List returns the routes and rules.
func (t *Routing) List(ctx context.Context) (map[director.RoutingKey]director.RoutingSpec, error) {
	if err := t.p.ready(ctx); err != nil {
		return nil, err
	}
	defer t.p.kernel.mu.Unlock()
	if errno, fails := t.p.kernel.fails(); fails {
		return nil, errno
	}
	return maps.Clone(t.p.kernel.routing), nil
}

// Apply carries out changes.
func (t *Routing) Apply(ctx context.Context, changes []RoutingChange) error {
	k := t.p.kernel
	return apply(ctx, t.p, changes, func(c RoutingChange) error {
		old, there := k.routing[c.Key]
		switch {
		case c.Op == director.Delete && (!there || !old.Ours):
			return nil
		case c.Op == director.Delete:
			return unless(t.p.write(func() error { return k.deleteRouting(c.Key) }), unix.ESRCH)
		case there && old.Satisfies(c.New):
			return nil
		case there && old.Ours:
			return t.p.write(func() error { return k.setRouting(c.Key, c.New) })
		}
		return t.p.write(func() error { return k.addRouting(c.Key, c.New) })
	})
}
