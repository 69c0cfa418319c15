package link

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// receiveBuffer holds the notifications of some thousand address changes.
	receiveBuffer = 1 << 20
	// dumpAttempts bounds how often an interrupted dump is started again.
	dumpAttempts = 20
	// drainReads bounds how much is read before the first look at the kernel.
	drainReads = 1024
	// skipStats is RTEXT_FILTER_SKIP_STATS of linux/rtnetlink.h.
	skipStats = 1 << 3
)

// rtnetlink is a subscription to link and address notifications.
type rtnetlink struct {
	file *os.File
	raw  syscall.RawConn
	buf  []byte
}

// dial subscribes in the network namespace of the calling thread. It comes
// before the first list, so that no change falls between the two.
func dial() (source, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	file := os.NewFile(uintptr(fd), "rtnetlink")
	// Beyond net.core.rmem_max only with CAP_NET_ADMIN; without it the default
	// buffer overflows sooner, which leads to a listing all the same.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	local := &unix.SockaddrNetlink{
		Family: unix.AF_NETLINK,
		Groups: unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR,
	}
	if err := unix.Bind(fd, local); err != nil {
		return nil, errors.Join(fmt.Errorf("subscribe to rtnetlink: %w", err), file.Close())
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("subscribe to rtnetlink: %w", err), file.Close())
	}
	return &rtnetlink{file: file, raw: raw, buf: make([]byte, 1<<16)}, nil
}

func (r *rtnetlink) wait(until time.Time) (addresses bool, err error) {
	if err := r.file.SetReadDeadline(until); err != nil {
		return false, fmt.Errorf("wait for rtnetlink: %w", err)
	}
	var heard bool
	var cause error
	err = r.raw.Read(func(fd uintptr) bool {
		for range drainReads {
			n, from, err := unix.Recvfrom(int(fd), r.buf, unix.MSG_DONTWAIT)
			switch {
			case errors.Is(err, unix.EINTR):
				continue
			case errors.Is(err, unix.EAGAIN):
				return heard
			case err != nil:
				cause = err
				return true
			}
			if sender, ok := from.(*unix.SockaddrNetlink); ok && sender.Pid == 0 {
				news, about := judge(r.buf[:n])
				heard, addresses = heard || news, addresses || about
			}
		}
		return true
	})
	switch {
	case errors.Is(cause, unix.ENOBUFS):
		// Messages were lost, and any of them may have been about an address.
		return true, nil
	case cause != nil:
		return false, fmt.Errorf("receive from rtnetlink: %w", cause)
	case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
		return false, fmt.Errorf("wait for rtnetlink: %w", err)
	}
	return addresses, nil
}

func (r *rtnetlink) list() (map[string]State, error) {
	links, err := dump(unix.RTM_GETLINK, unix.RTM_NEWLINK,
		nl.NewIfInfomsg(unix.AF_UNSPEC),
		nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(skipStats)))
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	addresses, err := dump(unix.RTM_GETADDR, unix.RTM_NEWADDR, nl.NewIfAddrmsg(unix.AF_UNSPEC))
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	return decode(links, addresses)
}

func (r *rtnetlink) Close() error { return r.file.Close() }

// dump asks the kernel for all objects of one kind, again when a change in the
// middle of the answer made it inconsistent.
func dump(request int, answer uint16, data ...nl.NetlinkRequestData) ([][]byte, error) {
	var err error
	for range dumpAttempts {
		req := nl.NewNetlinkRequest(request, unix.NLM_F_DUMP)
		for _, d := range data {
			req.AddData(d)
		}
		var messages [][]byte
		messages, err = req.Execute(unix.NETLINK_ROUTE, answer)
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return messages, err
		}
	}
	return nil, err
}
