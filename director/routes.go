package director

import (
	"cmp"
	"iter"
	"maps"
	"slices"
)

// routingKind orders routes before rules, and a route before those that may lead
// to their gateways over it.
func routingKind() kind[RoutingKey, RoutingSpec] {
	return kind[RoutingKey, RoutingSpec]{
		compare: func(a, b Change[RoutingKey, RoutingSpec]) int {
			return cmp.Or(
				compareBool(a.Key.IsRule(), b.Key.IsRule()),
				compareBool(a.New.Route.Via.IsValid(), b.New.Route.Via.IsValid()),
				cmp.Compare(b.Key.Route.Destination.Bits(), a.Key.Route.Destination.Bits()),
				a.Key.Compare(b.Key),
			)
		},
		same: RoutingSpec.Satisfies,
	}
}

// routingRules are the rules of the lane of the routes and of the rules that
// choose among their tables.
type routingRules struct {
	director *Director
	left     bool // there may be something of ours in the kernel
}

func (r *routingRules) want(stopping bool) (map[RoutingKey]Want[RoutingSpec], bool) {
	config := r.director.config.Load()
	if config == nil {
		return nil, false
	}
	want := planRouting(*config, r.director.options.Roles())
	if stopping {
		stop(want)
	}
	// Most hosts have nothing of this kind, and some have a million routes of
	// others, which no kernel goes through for nothing.
	if len(want) == 0 && (!r.left || r.director.options.Routes == nil) {
		return nil, false
	}
	if t, ok := r.director.options.Routes.(interface{ SetKeys(keys []RoutingKey) }); ok {
		var keys []RoutingKey
		for k, w := range want {
			if w.Intent != Absent {
				keys = append(keys, k)
			}
		}
		t.SetKeys(slices.SortedFunc(slices.Values(keys), RoutingKey.Compare))
	}
	return want, true
}

// observe takes no notice of what somebody else has put in the place of what is
// wanted: it is neither that, nor ours to change.
func (r *routingRules) observe(have map[RoutingKey]RoutingSpec, want map[RoutingKey]Want[RoutingSpec]) {
	maps.DeleteFunc(have, func(k RoutingKey, h RoutingSpec) bool {
		w, ok := want[k]
		return ok && !h.Ours && !h.Satisfies(w.Spec)
	})
}

// ahead has nothing: what a route needs may have to be seen first.
func (r *routingRules) ahead(view[RoutingKey, RoutingSpec], map[RoutingKey]Want[RoutingSpec]) iter.Seq[[]Change[RoutingKey, RoutingSpec]] {
	return func(func([]Change[RoutingKey, RoutingSpec]) bool) {}
}

func (r *routingRules) came([]Change[RoutingKey, RoutingSpec]) {}

func (r *routingRules) owns(_ RoutingKey, have RoutingSpec) bool { return have.Ours }

func (r *routingRules) before(_, _ map[RoutingKey]RoutingSpec, changes []Change[RoutingKey, RoutingSpec], _ map[RoutingKey]Want[RoutingSpec]) error {
	r.left = r.left || len(changes) > 0
	return nil
}

func (r *routingRules) after(held map[RoutingKey]RoutingSpec, _ []Change[RoutingKey, RoutingSpec], want map[RoutingKey]Want[RoutingSpec]) error {
	r.left = len(want) > 0
	for _, spec := range held {
		r.left = r.left || spec.Ours
	}
	return nil
}

func (r *routingRules) blind(map[RoutingKey]Want[RoutingSpec]) { r.left = true }

// planRouting decides on the routes and the rules of every virtual router, by the
// rules of Plan.
func planRouting(config Config, roles map[string]RoleState) map[RoutingKey]Want[RoutingSpec] {
	wants := map[RoutingKey]Want[RoutingSpec]{}
	for _, r := range config.Routers {
		want := Want[RoutingSpec]{Name: r.Name}
		want.Intent, want.Reason = roles[r.Name].Role.verdict()
		put := func(k RoutingKey, spec RouteSpec) {
			want.Spec = RoutingSpec{Route: spec, Ours: true}
			if old, ok := wants[k]; !ok || old.Intent < want.Intent {
				wants[k] = want
			}
		}
		for _, route := range r.Routes {
			route = route.canonical(cmp.Or(r.Parent, r.Link))
			put(RoutingKey{Route: route.RouteKey}, route.RouteSpec)
		}
		for _, rule := range r.Rules {
			put(RoutingKey{Rule: rule}, RouteSpec{})
		}
	}
	return wants
}
