package rtnl

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/rtattr"
)

// LinkRequest asks for the interface called name.
func LinkRequest(name string) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	return req
}

// indexRequest asks for the interface with the given index.
func indexRequest(index int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0)
	info := nl.NewIfInfomsg(unix.AF_UNSPEC)
	info.Index = int32(index)
	req.AddData(info)
	return req
}

// ParseLink decodes the index and the name in the body of an RTM_NEWLINK
// message; the name is empty if there is none.
func ParseLink(b []byte) (index int, name string, err error) {
	if len(b) < unix.SizeofIfInfomsg {
		return 0, "", fmt.Errorf("parse link: %d bytes are too short", len(b))
	}
	index = int(int32(binary.NativeEndian.Uint32(b[4:])))
	for typ, value := range rtattr.All(b[unix.SizeofIfInfomsg:]) {
		if typ == unix.IFLA_IFNAME {
			name = unix.ByteSliceToString(value)
		}
	}
	return index, name, nil
}

// Index looks up one interface by name without a message to the kernel
// (netdevice(7), SIOCGIFINDEX): ENODEV if there is none.
func (s *Socket) Index(name string) (int, error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0, unix.ENODEV // no name of an interface
	}
	var asked error
	if err := s.raw.Control(func(fd uintptr) { asked = unix.IoctlIfreq(int(fd), unix.SIOCGIFINDEX, ifr) }); err != nil {
		return 0, err
	}
	return int(int32(ifr.Uint32())), asked
}

// Indexes looks up interfaces by name, each of which is to be named once. Those
// that do not exist are missing from the result.
func (s *Socket) Indexes(ctx context.Context, names []string) (map[string]int, error) {
	indexes := make(map[string]int, len(names))
	reqs := make([]*nl.NetlinkRequest, len(names))
	for i, name := range names {
		reqs[i] = LinkRequest(name)
	}
	for i, err := range s.Do(ctx, reqs, func(i int, m syscall.NetlinkMessage) {
		if index, _, err := ParseLink(m.Data); err == nil {
			indexes[names[i]] = index
		}
	}) {
		if err != nil && !errors.Is(err, unix.ENODEV) {
			return nil, fmt.Errorf("look up link %s: %w", names[i], err)
		}
	}
	return indexes, nil
}

// Names looks up the names of interfaces. Those that do not exist are missing
// from the result.
func (s *Socket) Names(ctx context.Context, indexes []int) (map[int]string, error) {
	names := make(map[int]string, len(indexes))
	reqs := make([]*nl.NetlinkRequest, len(indexes))
	for i, index := range indexes {
		reqs[i] = indexRequest(index)
	}
	for i, err := range s.Do(ctx, reqs, func(i int, m syscall.NetlinkMessage) {
		if _, name, err := ParseLink(m.Data); err == nil && name != "" {
			names[indexes[i]] = name
		}
	}) {
		if err != nil && !errors.Is(err, unix.ENODEV) {
			return nil, fmt.Errorf("look up link %d: %w", indexes[i], err)
		}
	}
	return names, nil
}
