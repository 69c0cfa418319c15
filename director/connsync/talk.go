package connsync

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// beat lets time pass for the node, and sends its beacons.
func (w *session) beat(ctx context.Context) {
	tick := time.NewTicker(beaconEvery / 4)
	defer tick.Stop()
	for {
		w.transmit(time.Now())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// transmit sends a beacon if one is due.
func (w *session) transmit(now time.Time) {
	l := local{judged: true, loaded: true}
	if w.s.options.Master("") {
		l.flags |= FlagMaster
	}
	if ok, _ := w.s.Ready(0); ok {
		l.flags |= FlagReady
	} else {
		l.judged, l.loaded = w.s.options.Judged(), w.s.options.Loaded()
	}
	w.s.mu.Lock()
	for _, d := range w.s.keeper.running {
		if d.State == genl.DaemonMaster {
			l.flags |= FlagSending
		} else {
			l.flags |= FlagReceiving
		}
	}
	before := w.node.resync.state
	w.node.step(now, l)
	after, from := w.node.resync.state, w.node.resync.peer
	v, due := w.node.say(now)
	r := w.radio
	w.s.mu.Unlock()
	if after != before {
		w.log.Info("connections are fetched from a peer", "peer", from, "resync", after.String())
	}
	if !due || r == nil {
		return
	}
	if err := r.send(v.Append(nil, w.config.Secret)); !errors.Is(err, errClosed) {
		w.sent(err)
	}
}

// sent notes what became of a beacon; nil: it has left.
func (w *session) sent(err error) {
	text := ""
	switch {
	case errors.Is(err, unix.EPERM):
		text = fmt.Sprintf("send beacon: %v; a packet filter on this director refuses UDP port %d", err, w.config.BeaconPort)
	case err != nil:
		text = fmt.Sprintf("send beacon: %v", err)
	}
	w.s.mu.Lock()
	news := text != "" && text != w.sendSaid
	w.sendErr = text
	if news {
		w.sendSaid = text
	}
	w.s.mu.Unlock()
	if news { // not each time that it comes and goes
		w.log.Warn("others do not hear this director", "err", text)
	}
}
