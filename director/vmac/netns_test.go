package vmac

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/addr"
	"github.com/understudy-ha/understudy/director/sysctl"
	"github.com/understudy-ha/understudy/vrrp"
)

// site is a director (this namespace) with va, and a client with vb at the other
// end of the cable.
type site struct {
	t            *testing.T
	ours, theirs netns.NsHandle
	client       *netlink.Handle
	vb           netlink.Link
	loans        string
	parent       net.HardwareAddr // of va
}

var (
	v4 = Device{Name: "vrrp4.51", Parent: "va", MAC: vrrp.VirtualMAC(51, false)}
	v6 = Device{Name: "vrrp6.51", Parent: "va", MAC: vrrp.VirtualMAC(51, true)}
)

const (
	vip4    = "10.0.0.100"
	vip6    = "fd00::100"
	direct4 = "10.0.0.1"
	direct6 = "fd00::1"
)

func newSite(t *testing.T) *site {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root, and this is uid", os.Geteuid())
	}
	runtime.LockOSThread() // for good: the thread ends with the test's goroutine
	s := &site{t: t, loans: filepath.Join(t.TempDir(), "loans")}
	var err error
	s.theirs, err = netns.New()
	s.check("make namespace", err)
	t.Cleanup(func() { s.theirs.Close() })
	s.ours, err = netns.New()
	s.check("make namespace", err)
	t.Cleanup(func() { s.ours.Close() })
	s.client, err = netlink.NewHandleAt(s.theirs)
	s.check("open handle", err)
	t.Cleanup(s.client.Close)
	s.connect()
	return s
}

// connect plugs the cable in.
func (s *site) connect() {
	s.t.Helper()
	s.check("add veth", netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "va"}, PeerName: "vb", PeerNamespace: netlink.NsFd(s.theirs),
	}))
	var err error
	s.vb, err = s.client.LinkByName("vb")
	s.check("find vb", err)
	va := s.link("va")
	s.parent = va.Attrs().HardwareAddr
	for _, a := range []string{direct4 + "/24", direct6 + "/64"} {
		s.check("add address", netlink.AddrAdd(va, s.address(a)))
	}
	for _, a := range []string{"10.0.0.2/24", "fd00::2/64"} {
		s.check("add address", s.client.AddrAdd(s.vb, s.address(a)))
	}
	s.check("set vb up", s.client.LinkSetUp(s.vb))
	s.check("set va up", netlink.LinkSetUp(va))
	s.eventually("the cable carries", func() bool { return s.link("va").Attrs().OperState == netlink.OperUp })
}

func (s *site) check(what string, err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("%s: %v", what, err)
	}
}

func (s *site) eventually(what string, f func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !f(); runtime.Gosched() {
		if time.Now().After(deadline) {
			s.t.Fatalf("not within 5 s: %s", what)
		}
	}
}

func (s *site) address(text string) *netlink.Addr {
	s.t.Helper()
	a, err := netlink.ParseAddr(text)
	s.check("parse address", err)
	a.Flags = unix.IFA_F_NODAD
	return a
}

func (s *site) link(name string) netlink.Link {
	s.t.Helper()
	l, err := netlink.LinkByName(name)
	s.check("find "+name, err)
	return l
}

// up reports whether an interface is administratively up.
func (s *site) up(name string) bool { return s.link(name).Attrs().RawFlags&unix.IFF_UP != 0 }

// start returns a keeper of devices and the table in front of it, as a daemon
// that starts makes them. Nothing is stopped in the end: that is a kill.
func (s *site) start(devices ...Device) (*Keeper, *Table) {
	s.t.Helper()
	k, err := New(Options{Loans: s.loans})
	s.check("make keeper", err)
	s.t.Cleanup(func() { s.check("close", k.Close()) })
	below, err := addr.New()
	s.check("make table of addresses", err)
	s.t.Cleanup(func() { s.check("close", below.Close()) })
	table, err := NewTable(below, k)
	s.check("make table", err)
	s.t.Cleanup(func() { s.check("close", table.Close()) })
	names := []string{"va"}
	for _, d := range devices {
		names = append(names, d.Name)
	}
	table.SetLinks(names)
	k.Set(devices)
	return k, table
}

