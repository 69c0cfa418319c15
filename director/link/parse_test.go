package link

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// attr is one route attribute, padded.
func attr(kind uint16, value ...byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofRtAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	for len(b)%unix.RTA_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}

func join(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func ifinfo(index int32, flags uint32) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], flags)
	return b
}

func ifaddr(family, bits, flags byte, index uint32) []byte {
	b := make([]byte, unix.SizeofIfAddrmsg)
	b[0], b[1], b[2] = family, bits, flags
	binary.NativeEndian.PutUint32(b[4:], index)
	return b
}

func u32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func ip(s string) []byte { return netip.MustParseAddr(s).AsSlice() }

func TestParseIface(t *testing.T) {
	name := attr(unix.IFLA_IFNAME, []byte("eth0\x00")...)
	tests := []struct {
		name string
		in   []byte
		want iface
		bad  bool
	}{
		{name: "up with carrier", in: join(ifinfo(2, unix.IFF_UP|unix.IFF_RUNNING|unix.IFF_LOWER_UP|unix.IFF_MULTICAST), attr(unix.IFLA_ADDRESS, 2, 0, 0, 0, 0, 1), name),
			want: iface{index: 2, name: "eth0", up: true, hwaddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}},
		{name: "up without carrier", in: join(ifinfo(2, unix.IFF_UP), name), want: iface{index: 2, name: "eth0"}},
		{name: "carrier but dormant", in: join(ifinfo(2, unix.IFF_UP|unix.IFF_LOWER_UP|unix.IFF_DORMANT), name), want: iface{index: 2, name: "eth0"}},
		{name: "carrier but down", in: join(ifinfo(2, unix.IFF_LOWER_UP|unix.IFF_RUNNING), name), want: iface{index: 2, name: "eth0"}},
		{name: "no name", in: ifinfo(2, unix.IFF_UP), bad: true},
		{name: "no index", in: join(ifinfo(0, unix.IFF_UP), name), bad: true},
		{name: "short", in: ifinfo(2, 0)[:15], bad: true},
		{name: "attribute longer than the message", in: join(ifinfo(2, 0), name, []byte{200, 0, 1, 0}), want: iface{index: 2, name: "eth0"}},
		{name: "attribute of length 0", in: join(ifinfo(2, 0), name, make([]byte, 8)), want: iface{index: 2, name: "eth0"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseIface(tt.in)
			if (err != nil) != tt.bad {
				t.Fatalf("error %v, want one: %v", err, tt.bad)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(iface{})); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestParseAddress(t *testing.T) {
	prefix := netip.MustParsePrefix
	tests := []struct {
		name string
		in   []byte
		want Address
		bad  bool
	}{
		{name: "IPv4", in: join(ifaddr(unix.AF_INET, 24, 0, 3), attr(unix.IFA_ADDRESS, ip("192.0.2.1")...), attr(unix.IFA_LOCAL, ip("192.0.2.1")...)),
			want: Address{Index: 3, Prefix: prefix("192.0.2.1/24"), Usable: true}},
		{name: "peer", in: join(ifaddr(unix.AF_INET, 32, 0, 3), attr(unix.IFA_ADDRESS, ip("192.0.2.9")...), attr(unix.IFA_LOCAL, ip("192.0.2.1")...)),
			want: Address{Index: 3, Prefix: prefix("192.0.2.1/32"), Usable: true}},
		{name: "ours", in: join(ifaddr(unix.AF_INET, 24, 0, 3), attr(unix.IFA_LOCAL, ip("192.0.2.1")...), attr(attrProto, Protocol)),
			want: Address{Index: 3, Prefix: prefix("192.0.2.1/24"), Tag: Protocol, Usable: true}},
		{name: "of another protocol", in: join(ifaddr(unix.AF_INET, 24, 0, 3), attr(unix.IFA_LOCAL, ip("192.0.2.1")...), attr(attrProto, 3)),
			want: Address{Index: 3, Prefix: prefix("192.0.2.1/24"), Tag: 3, Usable: true}},
		{name: "IPv6", in: join(ifaddr(unix.AF_INET6, 64, 0, 3), attr(unix.IFA_ADDRESS, ip("fe80::1")...)),
			want: Address{Index: 3, Prefix: prefix("fe80::1/64"), Usable: true}},
		{name: "IPv6 tentative by the long flags", in: join(ifaddr(unix.AF_INET6, 64, 0, 3), attr(unix.IFA_ADDRESS, ip("fe80::1")...), attr(unix.IFA_FLAGS, u32(unix.IFA_F_TENTATIVE|unix.IFA_F_NOPREFIXROUTE)...)),
			want: Address{Index: 3, Prefix: prefix("fe80::1/64")}},
		{name: "IPv6 optimistic", in: join(ifaddr(unix.AF_INET6, 64, unix.IFA_F_TENTATIVE|unix.IFA_F_OPTIMISTIC, 3), attr(unix.IFA_ADDRESS, ip("fe80::1")...)),
			want: Address{Index: 3, Prefix: prefix("fe80::1/64"), Usable: true}},
		{name: "IPv6 duplicate", in: join(ifaddr(unix.AF_INET6, 64, unix.IFA_F_DADFAILED, 3), attr(unix.IFA_ADDRESS, ip("fe80::1")...)),
			want: Address{Index: 3, Prefix: prefix("fe80::1/64")}},
		{name: "secondary", in: join(ifaddr(unix.AF_INET, 24, unix.IFA_F_SECONDARY, 3), attr(unix.IFA_LOCAL, ip("192.0.2.1")...)),
			want: Address{Index: 3, Prefix: prefix("192.0.2.1/24"), Secondary: true, Usable: true}},
		{name: "IPv6 temporary, which has the same bit", in: join(ifaddr(unix.AF_INET6, 64, unix.IFA_F_TEMPORARY, 3), attr(unix.IFA_LOCAL, ip("fd00::1")...)),
			want: Address{Index: 3, Prefix: prefix("fd00::1/64"), Usable: true}},
		{name: "IPv6 peer", in: join(ifaddr(unix.AF_INET6, 128, 0, 3), attr(unix.IFA_ADDRESS, ip("fd00::2")...), attr(unix.IFA_LOCAL, ip("fd00::1")...)),
			want: Address{Index: 3, Prefix: prefix("fd00::1/128"), Usable: true}},
		{name: "tag of the wrong size", in: join(ifaddr(unix.AF_INET, 24, 0, 3), attr(unix.IFA_LOCAL, ip("192.0.2.1")...), attr(attrProto, 1, 2)),
			want: Address{Index: 3, Prefix: prefix("192.0.2.1/24"), Usable: true}},
		{name: "unknown attribute", in: join(ifaddr(unix.AF_INET, 24, 0, 3), attr(99, 1, 2, 3), attr(unix.IFA_LOCAL, ip("192.0.2.1")...)),
			want: Address{Index: 3, Prefix: prefix("192.0.2.1/24"), Usable: true}},
		{name: "attribute without length", in: join(ifaddr(unix.AF_INET, 24, 0, 3), make([]byte, 4)), bad: true},
		{name: "empty", bad: true},
		{name: "no address", in: ifaddr(unix.AF_INET, 24, 0, 3), bad: true},
		{name: "address of the other family", in: join(ifaddr(unix.AF_INET, 24, 0, 3), attr(unix.IFA_LOCAL, ip("fe80::1")...)), bad: true},
		{name: "address of five bytes", in: join(ifaddr(unix.AF_INET, 24, 0, 3), attr(unix.IFA_LOCAL, 1, 2, 3, 4, 5)), bad: true},
		{name: "too many bits", in: join(ifaddr(unix.AF_INET, 33, 0, 3), attr(unix.IFA_LOCAL, ip("192.0.2.1")...)), bad: true},
		{name: "short", in: ifaddr(unix.AF_INET, 24, 0, 3)[:7], bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseAddress(tt.in)
			if (err != nil) != tt.bad {
				t.Fatalf("error %v, want one: %v", err, tt.bad)
			}
			if tt.bad {
				return
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestDecode(t *testing.T) {
	up := uint32(unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOWER_UP)
	links := [][]byte{
		join(ifinfo(1, up), attr(unix.IFLA_IFNAME, []byte("lo\x00")...)),
		join(ifinfo(7, up), attr(unix.IFLA_IFNAME, []byte("eth0\x00")...)),
		join(ifinfo(8, 0), attr(unix.IFLA_IFNAME, []byte("eth1\x00")...)),
	}
	addresses := [][]byte{
		join(ifaddr(unix.AF_INET, 24, 0, 7), attr(unix.IFA_LOCAL, ip("192.0.2.9")...)),
		join(ifaddr(unix.AF_INET, 32, 0, 7), attr(unix.IFA_LOCAL, ip("192.0.2.200")...), attr(attrProto, Protocol)),
		join(ifaddr(unix.AF_INET, 24, unix.IFA_F_SECONDARY, 7), attr(unix.IFA_LOCAL, ip("192.0.2.1")...)),
		join(ifaddr(unix.AF_INET6, 64, 0, 7), attr(unix.IFA_ADDRESS, ip("fe80::1")...)),
		join(ifaddr(unix.AF_INET6, 64, unix.IFA_F_TENTATIVE, 7), attr(unix.IFA_ADDRESS, ip("fe80::2")...)),
		join(ifaddr(unix.AF_PHONET, 0, 0, 7)),
	}
	got, err := decode(links, addresses)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]State{
		"lo": {Index: 1, Up: true},
		"eth0": {Index: 7, Up: true, Addresses: []netip.Prefix{
			netip.MustParsePrefix("192.0.2.9/24"),
			netip.MustParsePrefix("192.0.2.1/24"),
			netip.MustParsePrefix("fe80::1/64"),
		}},
		"eth1": {Index: 8},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func message(kind uint16, body ...byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, make([]byte, 10)...)
	b = append(b, body...)
	for len(b)%unix.NLMSG_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}

func TestJudge(t *testing.T) {
	our := message(unix.RTM_NEWADDR, join(ifaddr(unix.AF_INET, 24, 0, 7), attr(unix.IFA_LOCAL, ip("192.0.2.9")...), attr(attrProto, Protocol))...)
	foreign := message(unix.RTM_NEWADDR, join(ifaddr(unix.AF_INET, 24, 0, 7), attr(unix.IFA_LOCAL, ip("192.0.2.9")...), attr(attrProto, 2))...)
	ourGone := slices.Clone(our)
	binary.NativeEndian.PutUint16(ourGone[4:], unix.RTM_DELADDR)
	tests := []struct {
		name            string
		in              []byte
		news, addresses bool
	}{
		{name: "nothing"},
		{name: "link", in: message(unix.RTM_NEWLINK, 1, 2, 3), news: true},
		{name: "our new address", in: our},
		{name: "another's new address", in: foreign, news: true, addresses: true},
		{name: "our address gone", in: ourGone, news: true, addresses: true},
		{name: "new address that cannot be read", in: message(unix.RTM_NEWADDR), news: true, addresses: true},
		{name: "address gone", in: message(unix.RTM_DELADDR), news: true, addresses: true},
		{name: "ours, then another's", in: join(our, foreign), news: true, addresses: true},
		{name: "address after a link", in: join(message(unix.RTM_NEWLINK, 1, 2, 3), foreign), news: true, addresses: true},
		{name: "length 0", in: make([]byte, 64), news: true, addresses: true},
		{name: "length past the end", in: join(u32(1<<31), make([]byte, 60)), news: true, addresses: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if news, addresses := judge(tt.in); news != tt.news || addresses != tt.addresses {
				t.Errorf("got %v, %v; want %v, %v", news, addresses, tt.news, tt.addresses)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(join(ifinfo(7, 1), attr(unix.IFLA_IFNAME, []byte("eth0\x00")...)),
		join(ifaddr(unix.AF_INET, 24, 0, 7), attr(unix.IFA_LOCAL, ip("192.0.2.9")...), attr(attrProto, Protocol)))
	f.Add(join(ifinfo(7, 1), attr(unix.IFLA_IFNAME)), join(ifaddr(unix.AF_INET6, 64, 0, 7), attr(unix.IFA_FLAGS, 1)))
	f.Fuzz(func(t *testing.T, l, a []byte) {
		judge(l)
		if d, err := ParseDevice(l); err == nil && (d.Name == "" || d.Index <= 0) {
			t.Errorf("device %+v", d)
		}
		states, err := decode([][]byte{l}, [][]byte{a})
		if err != nil {
			return
		}
		for name, s := range states {
			if name == "" || s.Index <= 0 {
				t.Errorf("interface %q with %+v", name, s)
			}
			for _, p := range s.Addresses {
				if !p.IsValid() {
					t.Errorf("address %v", p)
				}
			}
		}
	})
}
