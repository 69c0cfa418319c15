package garp

import (
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/bpf"
	"pgregory.net/rapid"
)

// Frames of one host, 02:00:5e:10:00:0a. Fields as in RFC 826 and RFC 4861
// sections 4.3, 4.4 and 4.6.1.
const (
	toAll  = "ffffffffffff" + "02005e10000a" + "0806"
	toUs   = "020000000001" + "02005e10000a" + "0806"
	ether4 = "0001" + "0800" + "06" + "04"

	toNodes   = "333300000001" + "02005e10000a" + "86dd"
	ip6       = "60000000" + "0020" + "3a" + "ff"
	linkLocal = "fe800000000000000000000000000010"
	nodes     = "ff020000000000000000000000000001"
	vip6      = "fd000000000000000000000000000200"
	group6    = "ff0200000000000000000001ff000200"
	nowhere   = "00000000000000000000000000000000"
)

// packet decodes a frame; @@@@ stands for the checksum of ICMPv6.
func packet(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Replace(text, "@@@@", "0000", 1))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text, "@@@@") {
		sum := uint32(len(b)-ndType) + protocolICMPv6
		for i := ipv6Source; i < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
		sum = sum&0xffff + sum>>16
		binary.BigEndian.PutUint16(b[ndType+2:], ^uint16(sum&0xffff+sum>>16))
	}
	return b
}

