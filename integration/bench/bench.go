// Package bench measures a pair of directors beside a pair of keepalived in one
// run, in the same lab, one after the other and again: only ratios taken in one
// run hold.
package bench

import (
	"fmt"
	"math"
	"os"
	"slices"
	"testing"
	"text/tabwriter"

	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/site"
)

// usual is how often each figure is taken of each; the median counts.
const usual = 5

// Scene is the lab.TB of one run: it cleans up when the run is over, not when
// the benchmark is.
type Scene struct {
	*testing.B
	cleanups []func()
}

var _ lab.TB = (*Scene)(nil)

// Cleanup registers what is done at the end of the run.
func (s *Scene) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

func (s *Scene) close() {
	for _, f := range slices.Backward(s.cleanups) {
		f()
	}
	s.cleanups = nil
}

// Pair is a pair of directors of one kind.
type Pair struct {
	Ours  bool
	Start func(s *site.Site, i int)
	Stop  func(s *site.Site) error // the first, cleanly
	Pid   func(s *site.Site, i int) int
}

// contestants returns the two kinds.
func contestants() (ours, theirs Pair) {
	var kept [2]*site.Keepalived
	ours = Pair{
		Ours:  true,
		Start: func(s *site.Site, i int) { s.LB[i].Start() },
		Stop:  func(s *site.Site) error { return s.LB[0].Stop() },
		Pid:   func(s *site.Site, i int) int { return s.LB[i].Process().Pid() },
	}
	theirs = Pair{
		Start: func(s *site.Site, i int) { kept[i] = s.StartKeepalived(i) },
		Stop:  func(*site.Site) error { return kept[0].Stop() },
		Pid:   func(_ *site.Site, i int) int { return kept[i].Pid() },
	}
	return ours, theirs
}

// Figure is what is measured: a name and a unit.
type Figure struct{ Name, Unit string }

// None is the value of a figure that a pair does not have.
var None = math.NaN()

// Table collects rows of figures.
type Table struct {
	Runs int // how often each figure is taken; an odd number

	b    *testing.B
	rows []*row
}

type row struct {
	Figure
	ours, theirs []float64
}

// New returns an empty Table.
func New(b *testing.B) *Table { return &Table{b: b, Runs: usual} }

// Measure takes one figure, in milliseconds, of each pair in turn.
func (t *Table) Measure(name string, one func(s *Scene, p Pair) float64) {
	t.MeasureAll([]Figure{{name, "ms"}}, func(s *Scene, p Pair) []float64 { return []float64{one(s, p)} })
}

// MeasureAll takes several figures in one run of each pair in turn. all returns
// them in their order.
func (t *Table) MeasureAll(figures []Figure, all func(s *Scene, p Pair) []float64) {
	rows := make([]*row, len(figures))
	for i, f := range figures {
		rows[i] = &row{Figure: f}
	}
	ours, theirs := contestants()
	for range t.Runs {
		for _, p := range []Pair{ours, theirs} {
			s := &Scene{B: t.b}
			for i, v := range all(s, p) {
				if p.Ours {
					rows[i].ours = append(rows[i].ours, v)
				} else {
					rows[i].theirs = append(rows[i].theirs, v)
				}
			}
			s.close()
		}
	}
	for _, r := range rows {
		fmt.Printf("%s (%s): understudy %.1f, keepalived %.1f\n", r.Name, r.Unit, r.ours, r.theirs)
	}
	t.rows = append(t.rows, rows...)
}

// Print prints the medians and their ratios.
func (t *Table) Print() {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	what := fmt.Sprintf("medians of %d", t.Runs)
	if t.Runs == 1 {
		what = "counted once"
	}
	fmt.Fprintf(w, "\n%s\tunderstudy\tkeepalived\tratio\t\n", what)
	for _, r := range t.rows {
		ours, theirs := Median(r.ours), Median(r.theirs)
		ratio := "-"
		if theirs > 0 && !math.IsNaN(ours) {
			ratio = fmt.Sprintf("%.2f", ours/theirs)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t\n", r.Name, r.show(ours), r.show(theirs), ratio)
	}
	_ = w.Flush()
}

func (f Figure) show(v float64) string {
	switch {
	case math.IsNaN(v):
		return "-"
	case v < 10 && v != math.Trunc(v):
		return fmt.Sprintf("%.1f %s", v, f.Unit)
	}
	return fmt.Sprintf("%.0f %s", v, f.Unit)
}

// Median returns the middle one of an odd number of values.
func Median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
