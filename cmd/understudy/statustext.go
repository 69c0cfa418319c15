package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// writeStatus prints a status for people: one block per virtual router and per
// service, what is wrong marked with "!".
func writeStatus(w io.Writer, s statusReply) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	ago := func(t time.Time) string {
		if t.IsZero() {
			return "-"
		}
		return age(s.AsOf.Sub(t))
	}
	fmt.Fprintf(tw, "%s  understudy %s, pid %d, up %s, %s loaded %s ago\n", s.RouterID, s.Version, s.PID, ago(s.Started), s.Config, ago(s.Loaded))
	if s.Refused != "" {
		fmt.Fprintf(tw, "! the last reload was refused:\n%s\n", indent(s.Refused, "!   "))
	}
	for _, warning := range s.Warnings {
		fmt.Fprintln(tw, "!", warning)
	}
	for _, l := range s.Lanes {
		if l.Error != "" {
			fmt.Fprintf(tw, "! %s: %s\n", l.Name, l.Error)
		}
	}
	for _, c := range s.Conditions {
		fmt.Fprintf(tw, "! %s: %s, from %s since %s ago: %s\n", c.Router, c.Condition, c.Peer, ago(c.Since), c.Detail)
	}
	for _, n := range s.Notified {
		if n.Failing {
			fmt.Fprintf(tw, "! notification by %s fails, %d waiting: %s\n", n.Target, n.Waiting, n.LastError)
		}
	}
	if s.Unheard != "" {
		fmt.Fprintln(tw, "! no metrics:", s.Unheard)
	}
	if s.Timeouts != "" {
		fmt.Fprintln(tw, "!", s.Timeouts)
	}
	writeSysctls(tw, s.Sysctl, false)
	if s.Lost != "" {
		fmt.Fprintln(tw, "!", s.Lost)
	}
	for _, o := range s.Orders {
		fmt.Fprintf(tw, "  an order of %s ago for %s of %s waits for a server of that name\n", ago(o.Since), o.Server, o.Service)
	}
	if len(s.Routers) > 0 {
		fmt.Fprintln(tw, "\nVIRTUAL ROUTER\tINTERFACE\tVRID\tPRIORITY\tSTATE\tFOR\tMASTER\tREASON")
	}
	for _, r := range s.Routers {
		if r.Leaving {
			r.State += ", leaving"
		}
		master := r.Master
		if master == "" {
			master = "-"
		}
		fmt.Fprintf(tw, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", r.Name, r.Interface, r.VRID, priorityWord(r), r.State, ago(r.Since), master, r.Reason)
		if r.PreemptHeld != "" {
			fmt.Fprintf(tw, "! does not preempt yet: %s\n", r.PreemptHeld)
		}
		writeTracks(tw, r.Tracks)
		for _, a := range r.Addresses {
			fmt.Fprintf(tw, "%s %s\t\t\t\t%s\n", mark(a.Wanted != a.Held || a.Error != ""), a.Address, heldWord(a.Wanted, a.Held, a.Error))
		}
	}
	for _, g := range s.Groups {
		fmt.Fprintf(tw, "\nGROUP %s: %s (%s)\n", g.Name, g.State, strings.Join(g.Members, ", "))
	}
	writeRouting(tw, s.Routers)
	for _, v := range s.Services {
		fmt.Fprintf(tw, "\nSERVICE %s: %s %s%s\n", v.Name, v.Service, v.Scheduler, persistenceWord(v.PersistenceNS))
		if v.Error != "" {
			fmt.Fprintf(tw, "! %s\n", v.Error)
		} else if !v.InTable {
			fmt.Fprintln(tw, "! not in the kernel's table")
		}
		if v.Quorum == "lost" {
			fmt.Fprintln(tw, "! quorum lost")
		}
		fmt.Fprintln(tw, "  REAL SERVER\tFORWARD\tWEIGHT\tTABLE\tHEALTH\tFOR\tACTIVE\tINACTIVE\tNOTE")
		for _, d := range v.Servers {
			table := "in"
			if !d.InTable {
				table = "out"
			}
			fmt.Fprintf(tw, "%s %s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\n", mark(d.Health == "down" || d.Error != ""),
				d.Address, d.Forward, weightWord(d), table, d.Health, ago(d.Since), d.Active, d.Inactive, noteOn(d, ago))
		}
	}
	return tw.Flush()
}

// writeRouting prints the routes and rules of the virtual routers, if there are
// any. One that is there without being wanted is somebody else's, and no fault.
func writeRouting(w io.Writer, routers []routerStatus) {
	const heading = "\n  ROUTE OR RULE\tVIRTUAL ROUTER\tIN THE KERNEL\n"
	said := false
	for _, r := range routers {
		for _, o := range slices.Concat(r.Routes, r.Rules) {
			if !said {
				fmt.Fprint(w, heading)
				said = true
			}
			fmt.Fprintf(w, "%s %s\t%s\t%s\n", mark(o.Wanted && !o.Held || o.Error != ""), o.Text, r.Name, heldWord(o.Wanted, o.Held, o.Error))
		}
	}
}

// priorityWord returns the priority in force, with the configured one where that
// differs.
func priorityWord(r routerStatus) string {
	if r.Effective == 0 || r.Effective == r.Priority {
		return strconv.Itoa(int(r.Priority))
	}
	return fmt.Sprintf("%d of %d", r.Effective, r.Priority)
}

// weightWord returns the weight in the kernel, with the configured one where
// that differs.
func weightWord(d serverStatus) string {
	if !d.InTable || d.Effective == d.Weight {
		return strconv.Itoa(d.Weight)
	}
	return fmt.Sprintf("%d of %d", d.Effective, d.Weight)
}

// noteOn says what is out of the ordinary with a server.
func noteOn(d serverStatus, ago func(time.Time) string) string {
	var notes []string
	add := func(when bool, format string, args ...any) {
		if when {
			notes = append(notes, fmt.Sprintf(format, args...))
		}
	}
	add(d.Drained, "drained by hand %s ago", ago(d.OrderedAt))
	add(d.Ordered != nil && !d.Drained, "weight given by hand %s ago", ago(d.OrderedAt))
	add(d.Sorry && d.InTable, "sorry server, %s", d.Reason)
	add(d.Sorry && !d.InTable, "sorry server")
	add(!d.Sorry && !d.Drained && d.Intent == "drain", "draining, %s", d.Reason)
	add(!d.Growing.IsZero(), "slow start for %s", ago(d.Growing))
	add(d.Error != "", "%s", d.Error)
	add(d.Error == "" && d.LastError != "", "%s", d.LastError)
	return strings.Join(notes, "; ")
}

func mark(bad bool) string {
	if bad {
		return "!"
	}
	return " "
}

func heldWord(wanted, held bool, err string) string {
	switch {
	case err != "":
		return err
	case wanted && held:
		return "held"
	case wanted:
		return "wanted, not held"
	case held:
		return "held, not wanted"
	}
	return "not held"
}

func persistenceWord(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return fmt.Sprintf(" persistent %v", d)
}

func indent(text, with string) string {
	return with + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n"+with)
}

// age writes a duration with two units at most: "3d4h", "5m10s", "2.50s".
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 10*time.Second:
		return fmt.Sprintf("%.2fs", d.Seconds())
	case d < time.Hour:
		return d.Round(time.Second).String()
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
}
