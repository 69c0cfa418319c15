package failover

import (
	"testing"

	"github.com/understudy-ha/understudy/integration/site"
)

// TestKeepalivedVirtualMAC does what TestKeepalived does with the RFC's MAC
// address on both sides.
func TestKeepalivedVirtualMAC(t *testing.T) {
	interop(t, "keepalived",
		variant{"v3", site.Options{Version: 3, VirtualMAC: true}},
		variant{"v3 unicast", site.Options{Version: 3, VirtualMAC: true, Unicast: true}},
		variant{"v3 IPv6", site.Options{Version: 3, VirtualMAC: true, IPv6: true}},
	)
}

// TestFRRVirtualMAC does what TestFRR does with the RFC's MAC address on both
// sides.
func TestFRRVirtualMAC(t *testing.T) {
	interop(t, "frr",
		variant{"v3", site.Options{Version: 3, VirtualMAC: true}},
		variant{"v3 IPv6", site.Options{Version: 3, VirtualMAC: true, IPv6: true}},
	)
}

// TestHandoverVirtualMAC does what TestHandover does with the RFC's MAC address.
func TestHandoverVirtualMAC(t *testing.T) { testHandover(t, site.Options{VirtualMAC: true}) }

// TestHandoverVirtualMACIPv6 does so for an IPv6 virtual router.
func TestHandoverVirtualMACIPv6(t *testing.T) {
	testHandover(t, site.Options{VirtualMAC: true, IPv6: true})
}

// TestKilledAndStartedAgainVirtualMAC does what TestKilledAndStartedAgain does
// with the RFC's MAC address.
func TestKilledAndStartedAgainVirtualMAC(t *testing.T) {
	testCrash(t, site.Options{VirtualMAC: true}, 0, nil, killAndStart)
}

// BenchmarkHandoverVirtualMAC prints what BenchmarkHandover does with the RFC's
// MAC address, for both families.
func BenchmarkHandoverVirtualMAC(b *testing.B) {
	benchmarkHandover(b, "virtual MAC", site.Options{VirtualMAC: true})
	benchmarkHandover(b, "virtual MAC, IPv6", site.Options{VirtualMAC: true, IPv6: true})
}
