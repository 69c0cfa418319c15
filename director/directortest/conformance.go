package directortest

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/understudy-ha/understudy/director"
)

var equal = []cmp.Option{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmpopts.EquateEmpty(),
}

// suite is a table with what both kinds of tests need.
type suite[K, V comparable] struct {
	t     *testing.T
	table director.Table[K, V]
}

func (s suite[K, V]) apply(changes ...director.Change[K, V]) {
	s.t.Helper()
	if err := s.table.Apply(s.t.Context(), changes); err != nil {
		s.t.Fatalf("Apply: %v", err)
	}
}

func (s suite[K, V]) holds(want map[K]V) {
	s.t.Helper()
	got, err := s.table.List(s.t.Context())
	if err != nil {
		s.t.Fatalf("List: %v", err)
	}
	if d := cmp.Diff(want, got, equal...); d != "" {
		s.t.Fatalf("the table differs (-want +got):\n%s", d)
	}
}

// failsOn applies changes and expects exactly those at the given places to fail.
func (s suite[K, V]) failsOn(changes []director.Change[K, V], places ...int) {
	s.t.Helper()
	err := s.table.Apply(s.t.Context(), changes)
	failed := map[K]director.Op{}
	for _, e := range joined(err) {
		var c *director.ChangeError[K]
		if !errors.As(e, &c) {
			s.t.Fatalf("Apply: %v is not a ChangeError", e)
		}
		failed[c.Key] = c.Op
	}
	want := map[K]director.Op{}
	for _, i := range places {
		want[changes[i].Key] = changes[i].Op
	}
	if d := cmp.Diff(want, failed, equal...); d != "" {
		s.t.Fatalf("other changes failed than expected (-want +got):\n%s\n%v", d, err)
	}
}

func joined(err error) []error {
	switch e := err.(type) {
	case nil:
		return nil
	case interface{ Unwrap() []error }:
		var all []error
		for _, err := range e.Unwrap() {
			all = append(all, joined(err)...)
		}
		return all
	}
	return []error{err}
}

// cancelled checks that nothing is done once the context has ended.
func (s suite[K, V]) cancelled(c director.Change[K, V], before map[K]V) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	cancel()
	if _, err := s.table.List(ctx); !errors.Is(err, context.Canceled) {
		s.t.Errorf("List after the context ended: %v", err)
	}
	if err := s.table.Apply(ctx, []director.Change[K, V]{c}); !errors.Is(err, context.Canceled) {
		s.t.Errorf("Apply after the context ended: %v", err)
	}
	s.holds(before)
}

// connections expects the table to count those of a service, which has none.
func (s suite[K, V]) connections(service director.ServiceKey, servers ...netip.AddrPort) {
	s.t.Helper()
	counter, ok := s.table.(interface {
		Connections(context.Context, director.ServiceKey) (map[netip.AddrPort]director.Counters, error)
	})
	if !ok {
		s.t.Fatalf("%T does not count the connections of a service", s.table)
	}
	got, err := counter.Connections(s.t.Context(), service)
	if err != nil {
		s.t.Fatalf("Connections: %v", err)
	}
	want := map[netip.AddrPort]director.Counters{}
	for _, a := range servers {
		want[a] = director.Counters{}
	}
	if d := cmp.Diff(want, got, equal...); d != "" {
		s.t.Fatalf("the connections of %v differ (-want +got):\n%s", service, d)
	}
}

