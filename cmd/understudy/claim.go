package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// claimName is an abstract socket address (unix(7)), of which each network
// namespace has its own.
const claimName = "@understudy/director"

// errStranger says that a process of another user holds the claim.
var errStranger = errors.New("a process of another user pretends to direct this network namespace")

// claimNamespace makes this process the only director of its network namespace
// until the claim is closed or the process ends. Two would each take the other's
// addresses, which carry the same tag, for their own leftovers. The error is
// errStranger if the holder has not the rights of a director: anybody may take
// an abstract name, which must not keep this process from its work.
func claimNamespace(name string) (io.Closer, error) {
	var err error
	for range 3 { // the holder may end between the two calls
		var ln net.Listener
		if ln, err = net.Listen("unix", name); err == nil {
			return ln, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
		var holder *unix.Ucred
		if holder, err = holderOf(name); err != nil {
			continue
		}
		if holder.Uid != uint32(os.Geteuid()) {
			return nil, fmt.Errorf("%w: process %d of user %d", errStranger, holder.Pid, holder.Uid)
		}
		return nil, fmt.Errorf("process %d directs this network namespace already; stop it, or join the two configurations", holder.Pid)
	}
	return nil, fmt.Errorf("claim the network namespace: %w", err)
}

// holderOf returns who listens at name.
func holderOf(name string) (*unix.Ucred, error) {
	c, err := net.DialTimeout("unix", name, time.Second)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	var holder *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		holder, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return holder, errors.Join(err, failed)
}
