package failover

import (
	"flag"
	"testing"

	"github.com/understudy-ha/understudy/integration/site"
	"github.com/understudy-ha/understudy/integration/vm"
)

func TestMain(m *testing.M) {
	// Tests that run beside each other wait most of the time.
	_ = flag.Set("test.parallel", "4")
	flag.Parse()
	vm.Main(vm.Network, site.Build, m.Run)
}
