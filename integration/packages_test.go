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
)

// packages have tests of their own that need root and a kernel, by these names.
var packages = map[string]string{
	"director/addr": "^TestNetns",
	"director/ipvs": "^TestKernel",
	"director/link": "^TestNetns",
	"garp":          "^TestNetns",
	"vrrp/speaker":  "^TestNetns",
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
// tests. Here, where there are root and IPVS, none of them may be skipped.
func TestPackages(t *testing.T) {
	for pkg, tests := range packages {
		t.Run(pkg, func(t *testing.T) {
			binary, err := filepath.Abs(testBinary(pkg))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, binary, "-test.run", tests, "-test.v", "-test.timeout", "170s")
			cmd.Dir = filepath.Join("..", pkg)
			out, err := cmd.CombinedOutput()
			passed, skipped := bytes.Count(out, []byte("--- PASS")), bytes.Count(out, []byte("--- SKIP"))
			if err != nil || passed == 0 || skipped > 0 {
				t.Fatalf("%d passed, %d skipped, %v:\n%s", passed, skipped, err, out)
			}
			t.Logf("%d tests passed", passed)
		})
	}
}
