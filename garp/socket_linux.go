package garp

import (
	"fmt"
	"net"
	"time"

	"github.com/mdlayher/ethernet"
	//lint:ignore SA1019 a thin layer over mdlayher/packet, used in this file alone
	"github.com/mdlayher/raw"
	"golang.org/x/net/bpf"
)

// kernel reaches the links of the network namespace of the calling thread.
type kernel struct{}

func (kernel) lookup(name string) (device, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return device{}, fmt.Errorf("look up link %s: %w", name, err)
	}
	return device{index: ifi.Index, hw: ifi.HardwareAddr}, nil
}

func (kernel) open(d device) (socket, error) {
	// A socket bound to a protocol receives; the filter takes nothing in.
	none, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 0}})
	if err != nil {
		return nil, fmt.Errorf("assemble filter: %w", err)
	}
	conn, err := raw.ListenPacket(&net.Interface{Index: d.index}, uint16(ethernet.EtherTypeARP), &raw.Config{Filter: none})
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	return packetSocket{conn}, nil
}

// packetSocket sends Ethernet frames to everybody on a link.
type packetSocket struct{ conn *raw.Conn }

func (s packetSocket) limit(deadline time.Time) error { return s.conn.SetWriteDeadline(deadline) }

func (s packetSocket) send(frame []byte) error {
	_, err := s.conn.WriteTo(frame, &raw.Addr{HardwareAddr: ethernet.Broadcast})
	return err
}

func (s packetSocket) close() error { return s.conn.Close() }
