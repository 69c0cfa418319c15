package integration

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/vm"
)

// packages have tests of their own that need root and a kernel, by these names.
var packages = map[string]string{
	"cmd/understudy/ipvsadm": "^TestKernel",
	"director/accept":        "^TestNetns",
	"director/addr":          "^TestNetns",
	"director/connsync":      "^TestKernel",
	"director/ipvs":          "^TestKernel",
	"director/link":          "^TestNetns",
	"director/oracle":        "^TestKernel",
	"director/route":         "^TestNetns",
	"director/sysctl":        "^TestKernel",
	"director/vmac":          "^TestNetns",
	"garp":                   "^TestNetns",
	"vrrp/speaker":           "^TestNetns",
	"vrrp/track":             "^TestNetns",
}

// testBinary is where the test binary of a package is built.
func testBinary(pkg string) string {
	return filepath.Join("..", "bin", "kernel", filepath.Base(pkg)+".test")
}

// buildTests builds the test binaries of packages.
func buildTests() error {
	for pkg := range packages {
		cmd := exec.Command("go", "test", "-c", "-o", testBinary(pkg), "../"+pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build the tests of %s: %w: %s", pkg, err, out)
		}
	}
	return nil
}

// TestPackages runs the kernel tests of the packages in the kernel of these
// tests, each package in a network namespace of its own. Here, where there are
// root and IPVS, none of them may be skipped, but for the one that unloads ip_vs
// from the kernel of a whole machine.
func TestPackages(t *testing.T) {
	allowed, ipvs := 0, "module"
	if !vm.Inside() {
		allowed, ipvs = 1, "table"
	}
	for pkg, tests := range packages {
		t.Run(pkg, func(t *testing.T) {
			if pkg == "director/accept" {
				needNftables(t)
			}
			binary, err := filepath.Abs(testBinary(pkg))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, binary, "-test.run", tests, "-test.v", "-test.timeout", "170s")
			cmd.Dir = filepath.Join("..", pkg)
			cmd.Env = append(os.Environ(), "UNDERSTUDY_TEST_IPVS="+ipvs)
			var out []byte
			err = lab.New(t).Node("tests").Do(func() error {
				var err error
				out, err = cmd.CombinedOutput()
				return err
			})
			passed, skipped := bytes.Count(out, []byte("--- PASS")), bytes.Count(out, []byte("--- SKIP"))
			if err != nil || passed == 0 || skipped > allowed {
				t.Fatalf("%d passed, %d skipped, %v:\n%s", passed, skipped, err, out)
			}
			t.Logf("%d tests passed", passed)
		})
	}
}
