package vmac

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/rtnl"
)

// hoist sets interfaces up and down. Up is at once, and many together; to set
// one down takes the kernel some ten milliseconds, in which it does nothing else
// of the kind. So that a takeover never waits for more than one, those that are
// to be down are set down one after the other by a goroutine of their own.
type hoist struct {
	bell chan struct{} // idle has something

	moving sync.Mutex // one exchange at a time
	socket *rtnl.Socket

	mu   sync.Mutex // guards what follows; held for moments
	idle map[int]bool
	err  error // of the last descent
}

func newHoist() (*hoist, error) {
	socket, err := rtnl.Dial()
	if err != nil {
		return nil, err
	}
	return &hoist{socket: socket, bell: make(chan struct{}, 1), idle: make(map[int]bool)}, nil
}

// up sets interfaces up and returns one error for each. Those in dress get another
// hardware address first.
func (h *hoist) up(ctx context.Context, indices []int, dress map[int][6]byte) []error {
	if len(indices) == 0 {
		return nil
	}
	h.mu.Lock()
	for _, index := range indices {
		delete(h.idle, index)
	}
	h.mu.Unlock()
	// None of them is on its way down any more when this is ours.
	h.moving.Lock()
	defer h.moving.Unlock()
	reqs := make([]*nl.NetlinkRequest, len(indices))
	for i, index := range indices {
		reqs[i] = raiseRequest(index, true)
		if mac, ok := dress[index]; ok {
			reqs[i].AddData(nl.NewRtAttr(unix.IFLA_ADDRESS, mac[:]))
		}
	}
	return h.socket.Do(ctx, reqs, nil)
}

// dress gives interfaces their hardware addresses.
func (h *hoist) dress(ctx context.Context, macs map[int][6]byte) error {
	if len(macs) == 0 {
		return nil
	}
	h.moving.Lock()
	defer h.moving.Unlock()
	var reqs []*nl.NetlinkRequest
	for _, index := range slices.Sorted(maps.Keys(macs)) {
		reqs = append(reqs, dressRequest(index, macs[index]))
	}
	var errs []error
	for _, err := range h.socket.Do(ctx, reqs, nil) {
		if err != nil && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("set a virtual MAC: %w", err))
		}
	}
	return errors.Join(errs...)
}

// leave has interfaces set down, unless they are set up before. It does not block.
func (h *hoist) leave(indices []int) {
	if len(indices) == 0 {
		return
	}
	h.mu.Lock()
	for _, index := range indices {
		h.idle[index] = true
	}
	h.mu.Unlock()
	select {
	case h.bell <- struct{}{}:
	default:
	}
}

// lower sets down what was left, and returns what failed last. Whoever lists
// the interfaces finds it again.
func (h *hoist) lower(ctx context.Context) error {
	h.mu.Lock()
	todo := slices.Sorted(maps.Keys(h.idle))
	h.mu.Unlock()
	var failure error
	for _, index := range todo {
		if err := h.down(ctx, index); err != nil {
			failure = err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(todo) > 0 && ctx.Err() == nil { // being stopped is no failure
		h.err = failure
	}
	return h.err
}

func (h *hoist) down(ctx context.Context, index int) error {
	h.moving.Lock()
	defer h.moving.Unlock()
	h.mu.Lock()
	still := h.idle[index]
	delete(h.idle, index)
	h.mu.Unlock()
	if !still {
		return nil
	}
	err := h.socket.Do(ctx, []*nl.NetlinkRequest{raiseRequest(index, false)}, nil)[0]
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("set interface %d down: %w", index, err)
	}
	return nil
}

// run sets down what is left until ctx ends.
func (h *hoist) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.bell:
			_ = h.lower(ctx) // the Keeper tells it
		}
	}
}
