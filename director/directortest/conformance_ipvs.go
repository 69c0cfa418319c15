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
			serviceIs(create, Service(director.TCP, "192.0.2.10:3"), director.ServiceSpec{Scheduler: "mh", Flags: director.FlagSched1 | director.FlagSched2, Mask: 32, Persistence: minute}))
	},
	"servers": func(s ipvsSuite) {
		s.createdAsGiven(
			serviceIs(create, web, wlc),
			serverIs(create, web, one, director.ServerSpec{Weight: 0, Forward: director.NAT}),
			serverIs(create, web, two, director.ServerSpec{Weight: 65535, Forward: director.TUN, Upper: 1000, Lower: 900}),
			serverIs(create, web, netip.MustParseAddrPort("192.0.2.103:80"), director.ServerSpec{Weight: 3, Forward: director.DR}))
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
	"mixed families are refused": func(s ipvsSuite) {
		s.failsOn([]EntryChange{
			serviceIs(create, web, wlc),
			serverIs(create, web, one6, director.ServerSpec{Weight: 1, Forward: director.TUN}),
			serviceIs(create, web6, wlc6),
			serverIs(create, web6, one, director.ServerSpec{Weight: 1, Forward: director.TUN}),
			serviceIs(create, mark6, wlc6),
			serverIs(create, mark6, one, direct),
		}, 1, 3, 5)
		s.holds(after(serviceIs(create, web, wlc), serviceIs(create, web6, wlc6), serviceIs(create, mark6, wlc6)))
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
