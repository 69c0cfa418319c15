package track

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/rtattr"
)

const (
	// listTime bounds the wait for a part of the answer to a listing.
	listTime = 5 * time.Second
	// listTries bounds how often a listing begins anew that changed under our eyes.
	listTries = 8
)

var errInterrupted = errors.New("the table changed while it was read")

// routeNews is a subscription to notifications of routes, addresses and interfaces.
type routeNews struct{ *socket }

func dialRoutes() (feed[routeEvent], error) {
	n, err := openNetlink(unix.NETLINK_ROUTE,
		unix.RTMGRP_LINK|unix.RTMGRP_IPV4_IFADDR|unix.RTMGRP_IPV6_IFADDR|unix.RTMGRP_IPV4_ROUTE|unix.RTMGRP_IPV6_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("subscribe to routes: %w", err)
	}
	return &routeNews{n}, nil
}

func (r *routeNews) next() ([]routeEvent, error) {
	var events []routeEvent
	err := r.receive(drainReads, func(b []byte) { events = appendRouteEvents(events, b) })
	if errors.Is(err, errOverflow) {
		return events, errOverflow
	}
	if err != nil {
		return nil, fmt.Errorf("receive route notifications: %w", err)
	}
	return events, nil
}

// appendRouteEvents decodes a datagram. What cannot be read may mean any route.
func appendRouteEvents(events []routeEvent, b []byte) []routeEvent {
	for m, err := range messages(b) {
		e := routeEvent{}
		if err == nil && (m.kind == unix.RTM_NEWROUTE || m.kind == unix.RTM_DELROUTE) {
			p, table, _, err := parseRoute(m.body)
			switch {
			case err == nil && table != unix.RT_TABLE_MAIN:
				continue
			case err == nil:
				e.prefix = p
			}
		}
		events = append(events, e)
	}
	return events
}

// parseRoute decodes the body of an RTM_NEWROUTE or RTM_DELROUTE message (struct
// rtmsg and its attributes). Without next hops it is no route that packets take.
func parseRoute(b []byte) (dst netip.Prefix, table uint32, hops []route, err error) {
	if len(b) < unix.SizeofRtMsg {
		return dst, 0, nil, fmt.Errorf("parse route message: %d bytes", len(b))
	}
	family, bits := b[0], int(b[1])
	table = uint32(b[4])
	kind, flags := b[7], binary.NativeEndian.Uint32(b[8:])
	var address netip.Addr
	switch family {
	case unix.AF_INET:
		address = netip.IPv4Unspecified()
	case unix.AF_INET6:
		address = netip.IPv6Unspecified()
	default:
		return dst, 0, nil, fmt.Errorf("parse route message: family %d", family)
	}
	var via netip.Addr
	var index int
	var multipath []byte
	for kind, value := range rtattr.All(b[unix.SizeofRtMsg:]) {
		switch kind {
		case unix.RTA_DST:
			a, ok := netip.AddrFromSlice(value)
			if !ok || a.Is4() != (family == unix.AF_INET) {
				return dst, 0, nil, fmt.Errorf("parse route message: a destination of %d bytes", len(value))
			}
			address = a
		case unix.RTA_TABLE:
			if len(value) >= 4 {
				table = binary.NativeEndian.Uint32(value)
			}
		case unix.RTA_MULTIPATH:
			multipath = value
		default:
			via, index = hop(kind, value, via, index)
		}
	}
	if dst, err = address.Prefix(bits); err != nil {
		return dst, 0, nil, fmt.Errorf("parse route message: %w", err)
	}
	if kind != unix.RTN_UNICAST || flags&unix.RTM_F_CLONED != 0 {
		return dst, table, nil, nil
	}
	if multipath == nil {
		return dst, table, []route{{prefix: dst, via: via, index: index, dead: flags&deadHop != 0}}, nil
	}
	for len(multipath) >= unix.SizeofRtNexthop {
		size := int(binary.NativeEndian.Uint16(multipath))
		if size < unix.SizeofRtNexthop || size > len(multipath) {
			break
		}
		r := route{prefix: dst, index: int(int32(binary.NativeEndian.Uint32(multipath[4:]))), dead: uint32(multipath[2])&deadHop != 0}
		for kind, value := range rtattr.All(multipath[unix.SizeofRtNexthop:size]) {
			r.via, r.index = hop(kind, value, r.via, r.index)
		}
		hops = append(hops, r)
		multipath = multipath[min(len(multipath), (size+unix.RTA_ALIGNTO-1)&^(unix.RTA_ALIGNTO-1)):]
	}
	return dst, table, hops, nil
}

