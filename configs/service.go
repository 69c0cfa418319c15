package configs

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/understudy-ha/understudy/director"
)

var protocols = map[string]director.Protocol{"tcp": director.TCP, "udp": director.UDP}

// flagBits are the scheduler flags: what they mean depends on the scheduler
// that their name begins with.
var flagBits = map[string]director.Flags{
	"sh-fallback": director.FlagSched1, "sh-port": director.FlagSched2,
	"mh-fallback": director.FlagSched1, "mh-port": director.FlagSched2,
}

// serviceTables are what services must not have in common.
type serviceTables struct {
	names map[string]*record
	keys  map[director.ServiceKey]where
}

// buildServices turns every [[service]] into its value.
func (b *builder) buildServices() {
	t := serviceTables{names: map[string]*record{}, keys: map[director.ServiceKey]where{}}
	for _, r := range b.services {
		b.unique(r, t.names)
		k, known := b.serviceKey(r, &t)
		s := director.Service{Name: r.text("name"), Key: k, Spec: b.serviceSpec(r, k, known)}
		s.Servers = b.servers(r, k, known)
		b.config.Director.Services = append(b.config.Director.Services, s)
	}
}

// serviceKey returns what the kernel calls the service, and whether it could
// be found out.
func (b *builder) serviceKey(r *record, t *serviceTables) (k director.ServiceKey, known bool) {
	name := "address"
	switch {
	case r.given("address") && r.given("fwmark"):
		r.problem("fwmark", "the service has both an address and a fwmark; remove one of the two")
		return k, false
	case r.given("fwmark"):
		name = "fwmark"
		k, known = b.markKey(r)
	case r.given("address"):
		k, known = b.addressKey(r)
	default:
		b.errorf(r.file, r.line, "%s has neither address nor fwmark; add address = \"IP:PORT\"", r.name)
	}
	if !known {
		return k, false
	}
	if first, taken := t.keys[k]; taken {
		r.problem(name, "the service %s stands at %s already; put the servers of both into one", describeKey(k), first)
		return k, true
	}
	t.keys[k] = r.where(name)
	return k, true
}

func describeKey(k director.ServiceKey) string {
	switch {
	case k.FWMark != 0 && k.IPv6:
		return fmt.Sprintf("with fwmark %d and family ipv6", k.FWMark)
	case k.FWMark != 0:
		return fmt.Sprintf("with fwmark %d", k.FWMark)
	case k.Protocol == director.UDP:
		return fmt.Sprintf("at %s, udp,", k.Address)
	}
	return fmt.Sprintf("at %s, tcp,", k.Address)
}

func (b *builder) markKey(r *record) (director.ServiceKey, bool) {
	if r.given("protocol") {
		r.problem("protocol", "protocol is not for a service with fwmark, which has what the firewall marks; remove it")
	}
	if !r.good("fwmark", "family") {
		return director.ServiceKey{}, false
	}
	return director.ServiceKey{FWMark: uint32(r.integer("fwmark")), IPv6: r.text("family") == "ipv6"}, true
}

func (b *builder) addressKey(r *record) (k director.ServiceKey, known bool) {
	if r.given("family") {
		r.problem("family", "family is for a service with fwmark only; remove it, the address says it already")
	}
	if !r.good("address") {
		return k, false
	}
	ap, err := endpoint(r.text("address"))
	if err != nil {
		r.problem("address", "address = %s %v", quote(r.text("address")), err)
		return k, false
	}
	if ap.Port() == 0 && r.good("persistence") && r.duration("persistence") == 0 {
		r.problem("address", "address = %q has port 0, every port, which the kernel takes only with persistence; write the port, or set persistence", ap)
	}
	k = director.ServiceKey{Protocol: protocols[r.text("protocol")], Address: ap, IPv6: ap.Addr().Is6()}
	return k, r.good("protocol")
}

func (b *builder) serviceSpec(r *record, k director.ServiceKey, known bool) director.ServiceSpec {
	spec := director.ServiceSpec{
		Scheduler:   r.text("scheduler"),
		Flags:       b.flags(r),
		Persistence: r.duration("persistence"),
		Mask:        32,
	}
	if k.IPv6 {
		spec.Mask = 128
	}
	if r.given("persistence_mask") && r.good("persistence_mask") && known {
		mask := r.integer("persistence_mask")
		switch {
		case mask > int64(spec.Mask):
			r.problem("persistence_mask", "persistence_mask = %d is out of range for IPv4; choose 1 to 32", mask)
		case mask < int64(spec.Mask) && r.good("persistence") && spec.Persistence == 0:
			r.warn("persistence_mask", "persistence_mask has no effect without persistence; set persistence or remove it")
		}
		spec.Mask = uint8(mask)
	}
	if r.boolean("one_packet") {
		spec.Flags |= director.FlagOnePacket
		if known && k.Protocol == director.TCP {
			r.problem("one_packet", "one_packet = true is for UDP only; remove it, or set protocol = \"udp\"")
		}
	}
	return spec
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
	if len(b.routers) == 0 {
		return
	}
	held := make(map[netip.Addr]bool)
	for _, v := range b.config.Routers {
		for _, a := range v.Config.Addresses {
			held[a] = true
		}
	}
	for i, s := range b.config.Director.Services {
		a := s.Key.Address.Addr()
		if a.IsValid() && !held[a] && b.holdersKnown() {
			b.services[i].warn("address", "no [[vrrp]] holds the address %s of this service; add it to the addresses of one, unless it is on this host by other means", a)
		}
	}
}

// holdersKnown reports whether every address of every virtual router could be
// read: otherwise the warning may only repeat an error.
func (b *builder) holdersKnown() bool {
	return !slices.ContainsFunc(b.config.Routers, func(v VirtualRouter) bool { return len(v.Config.Addresses) == 0 })
}
