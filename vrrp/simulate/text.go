package simulate

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteText writes for people what Run has found out of e.
func (r Report) WriteText(w io.Writer, e Election, o Options) error {
	family := "IPv4"
	if e.IPv6 {
		family = "IPv6"
	}
	first := e.Directors[0].Config
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s: VRID %d, version %d, %s, one advertisement every %s\n", e.Name, e.VRID, first.Version, family, short(first.Interval))
	for _, d := range e.Directors {
		assumed := ""
		if d.Assumed {
			assumed = ", assumed"
		}
		fmt.Fprintf(t, "  %s\tpriority %d%s\n", d.Name, d.Priority, assumed)
	}
	for _, n := range e.Notes {
		fmt.Fprintf(t, "  note\t%s\n", n)
	}
	fmt.Fprintln(t)
	for _, row := range r.rows(e, o) {
		fmt.Fprintf(t, "  %s\t%s\n", row[0], row[1])
	}
	return t.Flush()
}

func (r Report) rows(e Election, o Options) (rows [][2]string) {
	master := e.Directors[0].Name
	next := e.Directors[1].Name
	if len(e.Directors) > 2 {
		next = "another one"
	}
	add := func(what, format string, args ...any) {
		rows = append(rows, [2]string{what, fmt.Sprintf(format, args...)})
	}
	add("start of all", "the first is master after %s", r.Start)
	add("crash of "+master, "noticed after %s; nobody answers for %s", r.Crash, r.CrashGap)
	answered := "somebody answers at every time"
	if r.StopGap.Longest > 0 {
		answered = fmt.Sprintf("nobody answers for %s", r.StopGap)
	}
	add("stop or handover", "%s is master after %s; %s", next, r.Stop, answered)
	switch {
	case r.Return.Never:
		add("return of "+master, "it stays backup")
	default:
		add("return of "+master, "it is master again after %s", r.Return)
	}
	if r.Restart > 0 {
		add("restart of its process", "not noticed, unless it takes %s or longer", short(r.Restart))
	} else {
		add("restart of its process", "not noticed in any time that was tried")
	}
	add("pause of "+master, "%s", pauseText(r.Pause, r.Certain))
	if r.Backup {
		add("pause of a backup", "it takes over when it wakes up")
	} else {
		add("pause of a backup", "none causes a takeover, however long")
	}
	add("sudden delay", "%s", causes(r.Delay, "one of %s on the way causes a takeover"))
	add("jitter", "%s", causes(r.Jitter, "a delay that varies by %s causes a takeover"))
	for _, l := range r.Losses {
		add(fmt.Sprintf("%g %% loss", 100*l.Rate), "%s", l)
	}
	add(fmt.Sprintf("%s does not hear %s", next, master), "%s", r.Deaf)
	add(fmt.Sprintf("%s does not hear %s", master, next), "%s", r.Mute)
	add("advice", "%s", r.Advice.text(o))
	return rows
}

func pauseText(some, always time.Duration) string {
	if some == 0 {
		return "none causes a takeover"
	}
	text := fmt.Sprintf("one of %s causes a takeover", short(some))
	if always > 0 {
		text += fmt.Sprintf(", and one of %s always does", short(always))
	}
	return text
}

func causes(d time.Duration, format string) string {
	if d == 0 {
		return "none that was tried causes a takeover"
	}
	return fmt.Sprintf(format, short(d))
}

// String says what a loss leads to.
func (l Loss) String() string {
	if l.Takeovers == 0 {
		return fmt.Sprintf("no takeover in %s", long(l.Simulated))
	}
	return fmt.Sprintf("causes one every %s, %s a day; the first after %s", long(l.Simulated/time.Duration(l.Takeovers)), number(l.PerDay()), long(l.First))
}

// String says what a cut leads to.
func (c Cut) String() string {
	switch {
	case c.Two == 0:
		return "nothing changes"
	case c.Two-c.After < c.Length/2:
		return fmt.Sprintf("two masters for %s in all", short(c.Two))
	}
	return fmt.Sprintf("two masters, for as long as it lasts and %s afterwards", short(c.After))
}

func (a Advice) text(o Options) string {
	var ask []string
	if o.Pause > 0 {
		ask = append(ask, fmt.Sprintf("outlives a pause of %s", short(o.Pause)))
	}
	if o.Loss > 0 {
		ask = append(ask, fmt.Sprintf("has at most one needless takeover a day with %g %% loss", 100*o.Loss))
	}
	what := strings.Join(ask, " and ")
	if a.Interval == 0 {
		return "no interval " + what
	}
	return fmt.Sprintf("advert_interval = %q is the shortest that %s; a crash is noticed after %s then", trim(a.Interval), what, short(a.Noticed))
}

// trim writes d as a configuration does.
func trim(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	return s
}

// String writes the shortest and the longest.
func (s Span) String() string {
	a, b := short(s.Shortest), short(s.Longest)
	if s.Longest == 0 {
		return "never"
	}
	if a == b {
		return a
	}
	unit := b[strings.IndexByte(b, ' '):]
	return strings.TrimSuffix(a, unit) + " to " + b
}

// short writes a time with two or three digits.
func short(d time.Duration) string {
	switch {
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%.3g ms", round(float64(d)/1e6))
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", float64(d)/1e6)
	case d < 100*time.Second:
		return fmt.Sprintf("%.3g s", math.Round(float64(d)/1e7)/100)
	}
	return long(d)
}

// round leaves one digit behind the point.
func round(f float64) float64 { return math.Round(f*10) / 10 }

// long writes a time in the unit that fits it.
func long(d time.Duration) string {
	switch {
	case d < 100*time.Second:
		return short(d)
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.3g h", d.Hours())
	}
	return fmt.Sprintf("%.0f days", d.Hours()/24)
}

// number writes a count with at most three digits.
func number(f float64) string {
	if f < 10 {
		return fmt.Sprintf("%.2g", f)
	}
	return fmt.Sprintf("%.0f", f)
}
