package director

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
)

// reportLimit bounds the lines that one pass logs about changes, and again
// about failures; the rest is a count.
const reportLimit = 20

// report logs what a lane does. It logs an error when it appears or changes,
// and its end, but not its repetition.
type report[K, V comparable] struct {
	log     *slog.Logger
	errs    map[K]string
	lane    string
	ledgers string
}

// split logs the changes that were made: those among drift as such.
func (r *report[K, V]) split(changes, drift []Change[K, V], reason func(K) (Reason, string)) (repairs int) {
	if len(drift) == 0 {
		r.done(changes, reason, false)
		return 0
	}
	drifted := make(map[K]bool, len(drift))
	for _, c := range drift {
		drifted[c.Key] = true
	}
	var ordinary, repaired []Change[K, V]
	for _, c := range changes {
		if drifted[c.Key] {
			repaired = append(repaired, c)
		} else {
			ordinary = append(ordinary, c)
		}
	}
	r.done(ordinary, reason, false)
	r.done(repaired, reason, true)
	return len(repaired)
}

// done logs the changes that were made; as drift if nothing but the kernel had
// changed.
func (r *report[K, V]) done(changes []Change[K, V], reason func(K) (Reason, string), drift bool) {
	level, text := slog.LevelInfo, "changed the kernel"
	if drift {
		level, text = slog.LevelWarn, "repaired drift in the kernel"
	}
	for i, c := range changes {
		if i == reportLimit {
			r.log.Log(context.Background(), level, text, "more", len(changes)-reportLimit)
			return
		}
		why, name := reason(c.Key)
		attrs := []any{"change", c.String(), "reason", why.String()}
		if name != "" {
			attrs = append(attrs, "name", name)
		}
		r.log.Log(context.Background(), level, text, attrs...)
	}
}

// failures logs the outcome of an Apply.
func (r *report[K, V]) failures(failed map[K]error, err error) {
	errs := make(map[K]string, len(failed))
	var lines []string
	for k, e := range failed {
		errs[k] = e.Error()
		if r.errs[k] != errs[k] {
			lines = append(lines, fmt.Sprintf("%v: %v", k, e))
		}
	}
	slices.Sort(lines)
	for i, line := range lines {
		if i == reportLimit {
			r.log.Error("cannot change the kernel", "more", len(lines)-reportLimit)
			break
		}
		r.log.Error("cannot change the kernel", "err", line)
	}
	if len(r.errs) > 0 && len(errs) == 0 && err == nil {
		r.log.Info("can change the kernel again", "objects", len(r.errs))
	}
	r.errs = maps.Clone(errs)
	if err != nil && len(errs) == 0 {
		r.general(err)
		return
	}
	r.general(nil)
}

// general logs an error of the lane as a whole, nil for its end.
func (r *report[K, V]) general(err error) {
	switch {
	case err == nil && r.lane != "":
		r.log.Info("can reach the kernel again")
		r.lane = ""
	case err != nil && r.lane != err.Error():
		r.log.Error("cannot reach the kernel", "err", err)
		r.lane = err.Error()
	}
}

// ledger logs an error of the ledger, nil for its end.
func (r *report[K, V]) ledger(err error) {
	switch {
	case err == nil:
		r.ledgers = ""
	case r.ledgers != err.Error():
		r.log.Warn("cannot keep the ledger; a kill may leave objects behind", "err", err)
		r.ledgers = err.Error()
	}
}