func TestParse(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.168.100.200"), netip.MustParseAddr("fd00::200")
	host, other := MAC{2, 0, 0x5e, 0x10, 0, 0xa}, MAC{2, 0, 0, 0, 0, 0x77}
	router := netip.MustParseAddr("fe80::10")
	none := sighting{}
	tests := []struct {
		name  string
		frame string
		want  sighting // none: says nothing
	}{
		{"ARP request", toAll + ether4 + "0001" + "02005e10000a" + "c0a864c8" + "000000000000" + "c0a86401", sighting{v4, host, netip.Addr{}}},
		{"ARP reply", toUs + ether4 + "0002" + "02005e10000a" + "c0a864c8" + "020000000001" + "c0a86401", sighting{v4, host, netip.Addr{}}},
		{"ARP reply, padded", toUs + ether4 + "0002" + "02005e10000a" + "c0a864c8" + "020000000001" + "c0a86401" + strings.Repeat("00", 18), sighting{v4, host, netip.Addr{}}},
		{"ARP for another host", toAll + ether4 + "0002" + "020000000077" + "c0a864c8" + "020000000077" + "c0a864c8", sighting{v4, other, netip.Addr{}}},
		{"ARP of IEEE 802", toAll + "0006" + "0800" + "06" + "04" + "0002" + "02005e10000a" + "c0a864c8" + "020000000001" + "c0a86401", sighting{v4, host, netip.Addr{}}},
		{"ARP probe", toAll + ether4 + "0001" + "02005e10000a" + "00000000" + "000000000000" + "c0a864c8", none},
		{"reverse ARP", toAll + ether4 + "0003" + "02005e10000a" + "c0a864c8" + "000000000000" + "c0a86401", none},
		{"ARP of another hardware", toAll + "0020" + "0800" + "06" + "04" + "0001" + "02005e10000a" + "c0a864c8" + "000000000000" + "c0a86401", none},
		{"ARP of another protocol", toAll + "0001" + "0801" + "06" + "04" + "0001" + "02005e10000a" + "c0a864c8" + "000000000000" + "c0a86401", none},
		{"ARP with long addresses", toAll + "0001" + "0800" + "08" + "04" + "0001" + "02005e10000a" + "c0a864c8" + "000000000000" + "c0a86401", none},
		{"ARP, cut", toAll + ether4 + "0001" + "02005e10000a" + "c0a864c8" + "000000000000" + "c0a864", none},
		{"another protocol", "ffffffffffff" + "02005e10000a" + "0800" + ether4 + "0001" + "02005e10000a" + "c0a864c8" + "000000000000" + "c0a86401", none},
		{"nothing", "", none},

		{"advertisement", toNodes + ip6 + linkLocal + nodes + "8800@@@@" + "20000000" + vip6 + "0201" + "02005e10000a", sighting{v6, host, router}},
		{"advertisement, solicited", toNodes + ip6 + linkLocal + linkLocal + "8800@@@@" + "60000000" + vip6 + "0201" + "02005e10000a", sighting{v6, host, router}},
		{"advertisement for another host", toNodes + ip6 + vip6 + nodes + "8800@@@@" + "20000000" + vip6 + "0201" + "020000000077", sighting{v6, other, v6}},
		{
			"advertisement without options", toNodes + "60000000" + "0018" + "3a" + "ff" + linkLocal + nodes + "8800@@@@" + "20000000" + vip6,
			sighting{v6, host, router},
		},
		{"advertisement with another option", toNodes + ip6 + linkLocal + nodes + "8800@@@@" + "20000000" + vip6 + "0e01" + "010203040506", sighting{v6, host, router}},
		{
			"advertisement with two options", toNodes + "60000000" + "0028" + "3a" + "ff" + linkLocal + nodes + "8800@@@@" + "20000000" + vip6 + "0201" + "020000000077" + "0201" + "020000000078",
			sighting{v6, other, router},
		},
		{"solicited and to all", toNodes + ip6 + linkLocal + nodes + "8800@@@@" + "60000000" + vip6 + "0201" + "02005e10000a", none},
		{"option of no length", toNodes + ip6 + linkLocal + nodes + "8800@@@@" + "20000000" + vip6 + "0200" + "02005e10000a", none},
		{"option that is too long", toNodes + ip6 + linkLocal + nodes + "8800@@@@" + "20000000" + vip6 + "0202" + "02005e10000a", none},
		{"address that is too long", toNodes + "60000000" + "0028" + "3a" + "ff" + linkLocal + nodes + "8800@@@@" + "20000000" + vip6 + "0202" + "020000000077" + "0000000000000000", none},
		{"group as target", toNodes + ip6 + linkLocal + nodes + "8800@@@@" + "20000000" + nodes + "0201" + "02005e10000a", none},
		{"bad checksum", toNodes + ip6 + linkLocal + nodes + "88001234" + "20000000" + vip6 + "0201" + "02005e10000a", none},
		{"bad code", toNodes + ip6 + linkLocal + nodes + "8801@@@@" + "20000000" + vip6 + "0201" + "02005e10000a", none},
		{"from beyond a router", toNodes + "60000000" + "0020" + "3a" + "fe" + linkLocal + nodes + "8800@@@@" + "20000000" + vip6 + "0201" + "02005e10000a", none},
		{"bad version", toNodes + "40000000" + "0020" + "3a" + "ff" + linkLocal + nodes + "8800@@@@" + "20000000" + vip6 + "0201" + "02005e10000a", none},
		{"longer than the frame", toNodes + "60000000" + "0028" + "3a" + "ff" + linkLocal + nodes + "8800@@@@" + "20000000" + vip6 + "0201" + "02005e10000a", none},
		{"shorter than it may be", toNodes + "60000000" + "0017" + "3a" + "ff" + linkLocal + nodes + "8800@@@@" + "20000000" + vip6 + "0201" + "02005e10000a", none},
		{"router advertisement", toNodes + ip6 + linkLocal + nodes + "8600@@@@" + "20000000" + vip6 + "0201" + "02005e10000a", none},

		{"address detection", "3333ff000200" + "02005e10000a" + "86dd" + "60000000" + "0018" + "3a" + "ff" + nowhere + group6 + "8700@@@@" + "00000000" + vip6, sighting{v6, host, netip.Addr{}}},
		{
			"address detection with a nonce", "3333ff000200" + "02005e10000a" + "86dd" + ip6 + nowhere + group6 + "8700@@@@" + "00000000" + vip6 + "0e01" + "010203040506",
			sighting{v6, host, netip.Addr{}},
		},
		{"address detection with an address", "3333ff000200" + "02005e10000a" + "86dd" + ip6 + nowhere + group6 + "8700@@@@" + "00000000" + vip6 + "0101" + "02005e10000a", none},
		{"address detection to all", toNodes + "60000000" + "0018" + "3a" + "ff" + nowhere + nodes + "8700@@@@" + "00000000" + vip6, none},
		{"solicitation", "3333ff000200" + "02005e10000a" + "86dd" + ip6 + linkLocal + group6 + "8700@@@@" + "00000000" + vip6 + "0101" + "02005e10000a", none},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, ok := parse(packet(t, test.frame))
			if ok != (test.want != none) || ok && got != test.want {
				t.Errorf("parse = %+v, %v, want %+v", got, ok, test.want)
			}
		})
	}
}

