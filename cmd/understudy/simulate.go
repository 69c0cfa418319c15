package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/understudy-ha/understudy/configs"
	"github.com/understudy-ha/understudy/vrrp/simulate"
)

func simulateCommand() *cobra.Command {
	var o simulate.Options
	asJSON := false
	cmd := &cobra.Command{
		Use:   "simulate FILE...",
		Short: "Say what the timing of these configurations outlives, and which interval to choose",
		Long: `Say what the timing of these configurations outlives, and which interval to choose.

The files are the configurations of the directors that share virtual routers, which
are matched by VRID and family. For each the daemon's own election is run on a
virtual clock: start, crash, stop, return, restart, pauses of a machine (live
migration), delay, loss, cuts in one direction. With one file, an equal peer is
assumed. No daemon is asked and no packet is sent.

The last line advises the shortest interval that outlives a pause of --pause and
has at most one needless takeover a day with a loss of --loss. The same files,
flags and --seed give the same answer.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case o.Pause < 0 || o.Pause > time.Hour:
				return fmt.Errorf("--pause: %v is not within 0s to 1h", o.Pause)
			case !(o.Loss >= 0 && o.Loss < 1):
				return fmt.Errorf("--loss: %g is not a share from 0 to less than 1; write 0.05 for 5 %%", o.Loss)
			case o.Pause == 0 && o.Loss == 0:
				return errors.New("--pause and --loss are 0, any interval outlives that; name one of the two")
			case !(o.Hours > 0 && o.Hours <= 100_000):
				return fmt.Errorf("--hours: %g is not within more than 0 to 100000", o.Hours)
			}
			var files []simulate.File
			for _, path := range args {
				c, err := load(cmd.ErrOrStderr(), path)
				if err != nil {
					return err
				}
				files = append(files, simulate.File{Path: path, Config: c})
			}
			elections, err := simulate.Match(files)
			if err != nil {
				return err
			}
			return writeElections(cmd.OutOrStdout(), elections, o, asJSON)
		},
	}
	cmd.Flags().DurationVar(&o.Pause, "pause", 500*time.Millisecond, "pause of a machine that the interval advised outlives")
	cmd.Flags().Float64Var(&o.Loss, "loss", 0, "share of the packets that are lost, 0.05 for 5 %, that it outlives")
	cmd.Flags().Float64Var(&o.Hours, "hours", 24, "hours to simulate for each rate of loss, or 200000 intervals")
	cmd.Flags().Uint64Var(&o.Seed, "seed", 1, "another seed draws other times and losses")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// load reads a configuration. It prints what is wrong with it.
func load(stderr io.Writer, path string) (*configs.Config, error) {
	c, err := configs.Load(path)
	var problems configs.Problems
	if errors.As(err, &problems) {
		for _, p := range problems {
			fmt.Fprintln(stderr, p)
		}
		return nil, errSilent
	}
	return c, err
}

func writeElections(w io.Writer, elections []simulate.Election, o simulate.Options, asJSON bool) error {
	all := []simulate.JSON{}
	for i, r := range simulate.RunAll(elections, o) {
		e := elections[i]
		if asJSON {
			all = append(all, r.JSON(e))
			continue
		}
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := r.WriteText(w, e, o); err != nil {
			return err
		}
	}
	if !asJSON {
		return nil
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(all)
}
