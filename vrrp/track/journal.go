package track

import (
	"log/slog"
	"strings"
	"sync"
)

// journal writes the log in a goroutine of its own, so that a log that blocks
// holds up no result.
type journal struct {
	log *slog.Logger

	mu      sync.Mutex
	entries chan entry
	lost    int
	closed  bool
}

// entry is a change of what is known for one Item.
type entry struct {
	use
	old, now ItemStatus
	lost     int // entries before this one that were not written
}

const journalSize = 1024

func newJournal(log *slog.Logger) *journal {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &journal{log: log, entries: make(chan entry, journalSize)}
}

// add queues an entry, or counts it if there is no room.
func (j *journal) add(u use, old, now Observation) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return
	}
	select {
	case j.entries <- entry{use: u, old: u.item.judge(old), now: u.item.judge(now), lost: j.lost}:
		j.lost = 0
	default:
		j.lost++
	}
}

// close makes write return when it has written what is queued.
func (j *journal) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	close(j.entries)
}

func (j *journal) write() {
	for e := range j.entries {
		if e.lost > 0 {
			j.log.Warn("log was too slow, records are lost", "records", e.lost)
		}
		e.write(j.log)
	}
}

func (e entry) write(log *slog.Logger) {
	log = log.With("track", e.item.String(), "vrrp", strings.Join(e.routers, ", "))
	old, now := e.old, e.now
	if old.Note != now.Note {
		if now.Note != "" {
			log.Warn("cannot watch as it should be", "err", now.Note)
		} else {
			log.Info("can watch again as it should be")
		}
	}
	if old.State == now.State && old.Adjust == now.Adjust && old.Fault == now.Fault {
		return
	}
	log = log.With("state", now.State, "was", old.State, "effect", e.item.Effect(), "adjust", now.Adjust, "reason", now.Reason)
	if now.State == Fail {
		log.Warn("track fails")
	} else {
		log.Info("track passes")
	}
}
