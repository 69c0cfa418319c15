package connsync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// The kernel's tables of connections. They are read by the thread that is in the
// right network namespace.
const (
	connFile = "/proc/thread-self/net/ip_vs_conn"
	syncFile = "/proc/thread-self/net/ip_vs_conn_sync"
)

// Reading the table costs the kernel time that grows faster than the table. The
// pause after a reading is a multiple of what it took.
const (
	countEvery   = 2 * time.Second
	countPause   = 30 // times; while somebody waits for a synthetic connection:
	searchPause  = 4
	searchEvery  = 200 * time.Millisecond
	longestPause = time.Minute // but for a table that takes long to read
)

// count reads the table again and again, for its size and for the synthetic
// connections of others.
func (w *session) count(ctx context.Context) {
	for {
		begin := time.Now()
		c, probes, odd, err := countTable(ctx)
		if ctx.Err() != nil {
			return
		}
		now := time.Now()
		took := now.Sub(begin)
		w.s.mu.Lock()
		text := ""
		if err != nil {
			text = err.Error()
		} else {
			w.node.counted(now, c, probes)
		}
		w.countErr, w.odd, w.countTook = text, odd, took
		looking, kick := w.node.looking(now), w.node.kick
		w.s.mu.Unlock()
		if kick {
			w.transmit(now)
		}
		pause, search := pauses(took)
		if looking {
			pause = search
		}
		if !w.pause(ctx, now, pause, search) {
			return
		}
	}
}

// pauses returns how long to wait after a reading that took so long, and how long
// at least if somebody waits for a synthetic connection.
func pauses(took time.Duration) (pause, search time.Duration) {
	pause = max(min(max(countEvery, countPause*took), longestPause), searchPause*took)
	return pause, min(max(searchEvery, searchPause*took), pause)
}

// reading returns r until ctx ends. The kernel gives a page at a time, so that
// not even a large table keeps anybody from leaving.
func reading(ctx context.Context, r io.Reader) io.Reader { return &until{ctx, r} }

type until struct {
	ctx context.Context
	r   io.Reader
}

func (u *until) Read(b []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, context.Cause(u.ctx)
	}
	return u.r.Read(b)
}

// pause waits until the table may be read again; sooner if somebody asks for it,
// but not at once.
func (w *session) pause(ctx context.Context, now time.Time, pause, least time.Duration) bool {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	case <-w.recount:
		return sleep(ctx, max(least-time.Since(now), 0))
	}
}

// countTable reads the table once.
func countTable(ctx context.Context) (c Counts, probes map[netip.AddrPort]bool, odd int, err error) {
	f, err := os.Open(syncFile)
	if errors.Is(err, os.ErrNotExist) {
		return c, nil, 0, genl.ErrMissing
	}
	if err != nil {
		return c, nil, 0, fmt.Errorf("open the table of connections: %w", err)
	}
	defer f.Close()
	const maxProbes = 4096
	probes = map[netip.AddrPort]bool{}
	odd, err = scan(reading(ctx, f), true, func(e *Entry) error {
		if e.Protocol == protoUDP && e.Virtual == ProbeService {
			if e.Synced && len(probes) < maxProbes {
				probes[e.Client] = true
			}
			return nil
		}
		c.Total++
		if e.Synced {
			c.Synced++
		}
		if e.Lasting() {
			c.Lasting++
		}
		return nil
	})
	return c, probes, odd, err
}
