package vmac

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
)

func TestNetnsTakeover(t *testing.T) {
	for _, test := range []struct {
		name        string
		device      Device
		vip, direct string
		bits        string
	}{
		{"IPv4", v4, vip4, direct4, "/24"},
		{"IPv4 alone", v4, vip4, direct4, "/32"},
		{"IPv6", v6, vip6, direct6, "/64"},
		{"IPv6 alone", v6, vip6, direct6, "/128"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t)
			k, table := s.start(test.device)
			s.pass(k)
			name, vip := test.device.Name, key(test.device.Name, test.vip+test.bits)
			virtual := net.HardwareAddr(test.device.MAC[:])
			if s.up(name) {
				t.Error("the interface of a backup is up")
			}
			s.only(test.direct, s.parent)
			s.nobody(test.vip)

			begin := time.Now()
			s.take(table, vip)
			t.Logf("taken over within %v", time.Since(begin))
			if !s.up(name) {
				t.Error("the interface of a master is down")
			}
			s.only(test.vip, virtual)
			s.only(test.direct, s.parent)
			s.echo(test.vip)
			s.echo(test.direct)
			for _, address := range []string{test.vip, test.direct} {
				if err := s.asks(address); err != nil {
					t.Errorf("ask %s: %v", address, err)
				}
				if err := s.pings(address); err != nil {
					t.Errorf("ping %s: %v", address, err)
				}
			}
			// The macvlan has no address but the virtual one.
			list, err := netlink.AddrList(s.link(name), netlink.FAMILY_ALL)
			s.check("list addresses", err)
			if len(list) != 1 {
				t.Errorf("the interface holds %v", list)
			}
			if got := s.list(table)[vip]; !got.Ours {
				t.Errorf("the table holds %v for %v", got, vip)
			}

			s.leave(table, vip)
			if s.up(name) {
				t.Error("the interface is up after the last address has gone")
			}
			s.nobody(test.vip)
			s.only(test.direct, s.parent)
		})
	}
}

// A virtual address in another network than any of the host's is reached too.
func TestNetnsNetworkOfItsOwn(t *testing.T) {
	s := newSite(t)
	k, table := s.start(v4)
	s.pass(k)
	s.check("add address", s.client.AddrAdd(s.vb, s.address("10.7.0.2/24")))
	s.take(table, key(v4.Name, "10.7.0.100/24"))
	s.only("10.7.0.100", v4.MAC[:])
	s.echo("10.7.0.100")
	if err := s.asks("10.7.0.100"); err != nil {
		t.Error(err)
	}
	s.leave(table, key(v4.Name, "10.7.0.100/24"))
	s.nobody("10.7.0.100")
}

// The link-local address of an IPv6 virtual router works.
func TestNetnsLinkLocal(t *testing.T) {
	s := newSite(t)
	k, table := s.start(v6)
	s.pass(k)
	s.take(table, key(v6.Name, "fe80::51/64"), key(v6.Name, vip6+"/64"))
	s.echo("fe80::51%" + v6.Name)
	// The client needs a link-local address of its own, which takes a moment.
	s.eventually("an answer from fe80::51", func() bool { return s.asks("fe80::51%vb") == nil })
	list, err := s.client.NeighList(s.vb.Attrs().Index, netlink.FAMILY_V6)
	s.check("list neighbours", err)
	for _, n := range list {
		if n.IP.Equal(net.ParseIP("fe80::51")) && !bytes.Equal(n.HardwareAddr, v6.MAC[:]) {
			t.Errorf("fe80::51 is at %v", n.HardwareAddr)
		}
	}
}

// Strict reverse path filtering, for all interfaces or by default, does not keep
// requests out.
func TestNetnsStrictReversePath(t *testing.T) {
	for _, which := range []string{"all", "default"} {
		t.Run(which, func(t *testing.T) {
			s := newSite(t)
			s.set("net.ipv4.conf."+which+".rp_filter", "1")
			k, table := s.start(v4)
			s.pass(k)
			s.take(table, key(v4.Name, vip4+"/32"))
			s.only(vip4, v4.MAC[:])
			s.echo(vip4)
			if err := s.asks(vip4); err != nil {
				t.Error(err)
			}
		})
	}
}

