package configs

import (
	"net/netip"
	"slices"

	"github.com/understudy-ha/understudy/director"
)

var forwardMethods = map[string]director.Forward{"nat": director.NAT, "tun": director.TUN, "dr": director.DR}

// servers reads the [[service.server]] of a service. What depends on the
// service's key is checked only where it is known.
func (b *builder) servers(r *record, k director.ServiceKey, known bool) []director.Server {
	records := r.tables("server")
	if len(records) == 0 && r.good("server") {
		b.warnf(r.file, r.line, "the service has no server, so nothing answers; add a [[service.server]]")
	}
	b.checkForward(r, records)
	base := b.serviceCheck(r)
	seen := make(map[netip.AddrPort]where)
	var servers []director.Server
	for _, sr := range records {
		s := director.Server{Spec: b.serverSpec(sr, r)}
		ap, ok := b.serverAddress(sr, seen)
		if ok {
			s.Address = ap
			if known {
				b.checkReach(sr, r, k, s)
			}
		}
		s.Check = b.serverCheck(base, r, sr, k, ap)
		servers = append(servers, s)
	}
	return servers
}

// checkForward asks for a forwarding method: there is none that is right by
// default.
func (b *builder) checkForward(service *record, servers []*record) {
	if service.given("forward") {
		return
	}
	missing := func(sr *record) bool { return !sr.given("forward") }
	if len(servers) > 0 && !slices.ContainsFunc(servers, func(sr *record) bool { return !missing(sr) }) {
		b.errorf(service.file, service.line, "%s has no forward; add forward = \"dr\", \"nat\" or \"tun\", there is no default", service.name)
		return
	}
	for _, sr := range servers {
		if missing(sr) {
			b.errorf(sr.file, sr.line, "%s has no forward, nor has its service; add forward = \"dr\", \"nat\" or \"tun\", there is no default", sr.name)
		}
	}
}

// method returns the forwarding method of a server, and whether it is known.
func method(sr, service *record) (string, bool) {
	r := sr
	if !sr.given("forward") {
		r = service
	}
	return r.text("forward"), r.given("forward") && r.good("forward")
}

func (b *builder) serverSpec(sr, service *record) director.ServerSpec {
	name, known := method(sr, service)
	spec := director.ServerSpec{
		Weight:  int(sr.integer("weight")),
		Forward: forwardMethods[name],
		Upper:   uint32(sr.integer("max_connections")),
		Lower:   uint32(sr.integer("min_connections")),
	}
	if sr.good("max_connections", "min_connections") {
		switch {
		case spec.Upper == 0 && spec.Lower > 0:
			sr.warn("min_connections", "min_connections has no effect without max_connections; set it or remove this")
		case spec.Lower > spec.Upper:
			sr.problem("min_connections", "min_connections = %d is more than max_connections = %d; lower it", spec.Lower, spec.Upper)
		}
	}
	if sr.given("tunnel") && known && name != "tun" {
		sr.problem("tunnel", "tunnel has no effect with forward = %q; remove it, or set forward = \"tun\"", name)
	}
	return spec
}

func (b *builder) serverAddress(sr *record, seen map[netip.AddrPort]where) (netip.AddrPort, bool) {
	if !sr.good("address") {
		return netip.AddrPort{}, false
	}
	ap, err := endpoint(sr.text("address"))
	if err != nil {
		sr.problem("address", "address = %s %v", quote(sr.text("address")), err)
		return netip.AddrPort{}, false
	}
	if first, taken := seen[ap]; taken {
		sr.problem("address", "server %s stands in this service already at %s; remove one of the two", ap, first)
		return ap, true
	}
	seen[ap] = sr.where("address")
	return ap, true
}

// checkReach checks that the forwarding method can bring a packet for the
// service to the server.
func (b *builder) checkReach(sr, service *record, k director.ServiceKey, s director.Server) {
	name, ok := method(sr, service)
	if !ok {
		return
	}
	server, port := s.Address.Addr(), s.Address.Port()
	if server.Is6() != k.IPv6 {
		if name == "tun" {
			sr.problem("address", "server %s is of the other address family than its service, which forward = \"tun\" is not supported to carry by this version; use the same family", server)
		} else {
			sr.problem("address", "server %s is of the other address family than its service, which forward = %q cannot carry; use the same family", server, name)
		}
		return
	}
	if name == "nat" || port == 0 {
		return
	}
	switch want := k.Address.Port(); {
	case want == 0:
		sr.warn("address", "forward = %q does not change the port: port %d is not used, every port of the service reaches the server as it is; write port 0, and the port to check in check", name, port)
	case port != want:
		sr.problem("address", "forward = %q cannot change the port from %d to %d; write port %d, or use forward = \"nat\"", name, want, port, want)
	}
}
