package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/understudy-ha/understudy/configs"
)

func checkCommand() *cobra.Command {
	kernel := false
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a configuration file and everything that it includes",
		Long: `Check a configuration file and everything that it includes.

Every problem is printed as FILE:LINE: what is wrong, and what to do about it.
The exit status is 0 if the file can be used, warnings or not, and 1 if it
cannot. Nothing is changed and nothing needs to run.

With --kernel it is also compared with this machine: its interfaces, the modules
of IPVS, and the settings of the kernel (sysctl), each with the command that
sets it. What nothing works without makes the exit status 1, too.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := configs.Load(args[0])
			var problems configs.Problems
			switch {
			case errors.As(err, &problems):
				for _, p := range problems {
					fmt.Fprintln(cmd.ErrOrStderr(), p)
				}
				return errSilent
			case err != nil:
				return err
			}
			for _, w := range c.Warnings {
				fmt.Fprintln(cmd.ErrOrStderr(), w)
			}
			servers := 0
			for _, s := range c.Director.Services {
				servers += len(s.Servers)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: good: %s, %s, %s\n", args[0],
				count(len(c.Routers), "virtual router"), count(len(c.Director.Services), "service"), count(servers, "real server"))
			if kernel && !thisMachine().compare(cmd.OutOrStdout(), c) {
				return errSilent
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&kernel, "kernel", false, "compare it with this machine, too")
	return cmd
}

// count writes a number of things, with the plural where it belongs.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
