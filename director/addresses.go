package director

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	"github.com/understudy-ha/understudy/garp"
)

// addressRules are the rules of the lane of the addresses.
type addressRules struct {
	director *Director
	config   *Config // of the plan
	created  owned[AddrKey]
	tags     bool            // the kernel has shown that it keeps tags, so only tagged addresses are ours
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
	r.config = config
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

// ahead returns the addresses that a role has brought since the last pass, in the
// order of the configuration: a takeover waits for no listing. Without tags a listing
// has to come first, since one that somebody else has configured would be taken for
// ours. IPv4 comes before IPv6, which takes the kernel longer, and the batches grow,
// so that the first announcement waits for few.
func (r *addressRules) ahead(was view[AddrKey, AddrSpec], want map[AddrKey]Want[AddrSpec]) iter.Seq[[]Change[AddrKey, AddrSpec]] {
	return func(yield func([]Change[AddrKey, AddrSpec]) bool) {
		if !r.tags {
			return
		}
		for _, six := range []bool{false, true} {
			size := firstAhead
			var batch []Change[AddrKey, AddrSpec]
			for k, spec := range r.coming(was, want, six) {
				batch = append(batch, Change[AddrKey, AddrSpec]{Op: Create, Key: k, New: spec})
				if len(batch) < size {
					continue
				}
				if !yield(batch) {
					return
				}
				batch, size = nil, 4*size
			}
			if len(batch) > 0 && !yield(batch) {
				return
			}
		}
	}
}

// coming yields the addresses of one family that are to be held, and were neither to
// be held nor there in the last pass.
func (r *addressRules) coming(was view[AddrKey, AddrSpec], want map[AddrKey]Want[AddrSpec], six bool) iter.Seq2[AddrKey, AddrSpec] {
	return func(yield func(AddrKey, AddrSpec) bool) {
		for _, router := range r.config.Routers {
			for _, p := range router.Addresses {
				k := AddrKey{Link: router.Link, Prefix: p}
				w := want[k]
				if p.Addr().Is6() != six || w.Intent != Hold || w.Name != router.Name || was.want[k].Intent == Hold {
					continue
				}
				if _, there := was.held[k]; !there && !yield(k, w.Spec) {
					return
				}
			}
		}
	}
}

// came announces what was created ahead, beside what is announced already.
func (r *addressRules) came(done []Change[AddrKey, AddrSpec]) {
	held := make(map[AddrKey]AddrSpec, len(r.marks)+len(done))
	for k := range r.marks {
		held[k] = AddrSpec{}
	}
	for _, c := range done {
		held[c.Key] = c.New
	}
	r.announce(held, createdIn(done))
}

// createdIn returns what was created.
func createdIn(done []Change[AddrKey, AddrSpec]) map[AddrKey]bool {
	var created map[AddrKey]bool
	for _, c := range done {
		if c.Op == Create {
			if created == nil {
				created = make(map[AddrKey]bool, len(done))
			}
			created[c.Key] = true
		}
	}
	return created
}

func (r *addressRules) observe(have map[AddrKey]AddrSpec, _ map[AddrKey]Want[AddrSpec]) {
	if r.tags {
		return
	}
	if t, ok := r.director.options.Addresses.(interface{ Tags() bool }); ok && t.Tags() {
		r.tags = true
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
	r.announce(held, createdIn(done))
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
	present := map[string]string{} // hardware addresses by interface
	for k, claim := range r.claims {
		if _, ok := held[k]; !ok {
			continue
		}
		m, ok := r.marks[k]
		now, asked := present[k.Link]
		if !asked {
			now = r.director.options.HWAddr(k.Link)
			present[k.Link] = now
		}
		hw := cmp.Or(now, m.hw)
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
