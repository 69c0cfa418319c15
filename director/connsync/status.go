package connsync

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// Status is what a Sync knows at one moment.
type Status struct {
	AsOf    time.Time
	Enabled bool // there is a configuration; without it only Ready and Reason count
	Config  Config
	Ready   bool
	Reason  Reason

	Daemons   []genl.Daemon // that run in the kernel
	DaemonErr string
	Repairs   uint64 // daemons started or stopped since the first look

	SocketErr string // why no beacons can be exchanged
	Counts    Counts
	CountedAt time.Time     // zero: never
	CountTook time.Duration // so long the kernel was busy
	CountErr  string
	Odd       int // lines of the table that were not understood
	ProbeErr  string
	Settings  Settings

	Peers   []PeerStatus // by name
	OneWay  uint64       // beacons of directors that do not hear ours
	Drops   [NumDrops]uint64
	Dropped [NumDrops]time.Time // last, for each reason

	Fetched ResyncStatus // the last one from a peer
	Served  ServedStatus // the last one to a peer
}

// PeerStatus is another director.
type PeerStatus struct {
	Name      string
	Address   netip.Addr
	Alive     bool // heard, and it hears us
	Confirmed bool // it has heard us
	Heard     time.Time
	Since     time.Time
	Flags     Flags
	ID        uint8
	Counts    Counts
	Probe     ProbeResult // the last of our synthetic connections that it has
	Missed    int         // of ours since, that it has not
}

// ResyncStatus is the last resync that was asked for.
type ResyncStatus struct {
	State         ResyncState
	Peer          string
	Began, Ended  time.Time
	Sent, Omitted uint32 // by the peer
}

// ServedStatus is the last resync that a peer asked for.
type ServedStatus struct {
	Peer          string // empty: there was none
	Running, Done bool
	Began, Ended  time.Time
	Sent, Omitted uint32
	Err           string
}

// Status returns what is known now. It may be called from any goroutine.
func (s *Sync) Status() Status {
	ready, reason := s.Ready(0)
	settings, settingsErr := readSettings()
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{AsOf: now, Ready: ready, Reason: reason, Settings: settings}
	if s.config == nil {
		return st
	}
	st.Enabled, st.Config = true, *s.config
	st.Daemons, st.DaemonErr, st.Repairs = s.keeper.running, s.keeper.err, s.keeper.repairs
	if st.DaemonErr == "" && settingsErr != nil {
		st.DaemonErr = settingsErr.Error()
	}
	w := s.session
	if w == nil {
		return st
	}
	n := w.node
	st.SocketErr, st.CountErr, st.ProbeErr, st.Odd = orElse(w.radioErr, w.sendErr), w.countErr, w.probeErr, w.odd
	st.Counts, st.CountedAt, st.CountTook = n.counts, n.countedAt, w.countTook
	st.OneWay, st.Drops, st.Dropped = n.oneWay, n.drops, n.dropped
	for _, p := range n.sorted() {
		missed := p.missed
		if !p.alive(now) {
			missed = 0
		}
		st.Peers = append(st.Peers, PeerStatus{
			Name: p.name, Address: p.address, Alive: p.alive(now), Confirmed: p.confirmed, Heard: p.heard, Since: p.since,
			Flags: p.beacon.Flags, ID: p.beacon.ID, Counts: p.beacon.Counts, Probe: p.probed, Missed: missed,
		})
	}
	r, v := &n.resync, &n.serving
	st.Fetched = ResyncStatus{State: r.state, Peer: r.peer, Began: r.began, Ended: r.ended, Sent: r.sent, Omitted: r.omitted}
	st.Served = ServedStatus{Peer: v.peer, Running: v.running, Done: v.public.Done, Began: v.began, Ended: v.ended,
		Sent: v.public.Sent, Omitted: v.public.Omitted, Err: w.serveErr}
	return st
}

// ErrDisabled says that connections are not synchronised.
var ErrDisabled = errors.New("connections are not synchronised: there is no [director.sync]")

// ErrNobody says that no peer is there that could see a synthetic connection.
var ErrNobody = errors.New("no other director is heard")

// PeerProbe is what became of a synthetic connection at one peer.
type PeerProbe struct {
	Peer    string
	Arrived bool
	Lag     time.Duration // while it has not arrived: so long it has been waited for
}

// Probe makes a synthetic connection now and waits until every peer that is
// heard has it in its kernel, or ctx ends.
func (s *Sync) Probe(ctx context.Context) ([]PeerProbe, error) {
	s.mu.Lock()
	w, configured := s.session, s.config != nil
	var err error
	switch {
	case !configured:
		err = ErrDisabled
	case w == nil:
		err = errors.New("the synchronisation is just starting; try again")
	case w.node.local.flags&FlagSending == 0 && w.config.Follow != "" && s.keeper.err == "":
		err = ErrNotSending
	case w.node.local.flags&FlagSending == 0:
		err = fmt.Errorf("the kernel's master daemon does not run: %s", orElse(s.keeper.err, "it is just being started"))
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	client, err := w.makeProbe(ctx)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	for {
		now := time.Now()
		s.mu.Lock()
		list, all := w.node.probeState(now, client, now.Sub(begin))
		arrived := w.arrived
		s.mu.Unlock()
		if len(list) == 0 {
			return nil, ErrNobody
		}
		if all {
			return list, nil
		}
		select {
		case <-ctx.Done():
			return list, nil
		case <-arrived:
		}
	}
}

func orElse(text, other string) string {
	if text != "" {
		return text
	}
	return other
}

// probeState returns what became of one synthetic connection, and whether
// everybody who is heard has it.
func (n *node) probeState(now time.Time, client netip.AddrPort, waited time.Duration) (list []PeerProbe, all bool) {
	all = true
	for _, p := range n.sorted() {
		switch {
		case p.probed.Client == client:
			list = append(list, PeerProbe{Peer: p.name, Arrived: true, Lag: p.probed.Lag})
		case p.alive(now):
			list = append(list, PeerProbe{Peer: p.name, Lag: waited})
			all = false
		}
	}
	return list, all
}

// Push sends every connection to the peers now, for a director that is about to
// leave: what the kernel has gathered in the last seconds would go with it. It
// does nothing where there is nobody to hear it.
//
// Those of addresses that are served elsewhere are left out; nil: there are
// none. Their director knows them better, and its kernel would believe our copy
// all the same: a connection that has just ended there would live again.
func (s *Sync) Push(ctx context.Context, elsewhere func(virtual netip.Addr) bool) (sent uint32, err error) {
	now := time.Now()
	s.mu.Lock()
	w := s.session
	audience := false
	if w != nil {
		for _, p := range w.node.peers {
			audience = audience || p.alive(now)
		}
		audience = audience && w.node.local.flags&FlagSending != 0
	}
	s.mu.Unlock()
	if !audience {
		return 0, nil
	}
	sent, _, err = w.sendAll(ctx, elsewhere)
	return sent, err
}
