package main

import (
	"io"
	"sync/atomic"
	"time"
)

const (
	spoolLines = 4096        // that wait for a log that blocks
	spoolFlush = time.Second // for the log to take the last ones
)

// spool stands between the daemon and its log, which may block: standard error
// is a pipe or a socket, and who reads it may hang. No takeover and no stop
// waits for that. What does not fit is lost and counted.
type spool struct {
	lines  chan []byte
	lost   atomic.Uint64
	ending chan struct{} // closed: write what there is, then end
	ended  chan struct{}
}

func newSpool() *spool {
	return &spool{lines: make(chan []byte, spoolLines), ending: make(chan struct{}), ended: make(chan struct{})}
}

// Write takes one line. It never blocks and never fails.
func (s *spool) Write(p []byte) (int, error) {
	select {
	case s.lines <- append([]byte(nil), p...):
	default:
		s.lost.Add(1)
	}
	return len(p), nil
}

// run hands the lines to w until the spool is closed and empty, and reports the
// number of those that were lost.
func (s *spool) run(w io.Writer, lost func(lines uint64)) {
	defer close(s.ended)
	for {
		select {
		case line := <-s.lines:
			_, _ = w.Write(line) // there is no other place to say it
			if n := s.lost.Swap(0); n > 0 {
				lost(n)
			}
			continue
		default:
		}
		select {
		case line := <-s.lines:
			_, _ = w.Write(line)
		case <-s.ending:
			if len(s.lines) == 0 {
				return
			}
		}
	}
}

// close waits until everything is written, if the log takes it in time.
func (s *spool) close() {
	close(s.ending)
	select {
	case <-s.ended:
	case <-time.After(spoolFlush):
	}
}
