package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

const defaultConfig = "/etc/understudy/understudy.toml"

func main() {
	os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr))
}

// errSilent ends a command with status 1 after it has said everything itself.
var errSilent = errors.New("")

// execute runs the command line and returns the exit status: 0, or for an error,
// which it prints, exitStatus.
func execute(args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "understudy",
		Short:         "A high-availability director for Linux IPVS",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(runCommand(), checkCommand(), statusCommand(), reloadCommand(), traceCommand(), handoverCommand(), upgradeCommand(), whichCommand(),
		drainCommand(), undrainCommand(), weightCommand(), syncCommand(), simulateCommand(), versionCommand(), ipvsadmCommand())
	err := root.Execute()
	switch {
	case err == nil:
		return 0
	case !errors.Is(err, errSilent):
		fmt.Fprintln(stderr, "understudy:", err)
	}
	return exitStatus(err)
}
