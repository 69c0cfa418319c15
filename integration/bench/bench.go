// Package bench measures a pair of directors beside a pair of keepalived in one
// run, in the same lab, one after the other and again: only ratios taken in one
// run hold.
package bench

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"text/tabwriter"

	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/site"
)

// runs is how often each figure is taken of each; the median counts.
const runs = 5

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
	Start func(s *site.Site, i int)
	Stop  func(s *site.Site) error // the first, cleanly
}

// contestants returns the two kinds.
func contestants() (ours, theirs Pair) {
	var first *site.Keepalived
	ours = Pair{
		Start: func(s *site.Site, i int) { s.LB[i].Start() },
		Stop:  func(s *site.Site) error { return s.LB[0].Stop() },
	}
	theirs = Pair{
		Start: func(s *site.Site, i int) {
			if k := s.StartKeepalived(i); i == 0 {
				first = k
			}
		},
		Stop: func(*site.Site) error { return first.Stop() },
	}
	return ours, theirs
}

// Table collects rows of figures in milliseconds.
type Table struct {
	b    *testing.B
	rows []row
}

type row struct {
	name         string
	ours, theirs []float64
}

// New returns an empty Table.
func New(b *testing.B) *Table { return &Table{b: b} }

// Measure takes one figure, in milliseconds, of each pair in turn.
func (t *Table) Measure(name string, one func(s *Scene, p Pair) float64) {
	r := row{name: name}
	ours, theirs := contestants()
	for range runs {
		for _, c := range []struct {
			pair Pair
			into *[]float64
		}{{ours, &r.ours}, {theirs, &r.theirs}} {
			s := &Scene{B: t.b}
			*c.into = append(*c.into, one(s, c.pair))
			s.close()
		}
	}
	fmt.Printf("%s: understudy %.0f, keepalived %.0f\n", r.name, r.ours, r.theirs)
	t.rows = append(t.rows, r)
}

// Print prints the medians and their ratios.
func (t *Table) Print() {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\nmedians of %d\tunderstudy\tkeepalived\tratio\t\n", runs)
	for _, r := range t.rows {
		ours, theirs := median(r.ours), median(r.theirs)
		fmt.Fprintf(w, "%s\t%.0f ms\t%.0f ms\t%.2f\t\n", r.name, ours, theirs, ours/theirs)
	}
	_ = w.Flush()
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