// What is announced is what is read; a probe says nothing of an IPv4 address.
func TestParseReadsFrames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mac := MAC(rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(t, "mac"))
		address := addresses(rapid.Bool().Draw(t, "six")).Draw(t, "address")
		frames, err := Frames(net.HardwareAddr(mac[:]), address, rapid.Bool().Draw(t, "router"))
		if err != nil {
			t.Fatal(err)
		}
		want := sighting{address: address, mac: mac}
		if address.Is6() {
			want.source = address
		}
		for _, f := range frames {
			if got, ok := parse(f); !ok || got != want {
				t.Fatalf("parse = %+v, %v, want %+v", got, ok, want)
			}
		}
		probe, err := Probe(net.HardwareAddr(mac[:]), address)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := parse(probe)
		if ok != address.Is6() || ok && got != (sighting{address: address, mac: mac}) {
			t.Fatalf("parse of a probe = %+v, %v", got, ok)
		}
	})
}

// addresses generates addresses of hosts, many of them alike.
func addresses(six bool) *rapid.Generator[netip.Addr] {
	return rapid.Custom(func(t *rapid.T) netip.Addr {
		small := rapid.Byte()
		if rapid.IntRange(0, 3).Draw(t, "kind") > 0 {
			small = rapid.ByteRange(0, 2)
		}
		if six {
			a := [16]byte{0: 0xfd}
			for _, i := range []int{3, 7, 11, 13, 15} {
				a[i] = small.Draw(t, "byte")
			}
			return netip.AddrFrom16(a)
		}
		return netip.AddrFrom4([4]byte{10, 0, small.Draw(t, "byte"), small.Draw(t, "byte")})
	})
}

func TestMAC(t *testing.T) {
	hw := net.HardwareAddr{0, 0, 0x5e, 0, 1, 7}
	m, ok := MACFrom(hw)
	text, err := m.MarshalText()
	if !ok || err != nil || string(text) != "00:00:5e:00:01:07" || m.String() != hw.String() {
		t.Errorf("MACFrom = %v, %v, text %s, %v", m, ok, text, err)
	}
	if _, ok := MACFrom(hw[:5]); ok {
		t.Error("five bytes are a MAC")
	}
}

// keeps reports whether a filter for addresses lets a frame through.
func keeps(t testing.TB, six bool, addresses []netip.Addr, frame []byte) bool {
	vm, err := bpf.NewVM(filter(six, addresses))
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(frame)
	if err != nil {
		t.Fatal(err)
	}
	if n > 0 && n < len(frame) {
		t.Fatalf("the filter cuts %d bytes to %d", len(frame), n)
	}
	return n > 0
}

