package vmac

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A host that has the virtual address as its gateway is passed on by a master,
// where forwarding is on, and by nobody else.
func TestNetnsForwards(t *testing.T) {
	for _, test := range []struct {
		name    string
		device  Device
		vip     string
		packet  []byte
		hops    int // where the TTL or hop limit is in a frame
		enabled string
	}{
		{"IPv4", v4, vip4 + "/24", transit4(), 22, "net.ipv4.ip_forward"},
		{"IPv6", v6, vip6 + "/64", transit6(), 21, "net.ipv6.conf.all.forwarding"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t)
			k, table := s.start(test.device)
			s.pass(k)
			// Both ends are at the client, so that it sees what comes back.
			passed := func(wait time.Duration) bool {
				found := false
				s.atClient(func() {
					tap := s.tap("vb")
					defer unix.Close(tap)
					frame := append(append(bytes.Clone(test.device.MAC[:]), 2, 0, 0, 0, 0, 3), test.packet...)
					_, err := unix.Write(tap, frame)
					s.check("send", err)
					buf := make([]byte, 2000)
					for deadline := time.Now().Add(wait); time.Now().Before(deadline) && !found; {
						n, err := unix.Read(tap, buf)
						found = err == nil && n > 40 && bytes.Contains(buf[:n], []byte("transit")) && bytes.Equal(buf[6:12], s.parent) && buf[test.hops] == 9
					}
				})
				return found
			}
			s.set(test.enabled, "1")
			if passed(100 * time.Millisecond) {
				t.Error("a backup passes it on")
			}
			s.take(table, key(test.device.Name, test.vip))
			if !passed(5 * time.Second) {
				t.Error("a master does not pass it on")
			}
			s.set(test.enabled, "0")
			s.check("pass", k.Check(t.Context()))
			if passed(100 * time.Millisecond) {
				t.Error("it passes it on with forwarding off")
			}
			s.set(test.enabled, "1")
			s.leave(table, key(test.device.Name, test.vip))
			if passed(100 * time.Millisecond) {
				t.Error("a backup that was master passes it on")
			}
		})
	}
}

// transit4 is a packet, from its Ethernet type on, from another host to the
// client.
func transit4() []byte {
	ip := []byte{0x45, 0, 0, 35, 0, 0, 0, 0, 10, 17, 0, 0, 10, 0, 0, 3, 10, 0, 0, 2}
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	return append(append([]byte{8, 0}, ip...), datagram()...)
}

func transit6() []byte {
	b := []byte{0x86, 0xdd, 0x60, 0, 0, 0, 0, 15, 17, 10}
	for _, a := range []string{"fd00::3", "fd00::2"} {
		b = append(b, netip.MustParseAddr(a).AsSlice()...)
	}
	return append(b, datagram()...)
}

// datagram goes to a port that nobody listens on; its checksum does not matter.
func datagram() []byte { return append([]byte{0, 9, 0, 9, 0, 15, 0, 0}, "transit"...) }
