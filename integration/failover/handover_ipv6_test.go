package failover

import (
	"testing"

	"github.com/understudy-ha/understudy/integration/site"
)

// TestHandoverIPv6 does what TestHandover does for an IPv6 virtual router.
func TestHandoverIPv6(t *testing.T) { testHandover(t, site.Options{IPv6: true}) }

// BenchmarkHandoverIPv6 prints what BenchmarkHandover does for IPv6.
func BenchmarkHandoverIPv6(b *testing.B) {
	benchmarkHandover(b, "IPv6", site.Options{IPv6: true})
}