func FuzzParse(f *testing.F) {
	hw := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	for _, a := range []string{"10.0.0.200", "fd00::200"} {
		frames, err := Frames(hw, netip.MustParseAddr(a), true)
		if err != nil {
			f.Fatal(err)
		}
		probe, err := Probe(hw, netip.MustParseAddr(a))
		if err != nil {
			f.Fatal(err)
		}
		for _, frame := range append(frames, probe) {
			f.Add(frame)
		}
	}
	f.Add(packet(f, toNodes+"60000000"+"0028"+"3a"+"ff"+linkLocal+nodes+"8800@@@@"+"20000000"+vip6+"0e01"+"010203040506"+"0201"+"020000000078"))
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) > maxFrame {
			return
		}
		s, ok := parse(frame)
		if !ok {
			return
		}
		if supported(s.address) != nil {
			t.Fatalf("%v is no address of a host", s.address)
		}
		// The filter is no stricter than the parser.
		if !keeps(t, s.address.Is6(), []netip.Addr{s.address}, frame) {
			t.Fatalf("the filter drops what says that %v is at %v", s.address, s.mac)
		}
		// No byte behind the message counts.
		if again, ok := parse(append(frame, 0)); !ok || again != s {
			t.Fatalf("with padding it says %+v, %v, and %+v without", again, ok, s)
		}
	})
}

func TestFilterKeepsWhatIsWatched(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		six := rapid.Bool().Draw(t, "six")
		watched := rapid.SliceOfNDistinct(addresses(six), 0, 300, rapid.ID).Draw(t, "watched")
		set := map[netip.Addr]bool{}
		for _, a := range watched {
			set[a] = true
		}
		vm, err := bpf.NewVM(filter(six, watched))
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			a := addresses(six).Draw(t, "address")
			if len(watched) > 0 && rapid.Bool().Draw(t, "hit") {
				a = rapid.SampledFrom(watched).Draw(t, "one of them")
			}
			frames, err := Frames(make(net.HardwareAddr, 6), a, false)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range frames {
				if n, err := vm.Run(f); err != nil || (n > 0) != set[a] {
					t.Fatalf("%v of %v: %d, %v", a, watched, n, err)
				}
			}
		}
	})
}

func TestFilterOfManyAddresses(t *testing.T) {
	tests := []struct {
		name    string
		n       int
		address func(n int) netip.Addr
		exact   bool
	}{
		{"IPv4", 2000, func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}) }, true},
		{"more", 3000, func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}) }, false},
		{"IPv6", 1800, func(n int) netip.Addr { return netip.AddrFrom16([16]byte{0: 0xfd, 14: byte(n >> 8), 15: byte(n)}) }, true},
		{"networks", 400, func(n int) netip.Addr { return netip.AddrFrom16([16]byte{0: 0xfd, 6: byte(n >> 8), 7: byte(n), 15: 1}) }, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var list []netip.Addr
			for n := range test.n {
				list = append(list, test.address(n))
			}
			six := list[0].Is6()
			program := filter(six, list)
			if _, err := bpf.Assemble(program); err != nil || len(program) > maxProgram {
				t.Fatalf("%d instructions, %v", len(program), err)
			}
			for n, want := range map[int]bool{0: true, test.n / 2: true, test.n - 1: true, test.n: !test.exact} {
				frames, err := Frames(make(net.HardwareAddr, 6), test.address(n), false)
				if err != nil {
					t.Fatal(err)
				}
				if got := keeps(t, six, list, frames[0]); got != want {
					t.Errorf("address %d of %d is kept: %v, want %v", n, test.n, got, want)
				}
			}
		})
	}
}

func TestFilterDropsOtherFrames(t *testing.T) {
	for name, text := range map[string]string{
		"IPv4 in the wrong place": "ffffffffffff" + "02005e10000a" + "0800" + "45000028" + "00000000" + "40060000" + "c0a864c8" + "c0a864c8",
		"solicitation":            "3333ff000200" + "02005e10000a" + "86dd" + ip6 + linkLocal + group6 + "8700@@@@" + "00000000" + vip6 + "0101" + "02005e10000a",
		"ARP probe":               toAll + ether4 + "0001" + "02005e10000a" + "00000000" + "000000000000" + "c0a864c8",
		"short":                   "3333ff000200",
	} {
		watched := []netip.Addr{netip.MustParseAddr("192.168.100.200"), netip.MustParseAddr("fd00::200")}
		got := []bool{keeps(t, false, watched[:1], packet(t, text)), keeps(t, true, watched[1:], packet(t, text))}
		if diff := cmp.Diff([]bool{false, false}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
