package integration

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/understudy-ha/understudy/integration/vm"
)

// binaryEnv names the daemon under test; it is built when it is not set.
const binaryEnv = "UNDERSTUDY_BIN"

func TestMain(m *testing.M) {
	flag.Parse()
	vm.Main(build, m.Run)
}

// build builds the daemon under test and the kernel tests of the packages.
func build() error {
	if err := buildTests(); err != nil {
		return err
	}
	if os.Getenv(binaryEnv) != "" {
		return nil
	}
	bin, err := filepath.Abs("../bin/understudy")
	if err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-o", bin, "../cmd/understudy")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("build the daemon: %w", err), errors.New(string(out)))
	}
	return os.Setenv(binaryEnv, bin)
}
