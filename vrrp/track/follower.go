package track

import (
	"context"
	"errors"
	"sync"
	"time"
)

// wanted is the targets of one kind, and the bell that tells of a change.
type wanted struct {
	bell chan struct{} // capacity 1

	mu      sync.Mutex
	targets []Target
}

func newWanted() wanted { return wanted{bell: make(chan struct{}, 1)} }

// set replaces the targets; the slice is not written any more.
func (w *wanted) set(targets []Target) {
	w.mu.Lock()
	w.targets = targets
	w.mu.Unlock()
	w.ring()
}

func (w *wanted) ring() {
	select {
	case w.bell <- struct{}{}:
	default:
	}
}

// take returns the targets as they are now; what the bell has told until now is
// in them.
func (w *wanted) take() []Target {
	select {
	case <-w.bell:
	default:
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.targets
}

// errOverflow says that notifications were lost; the feed goes on.
var errOverflow = errors.New("notifications were lost")

// feed is a subscription to what the kernel tells.
type feed[E any] interface {
	// next blocks until there is news. After an error other than errOverflow it
	// is not called again.
	next() ([]E, error)
	// Close makes next return an error.
	Close() error
}

// watcher knows what to look at and what the kernel's news means. It is called
// by one goroutine.
type watcher[E any] interface {
	// subscribe opens the feed; a later look relies on it until forget.
	subscribe() (feed[E], error)
	// look finds out everything about the targets and reports it. trouble says
	// why there is no feed, and is empty if there is one. It returns when to
	// look again.
	look(targets []Target, trouble string) time.Duration
	// hear takes in news, and returns how long the next look can wait.
	hear(news []E) time.Duration
}

const (
	// never is longer than any look waits.
	never = 365 * 24 * time.Hour
	// resubscribe is the pause before a feed is opened again that could not be
	// opened, or that broke.
	resubscribe = 10 * time.Second
)

// follower runs a watcher.
type follower[E any] struct {
	wanted
	watcher watcher[E]
}

func newFollower[E any](w watcher[E]) *follower[E] {
	return &follower[E]{wanted: newWanted(), watcher: w}
}

// run follows the targets until ctx ends. Without targets it holds no feed.
func (f *follower[E]) run(ctx context.Context) {
	var sub *subscription[E]
	defer func() { sub.close() }()
	var retry, due time.Time // zero: now
	trouble, news := "", true
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		targets := f.take()
		if len(targets) == 0 {
			sub.close()
			sub, retry, trouble = nil, time.Time{}, ""
			select {
			case <-ctx.Done():
			case <-f.bell:
			}
			news = true
			continue
		}
		now := time.Now()
		if sub == nil && !now.Before(retry) {
			opened, err := f.watcher.subscribe()
			news = true
			if err == nil {
				sub, trouble = newSubscription(opened), ""
			} else {
				retry, trouble = now.Add(resubscribe), err.Error()
			}
		}
		if news || !now.Before(due) {
			wait := f.watcher.look(targets, trouble)
			due, news = time.Now().Add(wait), false
		}
		alarm := due
		if sub == nil && retry.Before(due) {
			alarm = retry
		}
		timer.Reset(time.Until(alarm))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-f.bell:
			news = true
		case h := <-sub.channel():
			switch {
			case h.err == nil:
				if d := time.Now().Add(f.watcher.hear(h.news)); d.Before(due) {
					due = d
				}
			case errors.Is(h.err, errOverflow):
				news = true
			default:
				sub.close()
				sub, retry, trouble, news = nil, time.Now().Add(resubscribe), h.err.Error(), true
			}
		}
	}
}

// heard is what a feed returned.
type heard[E any] struct {
	news []E
	err  error
}

// subscription reads a feed in a goroutine of its own, no further ahead than one
// answer: where nobody takes it, the kernel's buffer overflows, and says so.
type subscription[E any] struct {
	feed  feed[E]
	heard chan heard[E]
	done  chan struct{}
	ended chan struct{}
}

func newSubscription[E any](f feed[E]) *subscription[E] {
	s := &subscription[E]{feed: f, heard: make(chan heard[E]), done: make(chan struct{}), ended: make(chan struct{})}
	go s.read()
	return s
}

func (s *subscription[E]) read() {
	defer close(s.ended)
	for {
		news, err := s.feed.next()
		select {
		case s.heard <- heard[E]{news, err}:
		case <-s.done:
			return
		}
		if err != nil && !errors.Is(err, errOverflow) {
			return
		}
	}
}

// channel returns where the news comes; of no subscription comes none.
func (s *subscription[E]) channel() <-chan heard[E] {
	if s == nil {
		return nil
	}
	return s.heard
}

// close ends the subscription, if there is one, and its goroutine.
func (s *subscription[E]) close() {
	if s == nil {
		return
	}
	close(s.done)
	_ = s.feed.Close()
	<-s.ended
}
