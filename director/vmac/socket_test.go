package vmac

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// toDevice binds a socket to an interface.
func toDevice(name string) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), name) }), err)
	}
}

// join makes a socket a member of 224.0.0.18.
func join(c net.PacketConn, ifi *net.Interface) error {
	raw, err := c.(*net.UDPConn).SyscallConn()
	if err != nil {
		return err
	}
	e := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptIPMreqn(int(fd), unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP,
			&unix.IPMreqn{Multiaddr: [4]byte{224, 0, 0, 18}, Ifindex: int32(ifi.Index)})
	})
	return errors.Join(e, err)
}
