package failover

import (
	"testing"
	"time"

	"github.com/understudy-ha/understudy/integration/site"
)

// TestKeepalivedIPv6 does what TestKeepalived does for an IPv6 virtual router.
func TestKeepalivedIPv6(t *testing.T) {
	interop(t, "keepalived",
		variant{"v3", site.Options{Version: 3, IPv6: true}},
		variant{"v3 at 10ms", site.Options{Version: 3, IPv6: true, Interval: 10 * time.Millisecond}},
	)
}

// TestFRRIPv6 does what TestFRR does for an IPv6 virtual router.
func TestFRRIPv6(t *testing.T) {
	interop(t, "frr", variant{"v3", site.Options{Version: 3, IPv6: true}})
}

// TestKilledAndStartedAgainIPv6 does what TestKilledAndStartedAgain does for an
// IPv6 virtual router.
func TestKilledAndStartedAgainIPv6(t *testing.T) {
	testCrash(t, site.Options{IPv6: true}, 0, nil, killAndStart)
}

// TestFloodIPv6 does what TestFlood does for an IPv6 virtual router.
func TestFloodIPv6(t *testing.T) {
	testFlood(t, site.Options{Version: 3, IPv6: true, Interval: 100 * time.Millisecond})
}
