package integration

import (
	"flag"
	"testing"

	"github.com/understudy-ha/understudy/integration/site"
	"github.com/understudy-ha/understudy/integration/vm"
)

func TestMain(m *testing.M) {
	flag.Parse()
	vm.Main(vm.IPVS, build, m.Run)
}

// build builds the daemon under test and the kernel tests of the packages.
func build() (remove func(), err error) {
	if err := buildTests(); err != nil {
		return nil, err
	}
	return site.Build()
}
