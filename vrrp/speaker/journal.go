package speaker

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// journalSize is how many records wait for a log that blocks.
const journalSize = 1024

// journal takes log records from the loop without ever blocking it.
type journal struct {
	handler slog.Handler
	records chan slog.Record
	lost    atomic.Uint64
}

func newJournal(log *slog.Logger) *journal {
	return &journal{handler: log.Handler(), records: make(chan slog.Record, journalSize)}
}

func (j *journal) add(now time.Time, level slog.Level, msg string, attrs ...slog.Attr) {
	r := slog.NewRecord(now, level, msg, 0)
	r.AddAttrs(attrs...)
	select {
	case j.records <- r:
	default:
		j.lost.Add(1)
	}
}

func (j *journal) close() { close(j.records) }

// write hands the records to the log until the journal is closed and empty.
func (j *journal) write() {
	for r := range j.records {
		j.handle(r)
		if lost := j.lost.Swap(0); lost > 0 {
			late := slog.NewRecord(r.Time, slog.LevelWarn, "log too slow, records lost", 0)
			late.AddAttrs(slog.Uint64("records", lost))
			j.handle(late)
		}
	}
}

func (j *journal) handle(r slog.Record) {
	if ctx := context.Background(); j.handler.Enabled(ctx, r.Level) {
		_ = j.handler.Handle(ctx, r) // there is no other place to say it
	}
}
