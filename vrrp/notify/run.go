package notify

import (
	"context"
	"slices"
	"sync"
	"time"
)

// DrainLimit is how long Run goes on after its context has ended.
const DrainLimit = 2 * time.Second

// Run delivers until ctx ends. Then it delivers what still waits, of each subject
// the newest event alone, for DrainLimit at most, half of which is for what was
// under way before. It returns nil when the last delivery has ended.
func (n *Notifier) Run(ctx context.Context) error {
	var deliveries sync.WaitGroup
	defer n.closeAll()
	defer deliveries.Wait()
	early, cancelEarly := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelEarly()
	late, cancelLate := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelLate()
	for ctx.Err() == nil {
		n.dispatch(early, &deliveries)
		select {
		case <-n.bell:
		case <-ctx.Done():
		}
	}
	half := time.NewTimer(DrainLimit / 2)
	defer half.Stop()
	whole := time.NewTimer(DrainLimit)
	defer whole.Stop()
	n.condense()
	for n.dispatch(late, &deliveries) {
		select {
		case <-n.bell:
		case <-half.C:
			cancelEarly()
		case <-whole.C:
			return nil
		}
	}
	return nil
}

// dispatch starts a delivery for each target that has none under way, and reports
// whether any is under way.
func (n *Notifier) dispatch(ctx context.Context, deliveries *sync.WaitGroup) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	under := false
	for _, r := range slices.Clone(n.sequence) {
		if !r.busy {
			e, ok := r.queue.pop()
			if !ok {
				if r.retired {
					n.remove(r)
					r.sender.close()
				}
				continue
			}
			r.busy = true
			deliveries.Go(func() { n.deliver(ctx, r, e) })
		}
		under = true
	}
	return under
}

// deliver brings one event to its target.
func (n *Notifier) deliver(ctx context.Context, r *recipient, e Event) {
	log := n.log.With("target", r.target.String(), "subject", e.Subject.String(), "to", e.To.String())
	err := r.sender.send(ctx, e, func(why error) {
		if n.failing(r, why) {
			log.Warn("notification waits", "err", why)
		}
	})
	n.mu.Lock()
	r.busy = false
	if err == nil {
		r.status.Delivered++
		r.status.Failing = false
	} else {
		r.status.Failed++
		r.status.Failing, r.status.LastError, r.status.LastAt = true, err.Error(), time.Now()
	}
	n.mu.Unlock()
	n.ring()
	if err != nil {
		log.Error("notification failed", "err", err)
	} else {
		log.Debug("notified", "from", e.From.String(), "reason", e.Reason)
	}
}

// failing notes why a delivery does not go on, and reports whether that is new.
func (n *Notifier) failing(r *recipient, why error) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	news := !r.status.Failing || r.status.LastError != why.Error()
	r.status.Failing, r.status.LastError, r.status.LastAt = true, why.Error(), time.Now()
	return news
}

// condense leaves of each subject what it is now.
func (n *Notifier) condense() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.sequence {
		r.queue.condense()
	}
}

// closeAll lets go of what the senders hold, after the last delivery.
func (n *Notifier) closeAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	lost := 0
	for _, r := range n.sequence {
		r.sender.close()
		lost += len(r.queue.events)
	}
	if lost > 0 {
		n.log.Warn("notifications given up at the stop", "events", lost)
	}
}
