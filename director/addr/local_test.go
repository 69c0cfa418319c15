package addr

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
)

// When Apply has returned, packets to a new IPv6 address are for this host.
func TestNetnsIPv6AddressIsLocal(t *testing.T) {
	table := newTable(t)
	var longest time.Duration
	for i := range 200 {
		k := key("va", fmt.Sprintf("fd00::%x/64", i+1))
		if i%4 == 3 {
			k = key("va", fmt.Sprintf("fe80::100:%x/64", i+1))
		}
		began := time.Now()
		apply(t, table, create(k))
		longest = max(longest, time.Since(began))
		routes, err := netlink.RouteGetWithOptions(net.IP(k.Prefix.Addr().AsSlice()), &netlink.RouteGetOptions{Oif: "va"})
		if err != nil || len(routes) != 1 || routes[0].Type != unix.RTN_LOCAL {
			t.Fatalf("%v is routed by %v after Apply (%v)", k, routes, err)
		}
		if i%3 == 2 {
			apply(t, table, remove(k))
		}
	}
	t.Logf("the longest Apply took %v", longest)
	if longest >= localLimit {
		t.Errorf("Apply took %v", longest)
	}
}

// An address that cannot be reached, since its interface is down, does not hold up
// the others for long, and is no failure.
func TestNetnsIPv6AddressOfALinkThatIsDown(t *testing.T) {
	table := newTable(t)
	if err := netlink.LinkSetDown(linkByName(t, "va")); err != nil {
		t.Fatal(err)
	}
	k4, k6 := key("va", "10.0.0.1/24"), key("va", "fd00::1/64")
	began := time.Now()
	apply(t, table, create(k4, k6))
	if took := time.Since(began); took > 2*localLimit {
		t.Errorf("Apply took %v", took)
	}
	got, err := table.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []director.AddrKey{k4, k6} {
		if got[k] != ours {
			t.Errorf("the list lacks %v", k)
		}
	}
}
