package directortest_test

import (
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/directortest"
)

func TestModelAddresses(t *testing.T) {
	for _, tags := range []bool{true, false} {
		directortest.TestAddresses(t, "eth0", tags, func(*testing.T) director.Table[director.AddrKey, director.AddrSpec] {
			return directortest.NewKernel(tags).Process().Addresses()
		})
	}
}

func TestModelRouting(t *testing.T) {
	directortest.TestRouting(t, "eth0", func(t *testing.T) director.Table[director.RoutingKey, director.RoutingSpec] {
		k := directortest.NewKernel(true)
		k.ByHand(func(h directortest.Hand) {
			for _, a := range []string{"192.0.2.1/24", "2001:db8::1/64", "fe80::2/64"} {
				if err := h.Address(director.AddrKey{Link: "eth0", Prefix: netip.MustParsePrefix(a)}); err != nil {
					t.Fatal(err)
				}
			}
		})
		return k.Process().Routing()
	})
}

func TestModelIPVS(t *testing.T) {
	directortest.TestIPVS(t, func(*testing.T) director.Table[director.Key, director.Spec] {
		return directortest.NewKernel(true).Process().IPVS()
	})
}

// TestModelFaults shows that every kind of fault comes.
func TestModelFaults(t *testing.T) {
	k := directortest.NewKernel(true)
	web := directortest.Service(director.TCP, "192.0.2.1:80")
	k.ByHand(func(h directortest.Hand) {
		for i := range 10 {
			s := web
			s.Protocol += director.Protocol(i)
			if err := h.Service(s, director.ServiceSpec{Scheduler: "rr"}); err != nil {
				t.Fatal(err)
			}
		}
	})
	k.Fault(1, 3)
	table := k.Process().IPVS()
	seen := map[string]int{}
	for range 200 {
		list, err := table.List(t.Context())
		switch {
		case err != nil:
			seen[err.Error()]++
		case len(list) < 10:
			seen["partial"]++
		default:
			seen["whole"]++
		}
	}
	for _, want := range []string{unix.EINTR.Error(), unix.ENOBUFS.Error(), unix.EBUSY.Error(), "partial", "whole"} {
		if seen[want] == 0 {
			t.Errorf("no %q among %v", want, seen)
		}
	}
}

func TestModelCounts(t *testing.T) {
	k := directortest.NewKernel(true)
	web := directortest.Service(director.TCP, "192.0.2.1:80")
	key := director.Key{Service: web, Server: netip.MustParseAddrPort("192.0.2.2:80")}
	want := director.Counters{Active: 3, Inactive: 2, Persistent: 1}
	table := k.Process().IPVS()
	k.ByHand(func(h directortest.Hand) {
		if err := errors.Join(h.Service(web, director.ServiceSpec{Scheduler: "rr"}), h.Server(key, director.ServerSpec{Weight: 1})); err != nil {
			t.Fatal(err)
		}
		h.Count(key, want)
	})
	if got, err := table.Connections(t.Context(), web); err != nil || got[key.Server] != want {
		t.Errorf("Connections = %v, %v", got, err)
	}
	k.ByHand(func(h directortest.Hand) {
		if err := errors.Join(h.Delete(director.Key{Service: web}), h.Service(web, director.ServiceSpec{Scheduler: "rr"}), h.Server(key, director.ServerSpec{})); err != nil {
			t.Fatal(err)
		}
	})
	if got, err := table.Connections(t.Context(), web); err != nil || got[key.Server] != (director.Counters{}) {
		t.Errorf("Connections of a new server = %v, %v", got, err)
	}
}
