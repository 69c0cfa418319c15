package director_test

import (
	"context"
	"testing"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/directortest"
	"github.com/understudy-ha/understudy/health"
)

// ready returns a director whose table of 1,000 services with 10 servers each
// is full, and the verdict on one of them.
func ready(b *testing.B) (*director.Director, director.Config, *health.State) {
	config := farm(1000)
	state := health.Up
	odd := config.Services[500].Servers[5].Check
	d := director.New(director.Options{
		IPVS: directortest.NewKernel(true).Process().IPVS(),
		Health: func(c health.Check) health.Status {
			if c == odd {
				return health.Status{State: state}
			}
			return health.Status{State: health.Up}
		},
	})
	d.Set(config)
	if err := d.PassEntries(b.Context()); err != nil {
		b.Fatal(err)
	}
	return d, config, &state
}

// BenchmarkVerdict is what one verdict costs in a full table, without the
// kernel.
func BenchmarkVerdict(b *testing.B) {
	d, config, state := ready(b)
	odd := config.Services[500].Servers[5].Check
	b.ReportAllocs()
	for b.Loop() {
		*state = health.Up + health.Down - *state
		d.RingCheck(odd)
		if err := d.PassHints(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAudit is what a listing in which nothing has changed costs.
func BenchmarkAudit(b *testing.B) {
	d, _, _ := ready(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := d.PassEntries(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFill is what an empty table costs, without the kernel.
func BenchmarkFill(b *testing.B) {
	config := farm(1000)
	b.ReportAllocs()
	for b.Loop() {
		d := director.New(director.Options{
			IPVS:   discard{directortest.NewKernel(true).Process().IPVS()},
			Health: func(health.Check) health.Status { return health.Status{State: health.Up} },
		})
		d.Set(config)
		if err := d.PassEntries(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// discard is a Balancer that does nothing and succeeds.
type discard struct{ director.Balancer }

func (discard) Apply(context.Context, []directortest.EntryChange) error { return nil }
