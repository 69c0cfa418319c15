package lab

import (
	"fmt"
	"sync"
	"time"
)

// Load requests one page again and again, each time over a new connection.
type Load struct {
	stop chan struct{}
	wg   sync.WaitGroup

	mu       sync.Mutex
	requests []request
}

type request struct {
	at     time.Time
	server string
	err    error
}

// Requests sums up a Load in a window of time.
type Requests struct {
	Sent, Failed int
	By           map[string]int
	FirstError   error
	FirstAt      time.Time
}

func (r Requests) String() string {
	return fmt.Sprintf("%d requests, %d failed, by server %v", r.Sent, r.Failed, r.By)
}

// Load starts requesting url from the node, one request at a time, with a pause
// between them.
func (n *Node) Load(url string, pause, timeout time.Duration) *Load {
	l := &Load{stop: make(chan struct{})}
	l.wg.Go(func() {
		for {
			at := time.Now()
			a, err := n.Get(url, timeout)
			l.mu.Lock()
			l.requests = append(l.requests, request{at, a.Server, err})
			l.mu.Unlock()
			select {
			case <-l.stop:
				return
			case <-time.After(pause):
			}
		}
	})
	n.lab.tb.Cleanup(l.Stop)
	return l
}

// Stop ends the Load after the request that is under way.
func (l *Load) Stop() {
	l.mu.Lock()
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.mu.Unlock()
	l.wg.Wait()
}

// Between sums up the requests that began from one time to another and have
// ended.
func (l *Load) Between(from, to time.Time) Requests {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := Requests{By: map[string]int{}}
	for _, q := range l.requests {
		if q.at.Before(from) || q.at.After(to) {
			continue
		}
		r.Sent++
		if q.err == nil {
			r.By[q.server]++
			continue
		}
		r.Failed++
		if r.FirstError == nil {
			r.FirstError, r.FirstAt = q.err, q.at
		}
	}
	return r
}