// What the director sends from a virtual address leaves by the parent, with the
// parent's hardware address, and spoils no neighbour's memory: it asks for
// hardware addresses in the name of the parent's own address.
func TestNetnsRepliesLeaveByTheParent(t *testing.T) {
	for _, test := range []struct {
		name, vip, bits, to string
		device              Device
		source              int // where the source address is in a frame of the family
		asks                func(b []byte) (sender []byte)
	}{
		{"IPv4", vip4, "/24", "10.0.0.2", v4, 26, func(b []byte) []byte {
			if b[12] == 8 && b[13] == 6 && b[21] == 1 { // an ARP request
				return b[28:32]
			}
			return nil
		}},
		{"IPv6", vip6, "/64", "fd00::2", v6, 22, func(b []byte) []byte {
			if b[12] == 0x86 && len(b) > 62 && b[20] == 58 && b[54] == 135 { // a Neighbor Solicitation
				return b[22:38]
			}
			return nil
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t)
			k, table := s.start(test.device)
			s.pass(k)
			s.take(table, key(test.device.Name, test.vip+test.bits))
			var tap int
			s.atClient(func() { tap = s.tap("vb") })
			defer unix.Close(tap)
			vip := netip.MustParseAddr(test.vip)
			d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(vip, 7))}
			c, err := d.DialContext(t.Context(), "udp", net.JoinHostPort(test.to, "9"))
			s.check("dial", err)
			defer c.Close()
			_, err = c.Write([]byte("hello from the director"))
			s.check("send", err)
			asked := false
			buf := make([]byte, 2000)
			for deadline := time.Now().Add(5 * time.Second); ; {
				n, err := unix.Read(tap, buf)
				if time.Now().After(deadline) {
					t.Fatal("the datagram does not arrive")
				}
				if err != nil || n < 42 || buf[0] == 0x33 && buf[20] != 58 {
					continue
				}
				from := net.HardwareAddr(buf[6:12])
				if sender := test.asks(buf[:n]); sender != nil && !bytes.Equal(from, s.vb.Attrs().HardwareAddr) && !isZero(sender) {
					asked = true
					if !bytes.Equal(from, s.parent) || bytes.Equal(sender, vip.AsSlice()) {
						a, _ := netip.AddrFromSlice(sender)
						t.Errorf("%v asks in the name of %v", from, a)
					}
				}
				if bytes.Contains(buf[:n], []byte("hello from the director")) && bytes.Equal(buf[test.source:test.source+vip.BitLen()/8], vip.AsSlice()) {
					if !bytes.Equal(from, s.parent) {
						t.Errorf("it comes from %v, want %v", from, s.parent)
					}
					break
				}
			}
			if !asked {
				t.Error("it knew the client's hardware address without asking")
			}
		})
	}
}

// isZero reports whether an address is the unspecified one, that of a duplicate
// address detection.
func isZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// Another master with the same virtual MAC is heard by a socket on the parent.
func TestNetnsAnotherMasterIsHeard(t *testing.T) {
	s := newSite(t)
	k, table := s.start(v4)
	s.pass(k)
	s.take(table, key(v4.Name, vip4+"/24"))
	c, err := (&net.ListenConfig{Control: toDevice("va")}).ListenPacket(t.Context(), "udp4", "224.0.0.18:1122")
	s.check("listen", err)
	defer c.Close()
	ifi, err := net.InterfaceByName("va")
	s.check("find va", err)
	s.check("join", join(c, ifi))
	s.atClient(func() {
		fd := s.tap("vb")
		defer unix.Close(fd)
		frame := append([]byte{1, 0, 0x5e, 0, 0, 18}, v4.MAC[:]...)
		frame = append(frame, 8, 0)
		ip := []byte{0x45, 0, 0, 32, 0, 0, 0, 0, 255, 17, 0, 0, 10, 0, 0, 2, 224, 0, 0, 18}
		binary.BigEndian.PutUint16(ip[10:], checksum(ip))
		frame = append(frame, ip...)
		frame = append(frame, 4, 98, 4, 98, 0, 12, 0, 0, 'h', 'e', 'r', 'e')
		_, err := unix.Write(fd, frame)
		s.check("send", err)
	})
	s.check("set deadline", c.SetReadDeadline(time.Now().Add(5*time.Second)))
	b := make([]byte, 100)
	if n, _, err := c.ReadFrom(b); err != nil || string(b[:n]) != "here" {
		t.Errorf("the parent hears %q, %v", b[:n], err)
	}
}

// The time from the decision to the addresses does not depend on what else there
// is, and not much on how many there are.
func TestNetnsManyDevices(t *testing.T) {
	s := newSite(t)
	var devices []Device
	var keys []director.AddrKey
	for i := range 60 {
		d := Device{Name: "v" + string(rune('A'+i%26)) + string(rune('a'+i/26)), Parent: "va", MAC: [6]byte{0, 0, 0x5e, 0, 1, byte(i + 1)}}
		devices = append(devices, d)
		keys = append(keys, key(d.Name, netip.AddrFrom4([4]byte{10, 0, 1, byte(i + 1)}).String()+"/32"))
	}
	k, table := s.start(devices...)
	begin := time.Now()
	s.pass(k)
	made := time.Since(begin)
	begin = time.Now()
	s.take(table, keys...)
	taken := time.Since(begin)
	begin = time.Now()
	list := s.list(table)
	listed := time.Since(begin)
	begin = time.Now()
	s.leave(table, keys...)
	t.Logf("60 interfaces: made in %v, taken over in %v, listed in %v, given up in %v", made, taken, listed, time.Since(begin))
	for _, key := range keys {
		if _, ok := list[key]; !ok || s.up(key.Link) {
			t.Fatalf("%v: held %v, up %v", key, ok, s.up(key.Link))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.check("stop", k.Run(ctx))
}

// What was on its way down when the Keeper was stopped is no error.
func TestNetnsStopWhileLowering(t *testing.T) {
	s := newSite(t)
	k, table := s.start(v4)
	s.pass(k)
	vip := key(v4.Name, vip4+"/24")
	s.take(table, vip)
	s.check("delete", table.Apply(t.Context(), []change{{Op: director.Delete, Key: vip}}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = k.hoist.lower(ctx)
	s.check("stop", k.Run(ctx))
	if _, err := netlink.LinkByName(v4.Name); err == nil {
		t.Error("the interface is still there")
	}
}
