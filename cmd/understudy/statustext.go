package main

import (
	"fmt"
	"io"
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
	if len(s.Routers) > 0 {
		fmt.Fprintln(tw, "\nVIRTUAL ROUTER\tINTERFACE\tVRID\tPRIORITY\tSTATE\tFOR\tMASTER\tREASON")
	}
	for _, r := range s.Routers {
		master := r.Master
		if master == "" {
			master = "-"
		}
		fmt.Fprintf(tw, "%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\n", r.Name, r.Interface, r.VRID, r.Priority, r.State, ago(r.Since), master, r.Reason)
		for _, a := range r.Addresses {
			fmt.Fprintf(tw, "%s %s\t\t\t\t%s\n", mark(a.Wanted != a.Held || a.Error != ""), a.Address, addressWord(a))
		}
	}
	for _, v := range s.Services {
		fmt.Fprintf(tw, "\nSERVICE %s: %s %s%s\n", v.Name, v.Service, v.Scheduler, persistenceWord(v.PersistenceNS))
		if v.Error != "" {
			fmt.Fprintf(tw, "! %s\n", v.Error)
		} else if !v.InTable {
			fmt.Fprintln(tw, "! not in the kernel's table")
		}
		fmt.Fprintln(tw, "  REAL SERVER\tFORWARD\tWEIGHT\tTABLE\tHEALTH\tFOR\tACTIVE\tINACTIVE\tLAST ERROR")
		for _, d := range v.Servers {
			table := "in"
			if !d.InTable {
				table = "out"
			}
			lastError := d.LastError
			if d.Error != "" {
				lastError = d.Error
			}
			fmt.Fprintf(tw, "%s %s\t%s\t%d\t%s\t%s\t%s\t%d\t%d\t%s\n", mark(d.Health == "down" || d.Error != ""),
				d.Address, d.Forward, d.Weight, table, d.Health, ago(d.Since), d.Active, d.Inactive, lastError)
		}
	}
	return tw.Flush()
}

func mark(bad bool) string {
	if bad {
		return "!"
	}
	return " "
}

func addressWord(a addressStatus) string {
	switch {
	case a.Error != "":
		return a.Error
	case a.Wanted && a.Held:
		return "held"
	case a.Wanted:
		return "wanted, not held"
	case a.Held:
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
