package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/understudy-ha/understudy/integration/site"
	"github.com/understudy-ha/understudy/integration/vm"
)

func main() {
	begin := func() (func(), error) {
		fmt.Println("A pair of directors, three real servers and a client, each a host of its own in network namespaces.")
		if !vm.Native(vm.IPVS) {
			fmt.Println("This machine's kernel has no IPVS for us: booting Debian's user-mode kernel.")
		}
		return site.Build()
	}
	vm.Main(vm.IPVS, begin, func() int {
		s := &stage{}
		defer s.clean()
		return play(s)
	})
}

// stage is the lab.TB of the demonstration: what cannot be built ends it.
type stage struct{ cleanups []func() }

func (s *stage) Helper() {}

func (s *stage) Logf(format string, args ...any) { fmt.Printf(format+"\n", args...) }

func (s *stage) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

func (s *stage) Fatalf(format string, args ...any) {
	fmt.Printf(format+"\n", args...)
	s.clean()
	os.Exit(1)
}

func (s *stage) clean() {
	for len(s.cleanups) > 0 {
		last := len(s.cleanups) - 1
		f := s.cleanups[last]
		s.cleanups = s.cleanups[:last]
		f()
	}
}

// files returns the configuration files that the directors start from.
func files() [2]string {
	var f [2]string
	for i := range f {
		f[i] = filepath.Join("configs", "examples", "demo", fmt.Sprintf("lb%d.toml", i+1))
	}
	return f
}