func (s *site) pass(k *Keeper) {
	s.t.Helper()
	s.check("pass of the keeper", k.Check(s.t.Context()))
}

func key(device, prefix string) director.AddrKey {
	return director.AddrKey{Link: device, Prefix: netip.MustParsePrefix(prefix)}
}

// take makes this director the master: the addresses come.
func (s *site) take(table *Table, keys ...director.AddrKey) {
	s.t.Helper()
	var changes []change
	for _, k := range keys {
		changes = append(changes, change{Op: director.Create, Key: k, New: director.AddrSpec{Ours: true}})
	}
	s.check("create", table.Apply(s.t.Context(), changes))
}

// leave makes it a backup.
func (s *site) leave(table *Table, keys ...director.AddrKey) {
	s.t.Helper()
	var changes []change
	for _, k := range keys {
		changes = append(changes, change{Op: director.Delete, Key: k, Old: director.AddrSpec{Ours: true}})
	}
	s.check("delete", table.Apply(s.t.Context(), changes))
	s.check("lower", table.keeper.hoist.lower(s.t.Context()))
}

func (s *site) list(table *Table) addresses {
	s.t.Helper()
	list, err := table.List(s.t.Context())
	s.check("list", err)
	return list
}

// atClient runs f in the client's namespace.
func (s *site) atClient(f func()) {
	s.t.Helper()
	s.check("go to the client", netns.Set(s.theirs))
	defer func() { s.check("come back", netns.Set(s.ours)) }()
	f()
}

// answer is what told the client a hardware address.
type answer struct {
	from   net.HardwareAddr // of the frame
	says   net.HardwareAddr // in it
	router bool             // says that it is one (IPv6)
}

func (a answer) String() string { return fmt.Sprintf("%v says %v", a.from, a.says) }

// resolve has the client ask for an address once, and returns everything that
// answers within some time.
func (s *site) resolve(address string) (answers []answer) {
	s.t.Helper()
	a := netip.MustParseAddr(address)
	s.atClient(func() {
		tap := s.tap("vb")
		defer unix.Close(tap)
		_, err := unix.Write(tap, question(s.vb.Attrs().HardwareAddr, a))
		s.check("ask", err)
		buf := make([]byte, 2000)
		for deadline := time.Now().Add(150 * time.Millisecond); time.Now().Before(deadline); {
			n, err := unix.Read(tap, buf)
			if err != nil {
				continue
			}
			if got, ok := advertised(buf[:n], a); ok {
				answers = append(answers, got)
			}
		}
	})
	return answers
}

// question returns an ARP request or a Neighbor Solicitation of the client.
func question(from net.HardwareAddr, a netip.Addr) []byte {
	if a.Is4() {
		b := append(bytes.Repeat([]byte{0xff}, 6), from...)
		b = append(b, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1)
		b = append(append(b, from...), 10, 0, 0, 2, 0, 0, 0, 0, 0, 0)
		return append(b, a.AsSlice()...)
	}
	source, target := netip.MustParseAddr("fd00::2").As16(), a.As16()
	group := append([]byte{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff}, target[13:]...)
	message := append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, target[:]...)
	message = append(append(message, 1, 1), from...)
	pseudo := append(append(append(source[:], group...), 0, 0, 0, byte(len(message)), 0, 0, 0, 58), message...)
	binary.BigEndian.PutUint16(message[2:], checksum(pseudo))
	b := append(append([]byte{0x33, 0x33, 0xff}, target[13:]...), from...)
	b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(message)), 58, 255)
	source = netip.MustParseAddr("fd00::2").As16()
	return append(append(append(b, source[:]...), group...), message...)
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// advertised decodes an ARP reply or a Neighbor Advertisement for an address.
func advertised(b []byte, a netip.Addr) (answer, bool) {
	if len(b) < 42 {
		return answer{}, false
	}
	from := net.HardwareAddr(bytes.Clone(b[6:12]))
	switch binary.BigEndian.Uint16(b[12:]) {
	case unix.ETH_P_ARP:
		if a.Is4() && b[21] == 2 && bytes.Equal(b[28:32], a.AsSlice()) {
			return answer{from: from, says: bytes.Clone(b[22:28])}, true
		}
	case unix.ETH_P_IPV6:
		if a.Is6() && len(b) >= 86 && b[54] == 136 && bytes.Equal(b[62:78], a.AsSlice()) {
			return answer{from: from, says: bytes.Clone(b[80:86]), router: b[58]&0x80 != 0}, true
		}
	}
	return answer{}, false
}

