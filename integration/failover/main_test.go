package failover

import (
	"flag"
	"testing"

	"github.com/understudy-ha/understudy/integration/site"
	"github.com/understudy-ha/understudy/integration/vm"
)

func TestMain(m *testing.M) {
	flag.Parse()
	vm.Main(vm.Network, site.Build, m.Run)
}
