package addr

import (
	"context"
	"slices"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
)

const (
	// localLimit bounds the wait for the routes of new IPv6 addresses. The kernel
	// takes up to 4 ms, and as long as somebody else holds the lock of rtnetlink, such
	// as one who removes network namespaces: some 100 ms have been seen. Announcing
	// earlier would win nothing, and a predecessor that yields serves for 250 ms.
	localLimit = 200 * time.Millisecond
	// The pause between two looks at them doubles from the first to the last.
	firstPause = 50 * time.Microsecond
	lastPause  = time.Millisecond
)

// awaitLocal waits until packets to the IPv6 addresses that were created reach this
// host. The kernel acknowledges an address before it has made the local route to it,
// which it leaves to a work queue: what it is sent in between is lost, and a
// neighbour that was told of the address does send. An address that stays without a
// route, as on an interface that is down, is no failure.
func (t *Table) awaitLocal(ctx context.Context, created []change, links map[string]*linkInfo) {
	var waiting []*nl.NetlinkRequest
	for _, c := range created {
		if a := c.Key.Prefix.Addr(); a.Is6() && c.Op != director.Delete {
			waiting = append(waiting, routeRequest(links[c.Key.Link].index, a))
		}
	}
	rest := firstPause
	for end := time.Now().Add(localLimit); len(waiting) > 0 && ctx.Err() == nil; rest = min(2*rest, lastPause) {
		local := make([]bool, len(waiting))
		_ = t.socket.Do(ctx, waiting, func(i int, m syscall.NetlinkMessage) { local[i] = isLocal(m.Data) })
		i := -1
		waiting = slices.DeleteFunc(waiting, func(*nl.NetlinkRequest) bool { i++; return local[i] })
		if len(waiting) == 0 || time.Now().After(end) {
			return
		}
		// Not by a timer of Go, which may take a millisecond for it.
		pause := unix.NsecToTimespec(int64(rest))
		_ = unix.Nanosleep(&pause, nil)
	}
}
