package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

const (
	syncPath      = "/v1/sync"       // GET: syncReply
	syncProbePath = "/v1/sync/probe" // POST: syncProbeReply, or 422 with the reason as text
)

// probeTime is how long a synthetic connection is waited for; less than callTimeout.
const probeTime = 10 * time.Second

func syncCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sync",
		Short: "Show and prove the synchronisation of connections between the directors",
		Long: `Show and prove the synchronisation of connections between the directors
([director.sync]), by which established connections survive a failover.`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(syncStatusCommand(), syncProbeCommand())
	return cmd
}

func syncStatusCommand() *cobra.Command {
	var flags socketFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the connections here and at the peers, and how far they lag",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := flags.call(cmd.Context(), http.MethodGet, syncPath)
			if err != nil {
				return err
			}
			if asJSON {
				_, err := cmd.OutOrStdout().Write(body)
				return err
			}
			var s syncReply
			if err := json.Unmarshal(body, &s); err != nil {
				return fmt.Errorf("decode the daemon's answer: %w", err)
			}
			return writeSync(cmd.OutOrStdout(), s)
		},
	}
	flags.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func syncProbeCommand() *cobra.Command {
	var flags socketFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "probe",
		Short: "Make a synthetic connection and wait until the peers have it",
		Long: `Make a synthetic connection in this director's kernel now, and wait at most 10 s
until every peer that is heard has seen it in its own. The exit status is 1 if it
does not arrive everywhere. It takes about three seconds: the kernel gathers
what it tells for two.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := flags.call(cmd.Context(), http.MethodPost, syncProbePath)
			if err != nil {
				return err
			}
			var reply syncProbeReply
			if err := json.Unmarshal(body, &reply); err != nil {
				return fmt.Errorf("decode the daemon's answer: %w", err)
			}
			if asJSON {
				_, err = cmd.OutOrStdout().Write(body)
			} else {
				err = writeProbe(cmd.OutOrStdout(), reply)
			}
			if err != nil {
				return err
			}
			for _, p := range reply.Peers {
				if !p.Arrived {
					return errSilent
				}
			}
			return nil
		},
	}
	flags.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func writeProbe(w io.Writer, r syncProbeReply) error {
	for _, p := range r.Peers {
		format := "arrived at %s after %s\n"
		if !p.Arrived {
			format = "! did not arrive at %s within %s; see understudy sync status\n"
		}
		if _, err := fmt.Fprintf(w, format, p.RouterID, age(p.LagNS)); err != nil {
			return err
		}
	}
	return nil
}

// writeSync prints how connections are synchronised, for people.
func writeSync(w io.Writer, s syncReply) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	ago := func(t time.Time) string {
		if t.IsZero() {
			return "-"
		}
		return age(s.AsOf.Sub(t))
	}
	ready := "ready"
	if !s.Ready {
		ready = "not ready"
	}
	if !s.Enabled {
		fmt.Fprintf(tw, "%s  connections are not synchronised (no [director.sync]); %s: %s\n", s.RouterID, ready, s.Reason)
		return tw.Flush()
	}
	fmt.Fprintf(tw, "%s  connections on %s, group %s port %d, id %d; %s: %s\n", s.RouterID, s.Interface, s.Group, s.Port, s.ID, ready, s.Reason)
	for _, a := range s.Advice {
		fmt.Fprintln(tw, "!", a)
	}
	fmt.Fprintln(tw, "\nKERNEL DAEMON\tINTERFACE\tID\tMAXLEN\tGROUP\tPORT\tTTL")
	for _, d := range s.Daemons {
		fmt.Fprintf(tw, "%s\t%s\t%d\t%d\t%s\t%d\t%d\n", d.State, d.Interface, d.ID, d.MaxLen, d.Group, d.Port, d.TTL)
	}
	if len(s.Daemons) == 0 {
		fmt.Fprintln(tw, "! none runs")
	}
	fmt.Fprintln(tw, "\n  DIRECTOR\tADDRESS\tHEARD\tROLE\tREADY\tENTRIES\tOWN\tSYNCED\tLASTING\tPROBED\tLAG\tMISSED")
	fmt.Fprintf(tw, "  %s\there\t-\t%s\t%s\t%d\t%d\t%d\t%d\t-\t-\t-\n", s.RouterID, "-", word(s.Ready), s.Entries.Total, s.Entries.Own, s.Entries.Synced, s.Entries.Lasting)
	for _, p := range s.Peers {
		role := "backup"
		if p.Master {
			role = "master"
		}
		lag := "-"
		if !p.Probed.IsZero() {
			lag = age(p.LagNS)
		}
		fmt.Fprintf(tw, "%s %s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\t%d\n", mark(!p.Alive || p.Missed > 1), p.RouterID, p.Address, ago(p.Heard), role, word(p.Ready),
			p.Entries.Total, p.Entries.Own, p.Entries.Synced, p.Entries.Lasting, ago(p.Probed), lag, p.Missed)
	}
	if s.Fetched != nil || s.Served != nil {
		fmt.Fprintln(tw)
	}
	writeResync(tw, "fetched from", s.Fetched, ago)
	writeResync(tw, "sent to", s.Served, ago)
	return tw.Flush()
}

func writeResync(w io.Writer, what string, r *syncResync, ago func(time.Time) string) {
	if r == nil {
		return
	}
	fmt.Fprintf(w, "%s resync %s %s %s ago: %s, %d connections sent, %d left out", mark(r.State == "failed"), what, r.Peer, ago(r.Began), r.State, r.Sent, r.Omitted)
	if r.Ended.After(r.Began) {
		fmt.Fprintf(w, ", in %s", age(r.Ended.Sub(r.Began)))
	}
	fmt.Fprintln(w)
}

func word(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}
