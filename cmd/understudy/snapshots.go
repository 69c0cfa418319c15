package main

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"net/http"
	"sync"
	"time"
)

// snapshot is a status that many may read. It is put into words once for each form.
type snapshot struct {
	status statusReply
	taken  time.Time
	took   time.Duration

	metrics, zipped, json page
}

// page is an answer that is complete before it is sent.
type page struct {
	once   sync.Once
	header http.Header
	code   int // 0: OK
	bytes.Buffer
}

// Header, with WriteHeader and Write, makes a page an http.ResponseWriter.
func (p *page) Header() http.Header { return p.header }

// WriteHeader sets the code, unless it is set.
func (p *page) WriteHeader(code int) { p.code = cmp.Or(p.code, code) }

// send writes the page, which write fills the first time. A client that reads slowly
// keeps nobody waiting.
func (p *page) send(w http.ResponseWriter, write func(http.ResponseWriter)) {
	p.once.Do(func() {
		p.header = http.Header{}
		write(p)
	})
	maps.Copy(w.Header(), p.header)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(cmp.Or(p.code, http.StatusOK))
	_, _ = w.Write(p.Bytes())
}

const (
	// freshTime is how old a snapshot may be before somebody who asks makes for
	// another one.
	freshTime = 2 * time.Second
	// gatherTime bounds how long one may take. The kernel's part of it is missing
	// then.
	gatherTime = 4 * time.Second
	// patience is how long somebody waits for another one before the old one has to do.
	patience = gatherTime + time.Second
)

// snapshots keeps the newest snapshot. One goroutine takes them, when they are asked
// for, so that those who ask, however many they are, cost the kernel no more than one
// listing at a time and a fifth of that time, and nothing when nobody asks.
type snapshots struct {
	gather func(context.Context) statusReply
	asked  chan struct{} // capacity 1

	mu   sync.Mutex
	last *snapshot
	next chan struct{} // closed when the one that is asked for is there; nil: none is
}

func newSnapshots(gather func(context.Context) statusReply) *snapshots {
	return &snapshots{gather: gather, asked: make(chan struct{}, 1)}
}

// Run takes snapshots until ctx ends.
func (s *snapshots) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.asked:
			s.take(ctx)
		}
	}
}

func (s *snapshots) take(ctx context.Context) {
	limit, cancel := context.WithTimeout(ctx, gatherTime)
	defer cancel()
	began := time.Now()
	status := s.gather(limit)
	one := &snapshot{status: status, taken: time.Now(), took: time.Since(began)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = one
	close(s.next)
	s.next = nil
}

// newest returns the newest snapshot without waiting; nil: there is none yet.
func (s *snapshots) newest() *snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// fresh returns a snapshot that is fresh, or after patience the newest; nil: there is
// none yet.
func (s *snapshots) fresh(ctx context.Context) *snapshot {
	s.mu.Lock()
	if s.last != nil && time.Since(s.last.taken) < max(freshTime, 4*s.last.took) {
		defer s.mu.Unlock()
		return s.last
	}
	if s.next == nil {
		s.next = make(chan struct{})
		s.asked <- struct{}{} // there is room: nobody has asked since the last one was taken
	}
	next := s.next
	s.mu.Unlock()
	limit, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-next:
	case <-limit.Done():
	}
	return s.newest()
}