// TestAddresses checks that newTable, called once per test, gives an empty table
// of the addresses of link that honours the contract of director.Table. Its
// specs are compared as far as the kernel keeps tags.
func TestAddresses(t *testing.T, link string, tags bool, newTable func(t *testing.T) director.Table[director.AddrKey, director.AddrSpec]) {
	key := func(p string) director.AddrKey {
		return director.AddrKey{Link: link, Prefix: netip.MustParsePrefix(p)}
	}
	type list = map[director.AddrKey]director.AddrSpec
	create := func(p string) AddressChange {
		return AddressChange{Op: director.Create, Key: key(p), New: director.AddrSpec{Ours: true}}
	}
	remove := func(p string) AddressChange { return AddressChange{Op: director.Delete, Key: key(p)} }
	ours := director.AddrSpec{Ours: tags}
	for name, f := range map[string]func(s suite[director.AddrKey, director.AddrSpec]){
		"empty": func(s suite[director.AddrKey, director.AddrSpec]) { s.holds(nil) },
		"create, list, delete": func(s suite[director.AddrKey, director.AddrSpec]) {
			s.apply(create("192.0.2.10/24"), create("192.0.2.11/32"), create("2001:db8::10/64"))
			s.holds(list{key("192.0.2.10/24"): ours, key("192.0.2.11/32"): ours, key("2001:db8::10/64"): ours})
			s.apply(remove("192.0.2.10/24"), remove("2001:db8::10/64"))
			s.holds(list{key("192.0.2.11/32"): ours})
		},
		"create what exists": func(s suite[director.AddrKey, director.AddrSpec]) {
			s.apply(create("192.0.2.10/24"))
			s.apply(create("192.0.2.10/24"), create("192.0.2.10/24"))
			s.holds(list{key("192.0.2.10/24"): ours})
		},
		"delete what is absent": func(s suite[director.AddrKey, director.AddrSpec]) {
			s.apply(remove("192.0.2.10/24"))
			s.holds(nil)
		},
		"the tag of another's address stays away": func(s suite[director.AddrKey, director.AddrSpec]) {
			c := create("192.0.2.10/24")
			c.New.Ours = false
			s.apply(c)
			s.apply(create("192.0.2.10/24"))
			s.holds(list{key("192.0.2.10/24"): {}})
		},
		"a change of prefix length": func(s suite[director.AddrKey, director.AddrSpec]) {
			s.apply(create("192.0.2.10/24"))
			s.apply(create("192.0.2.10/32"), remove("192.0.2.10/24"))
			s.holds(list{key("192.0.2.10/32"): ours})
		},
		"nothing to do": func(s suite[director.AddrKey, director.AddrSpec]) {
			s.apply()
			s.holds(nil)
		},
		"cancelled": func(s suite[director.AddrKey, director.AddrSpec]) {
			s.apply(create("192.0.2.10/24"))
			s.cancelled(create("192.0.2.12/24"), list{key("192.0.2.10/24"): ours})
		},
	} {
		t.Run(name, func(t *testing.T) { f(suite[director.AddrKey, director.AddrSpec]{t, newTable(t)}) })
	}
}

// Schedulers are those of Linux (net/netfilter/ipvs/Kconfig) since 5.0.
var Schedulers = []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh"}

type (
	entries   = map[director.Key]director.Spec
	ipvsSuite = suite[director.Key, director.Spec]
)

// TestIPVS checks that newTable, called once per test, gives an empty IPVS table
// that honours the contract of director.Table.
func TestIPVS(t *testing.T, newTable func(t *testing.T) director.Table[director.Key, director.Spec]) {
	for name, f := range ipvsTests {
		t.Run(name, func(t *testing.T) { f(ipvsSuite{t, newTable(t)}) })
	}
}

var (
	web     = Service(director.TCP, "192.0.2.10:80")
	web6    = Service(director.TCP, "[2001:db8::10]:80")
	mark    = director.ServiceKey{FWMark: 10}
	mark6   = director.ServiceKey{FWMark: 10, IPv6: true}
	wlc     = director.ServiceSpec{Scheduler: "wlc", Mask: 32}
	wlc6    = director.ServiceSpec{Scheduler: "wlc", Mask: 128}
	direct  = director.ServerSpec{Weight: 1, Forward: director.DR}
	one     = netip.MustParseAddrPort("192.0.2.101:80")
	two     = netip.MustParseAddrPort("192.0.2.102:8080")
	one6    = netip.MustParseAddrPort("[2001:db8::101]:80")
	nowhere = Service(director.UDP, "192.0.2.99:53")
)

// Service returns the key of a service by address.
func Service(p director.Protocol, address string) director.ServiceKey {
	return director.ServiceKey{Protocol: p, Address: netip.MustParseAddrPort(address)}
}

// serviceIs and serverIs return a change with its key and content.
func serviceIs(op director.Op, k director.ServiceKey, s director.ServiceSpec) EntryChange {
	return EntryChange{Op: op, Key: director.Key{Service: k}, New: director.Spec{Service: s}}
}

func serverIs(op director.Op, k director.ServiceKey, a netip.AddrPort, s director.ServerSpec) EntryChange {
	return EntryChange{Op: op, Key: director.Key{Service: k, Server: a}, New: director.Spec{Server: s}}
}

// after returns the table that creating all of changes leads to.
func after(changes ...EntryChange) entries {
	list := entries{}
	for _, c := range changes {
		list[c.Key] = c.New
	}
	return list
}

// createdAsGiven creates changes in an empty table and expects them back.
func (s suite[K, V]) createdAsGiven(changes ...director.Change[K, V]) {
	s.t.Helper()
	s.apply(changes...)
	want := map[K]V{}
	for _, c := range changes {
		want[c.Key] = c.New
	}
	s.holds(want)
	s.apply(changes...) // once more: nothing changes
	s.holds(want)
}

const minute = time.Minute
