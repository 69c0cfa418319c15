package director

import (
	"cmp"
	"maps"
	"slices"

	"github.com/understudy-ha/understudy/garp"
)

// addressRules are the rules of the lane of the addresses.
type addressRules struct {
	director *Director
	created  owned[AddrKey]
	tags     bool            // the kernel has shown our tag, so only tagged addresses are ours
	links    map[string]bool // every interface that was ever ours to look at
	devices  map[string]bool // those that are there for a virtual router alone: every address on them is ours
	claims   map[AddrKey]garp.Claim
	marks    map[AddrKey]mark // of the addresses that are announced
	epoch    uint64           // of the newest mark
}

// mark is how an address was last announced.
type mark struct {
	role  uint64 // epoch of the role
	epoch uint64 // of the announcement
	hw    string // hardware address then; empty: not known
}

func (d *Director) addressRules() *addressRules {
	return &addressRules{
		director: d,
		created:  owned[AddrKey]{ledger: d.options.AddressLedger, compare: AddrKey.Compare},
		links:    map[string]bool{},
		devices:  map[string]bool{},
		marks:    map[AddrKey]mark{},
	}
}

func (r *addressRules) want(stopping bool) (map[AddrKey]Want[AddrSpec], bool) {
	config := r.director.config.Load()
	if config == nil {
		return nil, false
	}
	if err := r.created.load(); err != nil {
		r.director.addresses.report.ledger(err)
	}
	want, claims := planAddresses(*config, r.director.options.Roles())
	r.claims = claims
	if stopping {
		stop(want)
		r.claims = nil
	}
	for k := range want {
		r.links[k.Link] = true
	}
	for _, router := range config.Routers {
		if router.Parent != "" {
			r.devices[router.Link] = true
		}
	}
	for k := range r.created.keys {
		r.links[k.Link] = true
	}
	if r.director.options.Addresses == nil && len(want) == 0 {
		return nil, false
	}
	// A table may look at some interfaces only, and one that a reload has
	// dropped still has to be cleaned.
	if t, ok := r.director.options.Addresses.(interface{ SetLinks(names []string) }); ok {
		t.SetLinks(slices.Sorted(maps.Keys(r.links)))
	}
	return want, true
}

// stop turns every verdict into a removal.
func stop[K, V comparable](want map[K]Want[V]) {
	for k, w := range want {
		w.Intent, w.Reason = Absent, ReasonStopping
		want[k] = w
	}
}

func (r *addressRules) observe(have map[AddrKey]AddrSpec, _ map[AddrKey]Want[AddrSpec]) {
	if r.tags {
		return
	}
	for _, spec := range have {
		if spec.Ours {
			r.tags = true
			return
		}
	}
}

func (r *addressRules) owns(k AddrKey, have AddrSpec) bool {
	return have.Ours || r.devices[k.Link] || !r.tags && r.created.has(k)
}

// before stops announcing what is about to go, and writes down what is about to
// come. Where the kernel shows tags there is nothing to write down, so that a
// takeover does not wait for a file. Only a listing strikes out what has gone: a
// creation that failed may have succeeded with its answer lost.
func (r *addressRules) before(have, _ map[AddrKey]AddrSpec, changes []Change[AddrKey, AddrSpec], want map[AddrKey]Want[AddrSpec]) error {
	for _, c := range changes {
		if c.Op == Delete {
			r.blind(want)
			break
		}
	}
	if r.tags {
		for k := range r.created.keys {
			r.created.remove(k)
		}
		return r.created.store()
	}
	creates := make(map[AddrKey]bool, len(changes))
	for _, c := range changes {
		if c.Op == Create {
			creates[c.Key] = true
			r.created.add(c.Key)
		}
	}
	for k := range r.created.keys {
		if _, ok := have[k]; !ok && have != nil && !creates[k] {
			r.created.remove(k)
		}
	}
	return r.created.store()
}

func (r *addressRules) after(held map[AddrKey]AddrSpec, done []Change[AddrKey, AddrSpec], _ map[AddrKey]Want[AddrSpec]) error {
	var created map[AddrKey]bool
	for _, c := range done {
		if c.Op == Create {
			if created == nil {
				created = map[AddrKey]bool{}
			}
			created[c.Key] = true
		}
	}
	r.announce(held, created)
	return nil
}

// blind goes on announcing what is announced, as far as it is still wanted.
func (r *addressRules) blind(map[AddrKey]Want[AddrSpec]) {
	held := make(map[AddrKey]AddrSpec, len(r.marks))
	for k := range r.marks {
		held[k] = AddrSpec{}
	}
	r.announce(held, nil)
}

// announce sets the announcements to the addresses that are both claimed and
// held. The epoch of one moves on if its role was taken over, it was created, or
// its interface got another hardware address.
func (r *addressRules) announce(held map[AddrKey]AddrSpec, created map[AddrKey]bool) {
	if r.director.options.Announcer == nil {
		return
	}
	marks := make(map[AddrKey]mark, len(r.claims))
	claims := make(map[garp.Target]garp.Claim, len(r.claims))
	for k, claim := range r.claims {
		if _, ok := held[k]; !ok {
			continue
		}
		m, ok := r.marks[k]
		hw := cmp.Or(r.director.options.HWAddr(k.Link), m.hw)
		if !ok || m.role != claim.Epoch || created[k] || m.hw != "" && m.hw != hw {
			r.epoch++
			m = mark{role: claim.Epoch, epoch: r.epoch}
		}
		m.hw = hw
		marks[k] = m
		target := garp.Target{Link: k.Link, Address: k.Prefix.Addr()}
		if other, ok := claims[target]; !ok || other.Epoch < m.epoch {
			claims[target] = garp.Claim{Schedule: claim.Schedule, Epoch: m.epoch}
		}
	}
	r.marks = marks
	r.director.options.Announcer.Set(claims)
}
