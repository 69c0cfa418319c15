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
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
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
	return device{index: ifi.Index, hw: ifi.HardwareAddr, up: ifi.Flags&net.FlagUp != 0, router: router}, nil
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

func (kernel) listen(d device, six bool, filter []bpf.Instruction) (listener, error) {
	program, err := inbound(filter)
	if err != nil {
		return nil, err
	}
	protocol := uint16(typeARP)
	if six {
		protocol = typeIPv6
	}
	conn, err := raw.ListenPacket(&net.Interface{Index: d.index}, protocol, &raw.Config{Filter: program})
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	return packetSocket{conn}, nil
}

// inbound assembles a filter that takes only what is for this host. That leaves
// out what it sends itself, and frames of a VLAN that it has no part in, which
// the kernel hands to the sockets of the underlying link as somebody else's.
func inbound(filter []bpf.Instruction) ([]bpf.RawInstruction, error) {
	program, err := bpf.Assemble(append([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		// PACKET_HOST, PACKET_BROADCAST and PACKET_MULTICAST are the first of
		// linux/if_packet.h.
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: unix.PACKET_MULTICAST, SkipFalse: 1},
		bpf.RetConstant{Val: 0},
	}, filter...))
	if err != nil {
		return nil, fmt.Errorf("assemble filter: %w", err)
	}
	return program, nil
}

// packetSocket sends and receives Ethernet frames on a link.
type packetSocket struct{ conn *raw.Conn }

func (s packetSocket) limit(deadline time.Time) error { return s.conn.SetWriteDeadline(deadline) }

func (s packetSocket) send(frame []byte) error {
	_, err := s.conn.WriteTo(frame, &raw.Addr{HardwareAddr: frame[:6]})
	return err
}

func (s packetSocket) admit(filter []bpf.Instruction) error {
	program, err := inbound(filter)
	if err != nil {
		return err
	}
	return s.conn.SetBPF(program)
}

func (s packetSocket) receive(b []byte) (int, error) {
	n, _, err := s.conn.ReadFrom(b)
	return n, err
}

func (s packetSocket) missed() (uint64, error) {
	stats, err := s.conn.Stats()
	if err != nil {
		return 0, err
	}
	return stats.Drops, nil
}

func (s packetSocket) close() error { return s.conn.Close() }
