package garp

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	//lint:ignore SA1019 a thin layer over mdlayher/packet, used in this file alone
	"github.com/mdlayher/raw"
)

// kernel reaches the links of the network namespace of the calling thread.
type kernel struct{}

func (kernel) lookup(name string) (device, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return device{}, fmt.Errorf("look up link %s: %w", name, err)
	}
	router, err := forwards(name)
	if err != nil {
		return device{}, fmt.Errorf("look up link %s: %w", name, err)
	}
	return device{index: ifi.Index, hw: ifi.HardwareAddr, router: router}, nil
}

// forwards reports net.ipv6.conf.LINK.forwarding, which is also what the kernel
// takes the Router flag of its own Neighbor Advertisements from. A link without
// IPv6 forwards none.
func forwards(link string) (bool, error) {
	value, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + link + "/forwarding")
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return strings.TrimSpace(string(value)) != "0", nil
}

func (kernel) open(d device) (socket, error) {
	// Without a protocol the socket receives nothing, and each frame goes out
	// under the protocol of its own header (Linux 5.1).
	conn, err := raw.ListenPacket(&net.Interface{Index: d.index}, 0, nil)
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	return packetSocket{conn}, nil
}

// packetSocket sends and receives Ethernet frames on a link.
type packetSocket struct{ conn *raw.Conn }

func (s packetSocket) limit(deadline time.Time) error { return s.conn.SetWriteDeadline(deadline) }

func (s packetSocket) send(frame []byte) error {
	_, err := s.conn.WriteTo(frame, &raw.Addr{HardwareAddr: frame[:6]})
	return err
}

func (s packetSocket) close() error { return s.conn.Close() }
