package configs

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/understudy-ha/understudy/director"
)

var forwardMethods = map[string]director.Forward{
	"nat": director.NAT, "tun": director.TUN, "dr": director.DR, "local": director.Local,
}

// anyForward is what a message suggests for forward.
const anyForward = `"dr", "nat", "tun" or "local"`

var encapsulations = map[string]director.Encapsulation{"ipip": director.IPIP, "gue": director.GUE, "gre": director.GRE}

var tunnelChecksums = map[string]director.TunnelChecksum{
	"none": director.NoChecksum, "checksum": director.Checksum, "remote": director.RemoteChecksum,
}

// guePort is the port of GUE (IANA), for tunnels that name none: the kernel
// has no default.
const guePort = 6080

// servers reads the [[service.server]] of a service. What depends on the
// service's keys is checked only where they are known.
func (b *builder) servers(r *record, g group) []director.Server {
	records := r.tables("server")
	if len(records) == 0 && r.good("server") {
		b.warnf(r.file, r.line, "the service has no server, so nothing answers; add a [[service.server]]")
	}
	b.checkForward(r, records)
	base := b.serviceCheck(r)
	// To clear a map takes as long as it ever was.
	if b.seen == nil || len(b.seen) > 256 {
		b.seen = make(map[netip.AddrPort]where)
	}
	clear(b.seen)
	servers := make([]director.Server, 0, len(records))
	var first director.ServiceKey
	if len(g) > 0 {
		first = g[0]
	}
	for _, sr := range records {
		s := director.Server{Spec: b.serverSpec(sr, r)}
		ap, ok := b.serverAddress(sr)
		if ok {
			s.Address = ap
			if name, known := method(sr, r); known {
				b.checkReach(sr, "address", name, ap, g)
			}
		}
		s.Check = b.serverCheck(base, r, sr, first, ap)
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
		b.errorf(service.file, service.line, "%s has no forward; add forward = %s, there is no default", service.name, anyForward)
		return
	}
	for _, sr := range servers {
		if missing(sr) {
			b.errorf(sr.file, sr.line, "%s has no forward, nor has its service; add forward = %s, there is no default", sr.name, anyForward)
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
			spec.Lower = 0 // with it the kernel would refuse the server
		case spec.Lower > spec.Upper:
			sr.problem("min_connections", "min_connections = %d is more than max_connections = %d; lower it", spec.Lower, spec.Upper)
		}
	}
	if t := sr.table("tunnel"); t != nil && known {
		if name != "tun" {
			sr.problem("tunnel", "tunnel has no effect with forward = %q; remove it, or set forward = \"tun\"", name)
			return spec
		}
		spec.Tunnel = b.tunnel(t)
	}
	return spec
}

// tunnel reads what packets to a server are wrapped in. The kernel ignores
// what does not fit the type.
func (b *builder) tunnel(r *record) director.Tunnel {
	if !r.good("type", "port", "checksum") {
		return director.Tunnel{}
	}
	name, sum := r.text("type"), r.text("checksum")
	t := director.Tunnel{Type: encapsulations[name], Checksum: tunnelChecksums[sum], Port: uint16(r.integer("port"))}
	switch {
	case t.Type == director.GUE && !r.given("port"):
		t.Port = guePort
	case t.Type != director.GUE && r.given("port"):
		r.problem("port", "port is for a tunnel of type \"gue\", not %q; remove it", name)
	}
	switch {
	case t.Type == director.IPIP && t.Checksum != director.NoChecksum:
		r.problem("checksum", "checksum = %q is for tunnels of type \"gue\" and \"gre\", ipip has none; remove it, or change the type", sum)
	case t.Type == director.GRE && t.Checksum == director.RemoteChecksum:
		r.problem("checksum", "checksum = \"remote\" is for tunnels of type \"gue\"; choose none or checksum, or change the type")
	}
	return t
}

func (b *builder) serverAddress(sr *record) (netip.AddrPort, bool) {
	if !sr.good("address") {
		return netip.AddrPort{}, false
	}
	ap, err := endpoint(sr.text("address"))
	if err != nil {
		sr.problem("address", "address = %s %v", quote(sr.text("address")), err)
		return netip.AddrPort{}, false
	}
	if first, taken := b.seen[ap]; taken {
		sr.problem("address", "server %s stands in this service already at %s; remove one of the two", ap, first)
		return ap, true
	}
	b.seen[ap] = sr.where("address")
	return ap, true
}

// checkReach checks that a forwarding method can bring a packet for every key
// of a service to a server, which the key field of r names.
func (b *builder) checkReach(r *record, field, method string, to netip.AddrPort, g group) {
	server, port := to.Addr(), to.Port()
	for _, k := range g {
		if server.Is6() == k.Is6() {
			continue
		}
		if method != "tun" {
			r.problem(field, "server %s is of the other address family than its service, which forward = %q cannot carry; use the same family, or forward = \"tun\"", server, method)
			return
		}
		if b.director.table("sync") != nil {
			r.problem(field, "server %s is of the other address family than its service, which the kernel refuses together with synchronisation; use the same family, or remove [director.sync]", server)
			return
		}
	}
	if method == "nat" || port == 0 {
		return
	}
	for _, k := range g {
		switch want := k.Address.Port(); {
		case want == 0:
			r.warn(field, "forward = %q does not change the port: port %d is not used, every port of the service reaches the server as it is; write port 0, and the port to check in check", method, port)
			return
		case port != want:
			advice := fmt.Sprintf("write port %d", want)
			if len(g) > 1 {
				advice = "write port 0, which is the client's"
			}
			r.problem(field, "forward = %q cannot change the port from %d to %d; %s, or use forward = \"nat\"", method, want, port, advice)
			return
		}
	}
}
