package vrrptest

import (
	"time"

	"github.com/understudy-ha/understudy/vrrp"
)

// letter is an advertisement on its way.
type letter struct {
	at  time.Duration
	seq uint64 // keeps letters of one instant in order
	to  *node
	rx  vrrp.Event
}

func (a letter) before(b letter) bool {
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}

// flight is a heap of letters by arrival. It is not container/heap because that
// one allocates for every letter, and letters are most of what a LAN does.
type flight []letter

func (f *flight) push(x letter) {
	h := append(*f, x)
	*f = h
	i := len(h) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !h[i].before(h[parent]) {
			break
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
}

func (f *flight) pop() letter {
	h := *f
	first, last := h[0], len(h)-1
	h[0] = h[last]
	h[last] = letter{}
	h = h[:last]
	*f = h
	i := 0
	for {
		child := 2*i + 1
		if child >= len(h) {
			return first
		}
		if child+1 < len(h) && h[child+1].before(h[child]) {
			child++
		}
		if !h[child].before(h[i]) {
			return first
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}

// latest returns when the last letter arrives, at least t.
func (f flight) latest(t time.Duration) time.Duration {
	for _, x := range f {
		t = max(t, x.at)
	}
	return t
}