// tap returns a packet socket on an interface of the present namespace.
func (s *site) tap(name string) int {
	s.t.Helper()
	all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
	ifi, err := net.InterfaceByName(name)
	s.check("find "+name, err)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all))
	s.check("open packet socket", err)
	s.check("bind packet socket", unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifi.Index}))
	tv := unix.NsecToTimeval(int64(10 * time.Millisecond))
	s.check("set timeout", unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv))
	return fd
}

// only is that one hardware address, and no other, answered. It returns the answers.
func (s *site) only(address string, mac net.HardwareAddr) (answers []answer) {
	s.t.Helper()
	// A machine that is busy may take longer than the client listens.
	s.eventually("an answer for "+address, func() bool {
		answers = s.resolve(address)
		return len(answers) > 0
	})
	for _, a := range answers {
		if !bytes.Equal(a.from, mac) || !bytes.Equal(a.says, mac) {
			s.t.Errorf("for %s %v, want %v", address, a, mac)
		}
	}
	return answers
}

func (s *site) nobody(address string) {
	s.t.Helper()
	if answers := s.resolve(address); len(answers) > 0 {
		s.t.Errorf("for %s %v, want no answer", address, answers)
	}
}

// echo answers datagrams to an address of this host until the test ends.
func (s *site) echo(address string) {
	s.t.Helper()
	c, err := net.ListenPacket("udp", net.JoinHostPort(address, "7"))
	s.check("listen", err)
	done := make(chan struct{})
	s.t.Cleanup(func() { c.Close(); <-done })
	go func() {
		defer close(done)
		b := make([]byte, 100)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(b[:n], from)
		}
	}()
}

// asks has the client send a datagram and wait for its echo.
func (s *site) asks(address string) error {
	s.t.Helper()
	var err error
	s.atClient(func() {
		var c net.Conn
		if c, err = net.Dial("udp", net.JoinHostPort(address, "7")); err != nil {
			return
		}
		defer c.Close()
		s.check("set deadline", c.SetDeadline(time.Now().Add(time.Second)))
		if _, err = c.Write([]byte("hello")); err == nil {
			_, err = c.Read(make([]byte, 100))
		}
	})
	return err
}

// pings has the client send an echo request and wait for the reply.
func (s *site) pings(address string) error {
	s.t.Helper()
	network, request, reply := "ip4:icmp", byte(8), byte(0)
	if netip.MustParseAddr(address).Is6() {
		network, request, reply = "ip6:ipv6-icmp", 128, 129
	}
	var err error
	s.atClient(func() {
		var c net.Conn
		if c, err = net.Dial(network, address); err != nil {
			return
		}
		defer c.Close()
		s.check("set deadline", c.SetDeadline(time.Now().Add(time.Second)))
		message := []byte{request, 0, 0, 0, 1, 2, 0, 1}
		if request == 8 { // the kernel fills in that of ICMPv6
			binary.BigEndian.PutUint16(message[2:], ^uint16(0x0800+0x0102+0x0001))
		}
		if _, err = c.Write(message); err != nil {
			return
		}
		b := make([]byte, 100)
		for {
			var n int
			if n, err = c.Read(b); err != nil || n > 20 && b[20] == reply || n > 0 && b[0] == reply {
				return
			}
		}
	})
	return err
}

func (s *site) set(key, value string) {
	s.t.Helper()
	s.check("set "+key, sysctl.Kernel{}.Write(key, value))
}

func (s *site) get(key string) string {
	s.t.Helper()
	v, err := sysctl.Kernel{}.Read(key)
	s.check("read "+key, err)
	return v
}