// deadHop is the flags of a next hop that nothing is sent by, or that would be
// sent by in vain.
const deadHop = unix.RTNH_F_DEAD | unix.RTNH_F_LINKDOWN

// hop takes in an attribute that is about a next hop.
func hop(kind uint16, value []byte, via netip.Addr, index int) (netip.Addr, int) {
	switch {
	case kind == unix.RTA_GATEWAY:
		via, _ = netip.AddrFromSlice(value)
	case kind == unix.RTA_VIA && len(value) > 2: // struct rtvia: family, address
		via, _ = netip.AddrFromSlice(value[2:])
	case kind == unix.RTA_OIF && len(value) >= 4:
		index = int(int32(binary.NativeEndian.Uint32(value)))
	}
	return via, index
}

// listRoutes returns the next hops of the routes of the main table to what is
// wanted, of one family or both.
func listRoutes(v4, v6 bool, wanted func(netip.Prefix) bool) ([]route, error) {
	n, err := openNetlink(unix.NETLINK_ROUTE, 0)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	defer n.Close()
	// Kernels before 4.20 ignore which table is asked for.
	_ = n.raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1) })
	var all []route
	seq := uint32(0)
	for family, listed := range map[byte]bool{unix.AF_INET: v4, unix.AF_INET6: v6} {
		if !listed {
			continue
		}
		var some []route
		var err error
		for range listTries {
			seq++
			if some, err = n.list(family, seq, wanted); !errors.Is(err, errInterrupted) {
				break
			}
		}
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		all = append(all, some...)
	}
	return all, nil
}

// list makes one listing, whose messages have the number seq.
func (n *socket) list(family byte, seq uint32, wanted func(netip.Prefix) bool) (found []route, err error) {
	body := make([]byte, unix.SizeofRtMsg)
	body[0], body[4] = family, unix.RT_TABLE_MAIN
	if err := n.send(request(unix.RTM_GETROUTE, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, seq, body)); err != nil {
		return nil, err
	}
	interrupted, done := false, false
	take := func(m message) error {
		interrupted = interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
		switch m.kind {
		case unix.NLMSG_ERROR, unix.NLMSG_DONE:
			done = true
			if err := kernelError(m.body); !errors.Is(err, unix.ENOENT) { // there is no table, and so no route
				return err
			}
		case unix.RTM_NEWROUTE:
			p, table, hops, err := parseRoute(m.body)
			if err != nil {
				return err
			}
			if table == unix.RT_TABLE_MAIN && wanted(p) {
				found = append(found, hops...)
			}
		}
		return nil
	}
	for !done {
		if err := n.deadline(listTime); err != nil {
			return nil, err
		}
		var bad error
		err := n.receive(1, func(b []byte) {
			for m, err := range messages(b) {
				if err == nil && m.seq == seq {
					err = take(m)
				}
				bad = errors.Join(bad, err)
			}
		})
		if errors.Is(err, errOverflow) {
			interrupted = true
		} else if err := errors.Join(err, bad); err != nil {
			return nil, err
		}
	}
	if interrupted {
		return nil, errInterrupted
	}
	return found, nil
}

// interfaceIndex returns the number of an interface in the namespace of the calling
// thread, 0 if there is none.
func interfaceIndex(name string) int {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(name)
	if err != nil || unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr) != nil {
		return 0
	}
	return int(ifr.Uint32())
}
