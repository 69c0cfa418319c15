package configs

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/understudy-ha/understudy/director"
)

// flagBits are the scheduler flags: what they mean depends on the scheduler
// that their name begins with.
var flagBits = map[string]director.Flags{
	"sh-fallback": director.FlagSched1, "sh-port": director.FlagSched2,
	"mh-fallback": director.FlagSched1, "mh-port": director.FlagSched2,
}

// serviceTables are what services must not have in common.
type serviceTables struct {
	names map[string]where
	keys  map[director.ServiceKey]where
}

// expect makes room for n more services.
func (b *builder) expect(n int) {
	if b.tables.names == nil {
		b.tables = serviceTables{names: make(map[string]where, n), keys: make(map[director.ServiceKey]where, n)}
	}
	b.config.Director.Services = slices.Grow(b.config.Director.Services, n)
	b.named = slices.Grow(b.named, n)
}

// service turns a [[service]] into its value. It keeps nothing of the record.
func (b *builder) service(r *record) {
	b.unique(r, b.tables.names)
	g := b.serviceKeys(r, &b.tables)
	s := director.Service{Name: r.text("name"), Keys: g, Spec: b.serviceSpec(r, g)}
	s.Servers = b.servers(r, g)
	s.Policy = b.policy(r, g, s.Servers)
	b.config.Director.Services = append(b.config.Director.Services, s)
	at := r.where("address")
	if r.given("addresses") {
		at = r.where("addresses")
	}
	b.named = append(b.named, at)
}

// serves reports whether there is a [[service]].
func (b *builder) serves() bool { return len(b.services)+len(b.config.Director.Services) > 0 }

func (b *builder) serviceSpec(r *record, g group) director.ServiceSpec {
	spec := director.ServiceSpec{
		Scheduler:   r.text("scheduler"),
		Flags:       b.flags(r),
		Persistence: r.duration("persistence"),
		Mask:        b.mask(r, g),
		Engine:      r.text("persistence_engine"),
	}
	if r.boolean("one_packet") {
		spec.Flags |= director.FlagOnePacket
		if p := g.protocol(); p != 0 && p != director.UDP {
			r.problem("one_packet", "one_packet = true is for UDP only; remove it, or set protocol = \"udp\"")
		}
	}
	if spec.Engine != "" && r.good("persistence_engine") {
		// The kernel takes any, and then drops what the engine cannot read
		// (ip_vs_sip_fill_param) or never asks it.
		if p := g.protocol(); p != 0 && p != director.UDP {
			r.problem("persistence_engine", "persistence_engine = %q is for UDP only; remove it, or set protocol = \"udp\"", spec.Engine)
		}
		if r.good("persistence") && spec.Persistence == 0 {
			r.problem("persistence_engine", "persistence_engine = %q needs persistence; set it, or remove this", spec.Engine)
		}
	}
	return spec
}

// mask returns the prefix length for persistence; 0, which is that of one
// client, where the service has keys of both families.
func (b *builder) mask(r *record, g group) uint8 {
	v4, v6 := g.families()
	bits := int64(32)
	switch {
	case v4 && v6:
		bits = 0
	case v6:
		bits = 128
	}
	if !r.given("persistence_mask") || !r.good("persistence_mask") || len(g) == 0 {
		return uint8(bits)
	}
	mask := r.integer("persistence_mask")
	switch {
	case bits == 0:
		r.problem("persistence_mask", "persistence_mask is one length for two address families; remove it, or make two services")
	case mask > bits:
		r.problem("persistence_mask", "persistence_mask = %d is out of range for IPv4; choose 1 to 32", mask)
	case mask < bits && r.good("persistence") && r.duration("persistence") == 0:
		r.warn("persistence_mask", "persistence_mask has no effect without persistence; set persistence or remove it")
	}
	return uint8(mask)
}

// flags reads scheduler_flags.
func (b *builder) flags(r *record) director.Flags {
	var flags director.Flags
	if !r.good("scheduler") {
		return 0
	}
	scheduler := r.text("scheduler")
	for _, e := range r.list("scheduler_flags") {
		bit := flagBits[e.text]
		owner, _, _ := strings.Cut(e.text, "-")
		switch {
		case owner != scheduler:
			b.errorf(r.file, e.line, "scheduler_flags holds %q, which is for scheduler = %q, not %q; remove it, or change the scheduler", e.text, owner, scheduler)
		case flags&bit != 0:
			b.errorf(r.file, e.line, "scheduler_flags holds %q twice; remove one", e.text)
		}
		flags |= bit
	}
	return flags
}

// checkHolders warns of services whose address never comes to this host,
// where there are virtual routers that should bring it.
func (b *builder) checkHolders() {
	if len(b.routers) == 0 || !b.holdersKnown() {
		return
	}
	held := make(map[netip.Addr]bool)
	for _, v := range b.config.Director.Routers {
		for _, p := range v.Addresses {
			held[p.Addr()] = true
		}
	}
	unheld := 0
	for i, s := range b.config.Director.Services {
		var missing []netip.Addr
		for _, k := range s.Keys {
			if a := k.Address.Addr(); a.IsValid() && !held[a] {
				missing = append(missing, a)
			}
		}
		if len(missing) == 0 {
			continue
		}
		if unheld++; unheld > maxUnheld {
			continue
		}
		more := ""
		if len(missing) > 1 {
			more = fmt.Sprintf(" (and %d more)", len(missing)-1)
		}
		b.warnf(b.named[i].file, b.named[i].line, "no [[vrrp]] holds the address %s%s of this service; add it to the addresses of one, unless it is on this host by other means", missing[0], more)
	}
	if unheld > maxUnheld {
		b.warnf(b.named[0].file, 0, "no [[vrrp]] holds the addresses of %d more services either", unheld-maxUnheld)
	}
}

// maxUnheld is how many services are named whose address no virtual router
// holds: where there are many, the addresses come by other means.
const maxUnheld = 3

// holdersKnown reports whether every address of every virtual router could be
// read: otherwise the warning may only repeat an error.
func (b *builder) holdersKnown() bool {
	return !slices.ContainsFunc(b.config.Routers, func(v VirtualRouter) bool { return len(v.Config.Addresses) == 0 })
}
