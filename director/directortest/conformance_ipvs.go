package directortest

import (
	"net/netip"

	"github.com/understudy-ha/understudy/director"
)

const (
	create = director.Create
	update = director.Update
	remove = director.Delete
)

// ipvsTests are the tests of TestIPVS by name.
var ipvsTests = map[string]func(ipvsSuite){
	"empty": func(s ipvsSuite) { s.holds(nil) },
	"every scheduler": func(s ipvsSuite) {
		var changes []EntryChange
		for i, name := range Schedulers {
			k := web
			k.FWMark, k.Protocol = 0, director.TCP
			k.Address = netip.AddrPortFrom(web.Address.Addr(), uint16(1000+i))
			changes = append(changes,
				serviceIs(create, k, director.ServiceSpec{Scheduler: name, Mask: 32}),
				serverIs(create, k, one, direct))
		}
		s.createdAsGiven(changes...)
	},
	"kinds of service": func(s ipvsSuite) {
		s.createdAsGiven(
			serviceIs(create, web, wlc),
			serviceIs(create, Service(director.UDP, "192.0.2.10:80"), wlc),
			serviceIs(create, Service(director.SCTP, "192.0.2.10:80"), wlc),
			serviceIs(create, Service(director.SCTP, "[2001:db8::10]:80"), wlc6),
			serverIs(create, Service(director.SCTP, "192.0.2.10:80"), one, direct),
			serviceIs(create, web6, wlc6),
			serviceIs(create, mark, wlc),
			serviceIs(create, mark6, wlc6),
			serverIs(create, web6, one6, direct),
			serverIs(create, mark, one, direct),
			serverIs(create, mark6, one6, direct))
	},
	"persistence": func(s ipvsSuite) {
		spec := func(bits uint8) director.ServiceSpec {
			return director.ServiceSpec{Scheduler: "rr", Persistence: minute, Mask: bits}
		}
		s.createdAsGiven(
			serviceIs(create, web, spec(32)),
			serviceIs(create, Service(director.TCP, "192.0.2.10:24"), spec(24)),
			serviceIs(create, Service(director.TCP, "192.0.2.10:1"), spec(1)),
			serviceIs(create, Service(director.TCP, "192.0.2.10:0"), spec(9)),
			serviceIs(create, web6, spec(128)),
			serviceIs(create, Service(director.TCP, "[2001:db8::10]:64"), spec(64)),
			serviceIs(create, mark, spec(31)),
			serviceIs(create, mark6, spec(1)))
	},
	"flags": func(s ipvsSuite) {
		s.createdAsGiven(
			serviceIs(create, Service(director.UDP, "192.0.2.10:53"), director.ServiceSpec{Scheduler: "rr", Flags: director.FlagOnePacket, Mask: 32}),
			serviceIs(create, Service(director.TCP, "192.0.2.10:1"), director.ServiceSpec{Scheduler: "sh", Flags: director.FlagSched1, Mask: 32}),
			serviceIs(create, Service(director.TCP, "192.0.2.10:2"), director.ServiceSpec{Scheduler: "mh", Flags: director.FlagSched2, Mask: 32}),
			serviceIs(create, Service(director.TCP, "192.0.2.10:3"), director.ServiceSpec{Scheduler: "mh", Flags: director.FlagSched1 | director.FlagSched2, Mask: 32, Persistence: minute}),
			serviceIs(create, Service(director.TCP, "192.0.2.10:4"), director.ServiceSpec{Scheduler: "rr", Flags: director.FlagSched3, Mask: 32}))
	},
	"persistence engine": func(s ipvsSuite) {
		sip := director.ServiceSpec{Scheduler: "rr", Persistence: minute, Mask: 24, Engine: "sip"}
		without := sip
		without.Engine = ""
		k := Service(director.UDP, "192.0.2.10:5060")
		s.createdAsGiven(serviceIs(create, k, sip), serviceIs(create, mark6, director.ServiceSpec{Scheduler: "rr", Persistence: minute, Mask: 128, Engine: "sip"}))
		s.apply(serviceIs(remove, mark6, director.ServiceSpec{}), serviceIs(update, k, without))
		s.holds(after(serviceIs(create, k, without)))
		s.apply(serviceIs(update, k, sip))
		s.holds(after(serviceIs(create, k, sip)))
	},
	"tunnels": func(s ipvsSuite) {
		tunnel := func(t director.Encapsulation, c director.TunnelChecksum, port uint16) director.ServerSpec {
			return director.ServerSpec{Weight: 1, Forward: director.TUN, Tunnel: director.Tunnel{Type: t, Checksum: c, Port: port}}
		}
		server := func(i int) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 80)
		}
		s.createdAsGiven(
			serviceIs(create, web, wlc),
			serverIs(create, web, server(1), tunnel(director.IPIP, director.NoChecksum, 0)),
			serverIs(create, web, server(2), tunnel(director.GUE, director.NoChecksum, 6080)),
			serverIs(create, web, server(3), tunnel(director.GUE, director.Checksum, 65535)),
			serverIs(create, web, server(4), tunnel(director.GUE, director.RemoteChecksum, 1)),
			serverIs(create, web, server(5), tunnel(director.GRE, director.NoChecksum, 0)),
			serverIs(create, web, server(6), tunnel(director.GRE, director.Checksum, 0)),
			serverIs(create, web, one6, tunnel(director.GUE, director.Checksum, 6080)))
		s.apply(
			serverIs(update, web, server(1), tunnel(director.GUE, director.NoChecksum, 6080)),
			serverIs(update, web, server(2), direct),
			serverIs(update, web, server(3), tunnel(director.IPIP, director.NoChecksum, 0)),
			serverIs(remove, web, server(4), director.ServerSpec{}),
			serverIs(remove, web, server(5), director.ServerSpec{}),
			serverIs(remove, web, server(6), director.ServerSpec{}),
			serverIs(remove, web, one6, director.ServerSpec{}))
		s.holds(after(
			serviceIs(create, web, wlc),
			serverIs(create, web, server(1), tunnel(director.GUE, director.NoChecksum, 6080)),
			serverIs(create, web, server(2), direct),
			serverIs(create, web, server(3), tunnel(director.IPIP, director.NoChecksum, 0))))
	},
	"refused servers": func(s ipvsSuite) {
		gue := director.Tunnel{Type: director.GUE, Port: 6080}
		s.apply(serviceIs(create, web, wlc))
		s.failsOn([]EntryChange{
			serverIs(create, web, netip.MustParseAddrPort("192.0.2.1:80"), director.ServerSpec{Weight: 1, Forward: director.TUN, Tunnel: director.Tunnel{Type: director.GUE}}),
			serverIs(create, web, netip.MustParseAddrPort("192.0.2.2:80"), director.ServerSpec{Weight: 1, Forward: director.DR, Tunnel: gue}),
			serverIs(create, web, netip.MustParseAddrPort("192.0.2.3:80"), director.ServerSpec{Weight: -1, Forward: director.DR}),
			serverIs(create, web, netip.MustParseAddrPort("192.0.2.4:80"), director.ServerSpec{Weight: 1, Forward: director.DR, Upper: 1, Lower: 2}),
			serverIs(create, web, netip.MustParseAddrPort("192.0.2.5:80"), director.ServerSpec{Weight: 1, Forward: director.TUN, Tunnel: gue}),
		}, 0, 1, 2, 3)
	},
	"servers": func(s ipvsSuite) {
		s.createdAsGiven(
			serviceIs(create, web, wlc),
			serverIs(create, web, one, director.ServerSpec{Weight: 0, Forward: director.NAT}),
			serverIs(create, web, two, director.ServerSpec{Weight: 65535, Forward: director.TUN, Upper: 1000, Lower: 900}),
			serverIs(create, web, netip.MustParseAddrPort("192.0.2.103:80"), director.ServerSpec{Weight: 3, Forward: director.DR}),
			serverIs(create, web, netip.MustParseAddrPort("127.0.0.1:80"), director.ServerSpec{Weight: 3, Forward: director.Local}))
	},
	"create what exists with another content": func(s ipvsSuite) {
		s.apply(serviceIs(create, web, wlc), serverIs(create, web, one, direct))
		rr := director.ServiceSpec{Scheduler: "rr", Persistence: minute, Mask: 24}
		nat := director.ServerSpec{Weight: 9, Forward: director.NAT, Upper: 5, Lower: 4}
		s.apply(serviceIs(create, web, rr), serverIs(create, web, one, nat))
		s.holds(after(serviceIs(create, web, rr), serverIs(create, web, one, nat)))
	},
	"update": func(s ipvsSuite) {
		persistent := director.ServiceSpec{Scheduler: "mh", Flags: director.FlagSched2, Persistence: minute, Mask: 24}
		s.apply(serviceIs(create, web, persistent),
			serverIs(create, web, one, director.ServerSpec{Weight: 5, Forward: director.TUN, Upper: 10, Lower: 5}),
			serverIs(create, web, two, direct))
		s.apply(serviceIs(update, web, wlc), serverIs(update, web, one, direct))
		s.holds(after(serviceIs(create, web, wlc), serverIs(create, web, one, direct), serverIs(create, web, two, direct)))
	},
	"update what is absent": func(s ipvsSuite) {
		s.apply(serviceIs(update, web, wlc), serverIs(update, web, one, direct))
		s.holds(after(serviceIs(create, web, wlc), serverIs(create, web, one, direct)))
	},
	"delete a service with its servers": func(s ipvsSuite) {
		s.apply(serviceIs(create, web, wlc), serverIs(create, web, one, direct), serverIs(create, web, two, direct),
			serviceIs(create, mark, wlc), serverIs(create, mark, one, direct))
		s.apply(serviceIs(remove, web, director.ServiceSpec{}))
		s.holds(after(serviceIs(create, mark, wlc), serverIs(create, mark, one, direct)))
	},
	"delete a server": func(s ipvsSuite) {
		s.apply(serviceIs(create, web, wlc), serverIs(create, web, one, direct), serverIs(create, web, two, direct))
		s.apply(serverIs(remove, web, one, director.ServerSpec{}))
		s.holds(after(serviceIs(create, web, wlc), serverIs(create, web, two, direct)))
	},
	"delete what is absent": func(s ipvsSuite) {
		s.apply(serviceIs(remove, web, director.ServiceSpec{}), serverIs(remove, web, one, director.ServerSpec{}))
		s.apply(serviceIs(create, web, wlc))
		s.apply(serverIs(remove, web, one, director.ServerSpec{}))
		s.holds(after(serviceIs(create, web, wlc)))
	},
	"a failure does not stop the rest": func(s ipvsSuite) {
		s.failsOn([]EntryChange{
			serverIs(create, nowhere, one, direct),
			serviceIs(create, web, wlc),
			serverIs(create, nowhere, two, direct),
			serverIs(create, web, one, direct),
		}, 0, 2)
		s.holds(after(serviceIs(create, web, wlc), serverIs(create, web, one, direct)))
	},
	"mixed families go through tunnels only": func(s ipvsSuite) {
		tun := director.ServerSpec{Weight: 1, Forward: director.TUN}
		nat := director.ServerSpec{Weight: 1, Forward: director.NAT}
		s.failsOn([]EntryChange{
			serviceIs(create, web, wlc),
			serverIs(create, web, one6, direct),
			serviceIs(create, web6, wlc6),
			serverIs(create, web6, one, nat),
			serviceIs(create, mark6, wlc6),
			serverIs(create, mark6, one, direct),
		}, 1, 3, 5)
		s.holds(after(serviceIs(create, web, wlc), serviceIs(create, web6, wlc6), serviceIs(create, mark6, wlc6)))
		s.apply(serverIs(create, web, one6, tun), serverIs(create, web6, one, tun), serverIs(create, mark6, one, tun))
		s.holds(after(serviceIs(create, web, wlc), serviceIs(create, web6, wlc6), serviceIs(create, mark6, wlc6),
			serverIs(create, web, one6, tun), serverIs(create, web6, one, tun), serverIs(create, mark6, one, tun)))
		s.apply(serverIs(remove, web, one6, director.ServerSpec{}), serviceIs(remove, web6, director.ServiceSpec{}), serviceIs(remove, mark6, director.ServiceSpec{}))
		s.holds(after(serviceIs(create, web, wlc)))
	},
	"what comes later counts": func(s ipvsSuite) {
		rr := director.ServiceSpec{Scheduler: "rr", Mask: 32}
		heavy := director.ServerSpec{Weight: 9, Forward: director.DR}
		s.apply(serviceIs(create, web, wlc), serverIs(create, web, one, direct))
		s.apply(
			serviceIs(update, mark, wlc), // absent
			serverIs(update, mark, one, direct),
			serverIs(create, web, one, heavy), // exists
			serviceIs(remove, web, director.ServiceSpec{}),
			serviceIs(create, web, rr),
			serverIs(update, web, two, direct), // absent
			serverIs(update, web, two, heavy),
			serverIs(update, web, one, direct), // absent
			serverIs(remove, web, one, director.ServerSpec{}))
		s.holds(after(serviceIs(create, mark, wlc), serverIs(create, mark, one, direct),
			serviceIs(create, web, rr), serverIs(create, web, two, heavy)))
	},
	"connections of one service": func(s ipvsSuite) {
		s.apply(serviceIs(create, web, wlc), serverIs(create, web, one, direct), serverIs(create, web, two, direct),
			serviceIs(create, web6, wlc6), serverIs(create, web6, one6, direct))
		s.connections(web, one, two)
		s.connections(web6, one6)
		s.connections(nowhere)
	},
	"nothing to do": func(s ipvsSuite) {
		s.apply()
		s.holds(nil)
	},
	"cancelled": func(s ipvsSuite) {
		s.apply(serviceIs(create, web, wlc))
		s.cancelled(serverIs(create, web, one, direct), after(serviceIs(create, web, wlc)))
		s.apply(serverIs(create, web, one, direct))
		s.holds(after(serviceIs(create, web, wlc), serverIs(create, web, one, direct)))
	},
}
