package director_test

import (
	"context"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/directortest"
	"github.com/understudy-ha/understudy/garp"
)

// judge looks at what was done since the last time.
func (w *world) judge(t *rapid.T) {
	for _, c := range w.kernel.AddressJournal() {
		must, may := w.verdictOnAddress(c.Key)
		switch {
		case c.Op == director.Create && !must:
			t.Fatalf("created the address %v, which must not be", c.Key)
		case c.Op == director.Create:
			w.mine[c.Key] = true
		case c.Op == director.Update:
			t.Fatalf("took over the address %v", c.Key)
		case may:
			t.Fatalf("deleted the address %v, which may stay", c.Key)
		case w.tags && !c.Old.Ours || !w.tags && !w.mine[c.Key]:
			t.Fatalf("deleted the address %v, which is not ours", c.Key)
		}
	}
	for _, c := range w.kernel.EntryJournal() {
		spec, must, may := w.verdictOnEntry(c.Key)
		if c.Op == director.Create {
			w.written[c.Key.Service] = true
		}
		switch {
		case !w.ours(c.Key.Service):
			t.Fatalf("%v: it is not ours", c)
		case c.Op == director.Create && !must:
			t.Fatalf("%v: it must not be", c)
		case c.Op != director.Delete && !w.good(c.Key, c.New, spec):
			t.Fatalf("%v: want %v", c, spec)
		case c.Op == director.Delete && may:
			t.Fatalf("%v: it may stay", c)
		}
	}
}

// settled checks the kernel against the verdicts, and that nothing is done any
// more.
func (w *world) settled(t *rapid.T, before map[director.Key]director.Spec) {
	held := w.kernel.Addresses()
	for k, spec := range held {
		_, may := w.verdictOnAddress(k)
		if ours := w.tags && spec.Ours || !w.tags && w.mine[k]; ours && !may {
			t.Fatalf("the address %v is left:\n%v", k, w.kernel)
		}
	}
	claims := map[garp.Target]bool{}
	for _, r := range w.config.Routers {
		for _, p := range r.Addresses {
			k := director.AddrKey{Link: r.Link, Prefix: p}
			_, there := held[k]
			must, _ := w.verdictOnAddress(k)
			if must && !there {
				t.Fatalf("the address %v is missing:\n%v", k, w.kernel)
			}
			if must {
				claims[garp.Target{Link: r.Link, Address: p.Addr()}] = true
			}
		}
	}
	claimed := map[garp.Target]bool{}
	for target := range w.claimed {
		claimed[target] = true
	}
	if d := cmp.Diff(claims, claimed, equal...); d != "" {
		t.Fatalf("others are announced than held and wanted (-want +got):\n%s", d)
	}

	table := w.kernel.Entries()
	keys := maps.Clone(table)
	for k := range directortest.Full(w.config) {
		keys[k] = director.Spec{}
	}
	maps.Copy(keys, before)
	for k := range keys {
		have, there := table[k]
		spec, must, may := w.verdictOnEntry(k)
		old, was := before[k]
		switch {
		case !w.ours(k.Service):
			if there != was || have != old {
				t.Fatalf("the foreign entry %v has changed from %v to %v", k, old, have)
			}
		case must && !there:
			t.Fatalf("%v is missing:\n%v", k, w.kernel)
		case there && !may && w.waits(k) && have.Server.Weight > 0:
			// It may have to serve until somebody else can.
		case there && !may && (w.written[k.Service] || w.config.Exclusive):
			t.Fatalf("%v is left:\n%v", k, w.kernel)
		case there && may && !w.good(k, have, spec):
			t.Fatalf("%v is %v, want %v", k, have, spec)
		}
	}

	// With nothing left to do, the ledgers name what is there and wanted.
	clear(w.named)
	clear(w.written)
	for _, s := range w.config.Services {
		w.named[s.Keys[0]], w.written[s.Keys[0]] = true, true
	}
	maps.DeleteFunc(w.mine, func(k director.AddrKey, _ bool) bool {
		_, there := held[k]
		return !there
	})

	epochs := maps.Clone(w.claimed)
	w.passes(t, 1, true)
	if a, e := w.kernel.AddressJournal(), w.kernel.EntryJournal(); len(a)+len(e) > 0 {
		t.Fatalf("a second pass changes %v %v", a, e)
	}
	if d := cmp.Diff(epochs, w.claimed, equal...); d != "" {
		t.Fatalf("a second pass announces again:\n%s", d)
	}
}

// passes makes passes of both lanes; must says that none may fail.
func (w *world) passes(t *rapid.T, n int, must bool) {
	for range n {
		err := w.d.PassAddresses(context.Background())
		if err != nil && must {
			t.Fatalf("pass: %v", err)
		}
		if err = w.d.PassEntries(context.Background()); err != nil && must {
			t.Fatalf("pass: %v", err)
		}
		for _, s := range w.config.Services {
			w.named[s.Keys[0]] = true
			if err == nil {
				w.written[s.Keys[0]] = true
			}
		}
	}
}

// TestConverges runs a director in worlds of every kind: operators, faults and
// kills come between and within its passes.
func TestConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{
			tags:  rapid.Bool().Draw(t, "tags"),
			named: map[director.ServiceKey]bool{}, written: map[director.ServiceKey]bool{},
			mine: map[director.AddrKey]bool{},
		}
		w.kernel = directortest.NewKernel(w.tags)
		w.drawHands(t)
		w.config = drawConfig(t)
		w.drawWorld(t)
		w.start()
		for range rapid.IntRange(1, 5).Draw(t, "rounds") {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				w.config = drawConfig(t)
				w.d.Set(w.config)
			case 1:
				w.drawWorld(t)
			case 2:
				w.drawHands(t)
			}
			before := w.kernel.Entries()
			if rapid.Bool().Draw(t, "faults") {
				w.kernel.Fault(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(2, 8).Draw(t, "one in"))
				w.passes(t, 3, false)
				w.judge(t)
				w.kernel.Fault(0, 0)
			}
			if rapid.Bool().Draw(t, "kill") {
				w.process.KillAfter(rapid.IntRange(0, 12).Draw(t, "after"))
				w.passes(t, 2, false)
				w.judge(t)
				before = w.kernel.Entries() // an exclusive configuration owned all until now
				w.start()
				if rapid.Bool().Draw(t, "other config") {
					w.config = drawConfig(t)
					w.d.Set(w.config)
				}
			}
			w.passes(t, 2, true)
			w.judge(t)
			w.settled(t, before)
		}
		before := w.kernel.Entries()
		if err := w.d.WithdrawAddresses(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := w.d.WithdrawEntries(context.Background()); err != nil {
			t.Fatal(err)
		}
		for k, spec := range w.kernel.Addresses() {
			if w.tags && spec.Ours || !w.tags && w.mine[k] {
				t.Fatalf("the address %v is left at the end", k)
			}
		}
		for k, spec := range before {
			left, ok := w.kernel.Entries()[k]
			if ours := w.ours(k.Service); ours == ok || !ours && left != spec {
				t.Fatalf("at the end %v is there: %v; ours: %v", k, ok, ours)
			}
		}
	})
}
