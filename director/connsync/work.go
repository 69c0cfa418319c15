package connsync

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"time"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// How often a synthetic connection is made without being asked for.
const probeEvery = 10 * time.Second

// ErrNotSending says that the kernel's master daemon does not run here.
var ErrNotSending = errors.New("this director does not send connections now: it follows a virtual router that it is not master of; probe on the master")

// probe makes a synthetic connection now and then, while somebody may see it.
func (w *session) probe(ctx context.Context) {
	for sleep(ctx, probeEvery) {
		now := time.Now()
		w.s.mu.Lock()
		audience := false
		for _, p := range w.node.peers {
			audience = audience || p.alive(now)
		}
		sending := w.node.local.flags&FlagSending != 0
		recent := now.Sub(w.node.probe.At) < probeEvery/2
		w.s.mu.Unlock()
		if !audience || !sending || recent {
			continue
		}
		_, err := w.makeProbe(ctx)
		w.s.mu.Lock()
		w.probeErr = ""
		if err != nil {
			w.probeErr = err.Error()
		}
		w.s.mu.Unlock()
	}
}

// makeProbe makes a synthetic connection and returns its client.
func (w *session) makeProbe(ctx context.Context) (netip.AddrPort, error) {
	w.probing.Lock()
	defer w.probing.Unlock()
	if w.closed {
		return netip.AddrPort{}, errors.New("the synchronisation has ended, or was given another configuration; try again")
	}
	ctx, cancel := context.WithTimeout(ctx, keepFor)
	defer cancel()
	settings, err := readSettings()
	if err != nil {
		return netip.AddrPort{}, err
	}
	packets, err := settings.packets()
	if err != nil {
		return netip.AddrPort{}, err
	}
	k, err := genl.Open()
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer k.Close()
	if err := ensureProbe(ctx, k); err != nil {
		return netip.AddrPort{}, err
	}
	client := probeClient()
	now := time.Now()
	w.s.mu.Lock()
	w.node.probing(now, client)
	w.s.mu.Unlock()
	if err := sendProbe(ctx, client, packets); err != nil {
		return netip.AddrPort{}, err
	}
	w.transmit(time.Now()) // for the peers to look
	return client, nil
}

// Bounds of a resync.
const (
	bulkSize  = 1400 // bytes of a message; with headers it fits into any frame
	bulkBurst = 8    // messages, then
	bulkPause = 10 * time.Millisecond
	bulkTime  = 2 * time.Minute

	bulkMemory = 32 << 20 // for messages, about 900,000 connections
)

var errTooLong = fmt.Errorf("it takes longer than %v: the table is too large to be sent at once", bulkTime)

// serveRequests sends connections to peers that ask for them.
func (w *session) serveRequests(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.serve:
		}
		w.s.mu.Lock()
		granted := w.node.serving.begin(time.Now())
		peer := w.node.serving.peer
		w.s.mu.Unlock()
		if !granted {
			continue
		}
		sent, omitted, err := w.sendAll(ctx, nil)
		w.s.mu.Lock()
		w.node.serving.end(time.Now(), err)
		w.node.kick = true
		w.serveErr = ""
		if err != nil {
			w.serveErr = err.Error()
		}
		w.s.mu.Unlock()
		if err != nil {
			w.log.Error("connections not sent to a peer that asked for them", "peer", peer, "err", err)
		} else {
			w.log.Info("connections sent to a peer that asked for them", "peer", peer, "sent", sent, "omitted", total(omitted), "why", omitted.String())
		}
		w.transmit(time.Now())
	}
}

// sendAll sends every connection of the kernel's table to the kernels of the
// peers, but those of addresses that another director serves.
func (w *session) sendAll(ctx context.Context, elsewhere func(virtual netip.Addr) bool) (sent uint32, omitted omissions, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, bulkTime, errTooLong)
	defer cancel()
	t, err := w.readTable(ctx)
	if err != nil {
		return 0, omitted, err
	}
	t.elsewhere = elsewhere
	conn, err := openBulk(w.config)
	if err != nil {
		return 0, omitted, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	f, err := os.Open(connFile)
	if err != nil {
		return 0, omitted, fmt.Errorf("open the table of connections: %w", err)
	}
	defer f.Close()
	size := bulkSize
	if w.config.MaxLen > 0 {
		size = min(size, int(w.config.MaxLen))
	}
	out := &bulk{ctx: ctx, write: conn.Write, after: func(sent uint32) {
		w.s.mu.Lock()
		w.node.serving.advance(sent, total(omitted))
		w.s.mu.Unlock()
	}}
	p := packer{id: w.config.ID, max: size}
	full := make([]byte, 0, size)
	_, err = scan(reading(ctx, f), false, func(e *Entry) error {
		r, omission := t.record(e)
		if omission != omitNone {
			omitted[omission]++
			return nil
		}
		if b := p.add(&r, full); b != nil {
			return out.add(b)
		}
		return nil
	})
	if b := p.take(); err == nil && b != nil {
		err = out.add(b)
	}
	if err == nil {
		err = out.flush()
	}
	return out.sent, omitted, err
}

// bulk sends messages without flooding anybody. It gathers them first: the
// kernel finds its place in the table by counting, so that who reads slowly gets
// some connections twice and others not at all.
type bulk struct {
	ctx   context.Context
	write func([]byte) (int, error)
	after func(sent uint32) // each burst

	gathered []byte
	ends     []int // of the messages in it
	sent     uint32
}

// add takes a message, which is copied.
func (o *bulk) add(b []byte) error {
	o.gathered = append(o.gathered, b...)
	o.ends = append(o.ends, len(o.gathered))
	if len(o.gathered) < bulkMemory {
		return nil
	}
	return o.flush()
}

// flush sends what was gathered.
func (o *bulk) flush() error {
	begin := 0
	for i, end := range o.ends {
		b := o.gathered[begin:end]
		if _, err := o.write(b); err != nil {
			return fmt.Errorf("send connections: %w", err)
		}
		begin = end
		o.sent += uint32(b[4])
		if last := i == len(o.ends)-1; last || i%bulkBurst == bulkBurst-1 {
			o.after(o.sent)
			if !last && !sleep(o.ctx, bulkPause) {
				return context.Cause(o.ctx)
			}
		}
	}
	o.gathered, o.ends = o.gathered[:0], o.ends[:0]
	return nil
}

// readTable reads the forwarding methods of all servers.
func (w *session) readTable(ctx context.Context) (*table, error) {
	k, err := genl.Open()
	if err != nil {
		return nil, err
	}
	defer k.Close()
	timeouts, err := k.Timeouts(ctx)
	if err != nil {
		return nil, fmt.Errorf("read timeouts: %w", err)
	}
	t := newTable(timeouts)
	w.s.options.Services(t.add)
	err = k.All(ctx, func(s *genl.Service, dests []genl.Destination) error {
		t.add(s, dests)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list services: %w", err)
	}
	return t, nil
}

// omissions count what was not sent, by why.
type omissions [numOmissions]uint32

func total(o omissions) uint32 {
	sum := uint64(0)
	for i, n := range o {
		if Omission(i) != OmitProbe {
			sum += uint64(n)
		}
	}
	return uint32(min(sum, math.MaxUint32))
}

// String returns the counts that are not zero.
func (o omissions) String() string {
	text := ""
	for i, n := range o {
		if n > 0 && Omission(i) != OmitProbe {
			if text != "" {
				text += ", "
			}
			text += fmt.Sprintf("%d %v", n, Omission(i))
		}
	}
	return text
}
