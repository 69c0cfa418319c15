package sysctl

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/director"
)

// Options are what a Keeper needs.
type Options struct {
	Table Table        // nil: the kernel's
	Log   *slog.Logger // nil: none
}

// Keeper keeps the settings of the kernel as a configuration wants them, and
// says which are not. Its methods may be called from any goroutine; they wait
// for the kernel, but for Findings.
type Keeper struct {
	table Table
	log   *slog.Logger

	checking sync.Mutex // one check at a time; guards what follows
	config   Config
	needs    []Need
	wanted   []Setting
	good     map[string]string    // by key: the value that was seen to be as wanted
	repaired map[string]time.Time // by key: when a repair was logged last
	reported map[string]Finding   // by key: as it was logged

	mu       sync.Mutex
	findings []Finding // of the last check
}

// repairLog is how often a repair of one key is logged at most: somebody may be
// at odds with us for long.
const repairLog = time.Minute

// New returns a Keeper that wants nothing.
func New(o Options) *Keeper {
	k := &Keeper{
		table: o.Table, log: o.Log,
		good: make(map[string]string), repaired: make(map[string]time.Time), reported: make(map[string]Finding),
	}
	if k.table == nil {
		k.table = Kernel{}
	}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
	return k
}

// Set makes c what counts from the next Check on. A setting that is no longer
// wanted stays as it is.
func (k *Keeper) Set(c Config) {
	k.checking.Lock()
	defer k.checking.Unlock()
	c.Values = slices.Clone(c.Values)
	k.config, k.needs = c, Needs(c.Director, c.Sync)
	k.config.Director = director.Config{} // the needs are all that counts of it
	k.wanted = wanted(c, k.needs)
	maps.DeleteFunc(k.good, func(key, value string) bool { return !slices.Contains(k.wanted, Setting{key, value}) })
}

// Check sets what is wanted and differs, and returns what is not as it should
// be after that. It logs each setting that it changes, and each finding once,
// until it is another or gone.
func (k *Keeper) Check(now time.Time) []Finding {
	k.checking.Lock()
	defer k.checking.Unlock()
	failed := make(map[string]string)
	for _, s := range k.wanted {
		if err := k.keep(s, now); err != nil {
			failed[s.Key] = err.Error()
		}
	}
	// Read after all writes: one may change another.
	findings := compare(k.config, k.needs, look(k.table, keys(k.config, k.needs)))
	for i, f := range findings {
		if f.Err == "" {
			findings[i].Err = failed[f.Key]
		}
	}
	k.report(findings)
	k.mu.Lock()
	k.findings = findings
	k.mu.Unlock()
	return slices.Clone(findings)
}

// Findings returns those of the last Check.
func (k *Keeper) Findings() []Finding {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.findings)
}

// keep makes one setting unless the kernel has it.
func (k *Keeper) keep(s Setting, now time.Time) error {
	have, err := k.table.Read(s.Key)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // Compare says what that means
		}
		return err
	}
	if k.enough(s, have) {
		k.good[s.Key] = s.Value
		return nil
	}
	if err := k.table.Write(s.Key, s.Value); err != nil {
		return err
	}
	if k.good[s.Key] != s.Value {
		k.log.Info("kernel setting changed", "key", s.Key, "value", s.Value, "was", have)
	} else if last, ok := k.repaired[s.Key]; !ok || now.Sub(last) >= repairLog {
		k.log.Warn("kernel setting was changed by somebody else, put back", "key", s.Key, "value", s.Value, "found", have)
		k.repaired[s.Key] = now
	}
	k.good[s.Key] = s.Value
	return nil
}

// enough reports whether a value does: one that the configuration names exactly,
// one that is needed also if another does.
func (k *Keeper) enough(s Setting, have string) bool {
	if same(have, s.Value) {
		return true
	}
	if slices.Contains(k.config.Values, s) {
		return false
	}
	for _, n := range k.needs {
		if n.Key == s.Key {
			var beside Value
			if n.Beside != "" {
				beside = value(k.table, n.Beside)
			}
			return n.met(have, beside.Text)
		}
	}
	return false
}

// report logs the findings that are new or have changed.
func (k *Keeper) report(findings []Finding) {
	seen := make(map[string]Finding, len(findings))
	for _, f := range findings {
		seen[f.Key] = f
		if k.reported[f.Key] == f {
			continue
		}
		attrs := []any{"key", f.Key, "have", f.Have, "want", f.Want, "why", f.Why, "fix", f.Fix}
		if f.Err != "" {
			attrs = append(attrs, "err", f.Err)
		}
		level := slog.LevelWarn
		if f.Severity == Hint {
			level = slog.LevelDebug
		}
		k.log.Log(context.Background(), level, "kernel setting is not as wanted", attrs...)
	}
	k.reported = seen
}
