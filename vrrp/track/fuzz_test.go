package track

import (
	"encoding/binary"
	"net/netip"
	"strings"
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

func concat(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func u32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func ip(s string) []byte { return netip.MustParseAddr(s).AsSlice() }

// rtmsg is a struct rtmsg of the main table.
func rtmsg(family, bits, kind byte, flags uint32) []byte {
	b := make([]byte, unix.SizeofRtMsg)
	b[0], b[1], b[4], b[7] = family, bits, unix.RT_TABLE_MAIN, kind
	binary.NativeEndian.PutUint32(b[8:], flags)
	return b
}

// nexthop is a struct rtnexthop with its attributes.
func nexthop(index uint32, flags byte, attrs ...byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofRtNexthop+len(attrs)))
	b = append(b, flags, 0)
	return append(append(b, u32(index)...), attrs...)
}

var routeMessages = []struct {
	name  string
	in    []byte
	dst   string
	table uint32
	hops  []route
	bad   bool
}{
	{name: "default", in: concat(rtmsg(unix.AF_INET, 0, unix.RTN_UNICAST, 0), attr(unix.RTA_TABLE, u32(254)...), attr(unix.RTA_GATEWAY, ip("192.0.2.1")...), attr(unix.RTA_OIF, u32(2)...)),
		dst: "0.0.0.0/0", table: 254, hops: []route{{prefix: prefix("0.0.0.0/0"), via: address("192.0.2.1"), index: 2}}},
	{name: "connected, another table", in: concat(rtmsg(unix.AF_INET, 24, unix.RTN_UNICAST, 0), attr(unix.RTA_TABLE, u32(1000)...), attr(unix.RTA_DST, ip("192.0.2.0")...), attr(unix.RTA_OIF, u32(2)...)),
		dst: "192.0.2.0/24", table: 1000, hops: []route{{prefix: prefix("192.0.2.0/24"), index: 2}}},
	{name: "IPv4 by IPv6", in: concat(rtmsg(unix.AF_INET, 0, unix.RTN_UNICAST, 0), attr(unix.RTA_VIA, append([]byte{unix.AF_INET6, 0}, ip("fe80::1")...)...), attr(unix.RTA_OIF, u32(2)...)),
		dst: "0.0.0.0/0", table: 254, hops: []route{{prefix: prefix("0.0.0.0/0"), via: address("fe80::1"), index: 2}}},
	{name: "dead", in: concat(rtmsg(unix.AF_INET6, 48, unix.RTN_UNICAST, unix.RTNH_F_LINKDOWN), attr(unix.RTA_DST, ip("2001:db8::")...), attr(unix.RTA_OIF, u32(3)...)),
		dst: "2001:db8::/48", table: 254, hops: []route{{prefix: prefix("2001:db8::/48"), index: 3, dead: true}}},
	{name: "several next hops", in: concat(rtmsg(unix.AF_INET, 0, unix.RTN_UNICAST, 0), attr(unix.RTA_MULTIPATH, concat(
		nexthop(2, unix.RTNH_F_DEAD, attr(unix.RTA_GATEWAY, ip("192.0.2.1")...)...), nexthop(3, 0, attr(unix.RTA_GATEWAY, ip("198.51.100.1")...)...))...)),
		dst: "0.0.0.0/0", table: 254, hops: []route{{prefix: prefix("0.0.0.0/0"), via: address("192.0.2.1"), index: 2, dead: true}, {prefix: prefix("0.0.0.0/0"), via: address("198.51.100.1"), index: 3}}},
	{name: "blackhole", in: rtmsg(unix.AF_INET, 0, unix.RTN_BLACKHOLE, 0), dst: "0.0.0.0/0", table: 254},
	{name: "cached", in: concat(rtmsg(unix.AF_INET6, 128, unix.RTN_UNICAST, unix.RTM_F_CLONED), attr(unix.RTA_DST, ip("2001:db8::1")...)), dst: "2001:db8::1/128", table: 254},
	{name: "host bits", in: concat(rtmsg(unix.AF_INET, 24, unix.RTN_UNICAST, 0), attr(unix.RTA_DST, ip("192.0.2.9")...)), dst: "192.0.2.0/24", table: 254, hops: []route{{prefix: prefix("192.0.2.0/24")}}},
	{name: "too many bits", in: rtmsg(unix.AF_INET, 33, unix.RTN_UNICAST, 0), bad: true},
	{name: "wrong family of the destination", in: concat(rtmsg(unix.AF_INET, 24, unix.RTN_UNICAST, 0), attr(unix.RTA_DST, ip("2001:db8::")...)), bad: true},
	{name: "another family", in: rtmsg(unix.AF_MPLS, 0, unix.RTN_UNICAST, 0), bad: true},
	{name: "short", in: make([]byte, unix.SizeofRtMsg-1), bad: true},
}

func TestParseRoute(t *testing.T) {
	for _, tt := range routeMessages {
		t.Run(tt.name, func(t *testing.T) {
			dst, table, hops, err := parseRoute(tt.in)
			if (err != nil) != tt.bad {
				t.Fatalf("error %v", err)
			}
			if err == nil && (dst != prefix(tt.dst) || table != tt.table) {
				t.Errorf("%v in %d, want %s in %d", dst, table, tt.dst, tt.table)
			}
			if diff := cmp.Diff(tt.hops, hops, cmp.AllowUnexported(route{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRouteEvents(t *testing.T) {
	main := request(unix.RTM_DELROUTE, 0, 0, concat(rtmsg(unix.AF_INET, 24, unix.RTN_UNICAST, 0), attr(unix.RTA_DST, ip("192.0.2.0")...)))
	other := request(unix.RTM_NEWROUTE, 0, 0, concat(rtmsg(unix.AF_INET, 24, unix.RTN_UNICAST, 0), attr(unix.RTA_TABLE, u32(100)...)))
	for _, tt := range []struct {
		name string
		in   []byte
		want []routeEvent
	}{
		{"a route", main, []routeEvent{{prefix("192.0.2.0/24")}}},
		{"two", concat(main, other, main), []routeEvent{{prefix("192.0.2.0/24")}, {prefix("192.0.2.0/24")}}},
		{"an interface", request(unix.RTM_NEWLINK, 0, 0, nil), []routeEvent{{}}},
		{"an unreadable route", request(unix.RTM_NEWROUTE, 0, 0, nil), []routeEvent{{}}},
		{"cut off", main[:20], []routeEvent{{}}},
	} {
		if diff := cmp.Diff(tt.want, appendRouteEvents(nil, tt.in), cmp.AllowUnexported(routeEvent{}), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

// FuzzNetlink reads any bytes as datagrams of rtnetlink and of the proc connector.
func FuzzNetlink(f *testing.F) {
	for _, m := range routeMessages {
		f.Add(request(unix.RTM_NEWROUTE, 0, 1, m.in))
	}
	f.Add(procDatagram(eventFork, 10, 9, 20, 20))
	f.Add(procDatagram(eventNone, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, e := range appendRouteEvents(nil, b) {
			if e.prefix.IsValid() && e.prefix != e.prefix.Masked() {
				t.Errorf("host bits in %v", e.prefix)
			}
		}
		if len(b) >= unix.SizeofNlMsghdr {
			_, _, hops, err := parseRoute(b[unix.SizeofNlMsghdr:])
			if err != nil && hops != nil || len(hops) > len(b) {
				t.Errorf("%d hops and %v of %d bytes", len(hops), err, len(b))
			}
		}
		events, _ := appendProcEvents(nil, b)
		for _, e := range events {
			if e.what == 0 {
				t.Errorf("%+v", e)
			}
		}
		if code, _ := parseAcknowledgement(b, 77); code < 0 {
			t.Errorf("errno %d", code)
		}
	})
}

// inotifyEvent is a struct inotify_event.
func inotifyEvent(watch int32, mask uint32, name string) []byte {
	padded := name + strings.Repeat("\x00", 16-len(name)%16)
	if name == "" {
		padded = ""
	}
	return concat(u32(uint32(watch)), u32(mask), u32(0), u32(uint32(len(padded))), []byte(padded))
}

func TestParseInotify(t *testing.T) {
	b := concat(inotifyEvent(1, unix.IN_MODIFY, "number"), inotifyEvent(2, unix.IN_DELETE_SELF, ""))
	got, err := parseInotify(b)
	if err != nil {
		t.Fatal(err)
	}
	want := []fileEvent{{1, unix.IN_MODIFY, "number"}, {2, unix.IN_DELETE_SELF, ""}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(fileEvent{})); diff != "" {
		t.Error(diff)
	}
	for _, in := range [][]byte{b[:len(b)-1], inotifyEvent(-1, unix.IN_Q_OVERFLOW, "")} {
		if _, err := parseInotify(in); err == nil {
			t.Error("nothing seems to be lost")
		}
	}
}

// FuzzInotify reads any bytes as events of inotify.
func FuzzInotify(f *testing.F) {
	f.Add(concat(inotifyEvent(1, unix.IN_MODIFY, "number"), inotifyEvent(2, unix.IN_DELETE_SELF, "")))
	f.Fuzz(func(t *testing.T, b []byte) {
		events, _ := parseInotify(b)
		for _, e := range events {
			if strings.Contains(e.name, "\x00") {
				t.Errorf("%+v", e)
			}
		}
	})
}

// FuzzProc reads any bytes as what /proc and tracked files hold.
func FuzzProc(f *testing.F) {
	f.Add([]byte("12 (a) b (c) R 1 12"))
	f.Add([]byte("/usr/sbin/bird\x00-f\x00"))
	f.Add([]byte("-254"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if comm, alive := parseStat(b); len(comm) > len(b) || !alive && comm != "" {
			t.Errorf("%q, %t", comm, alive)
		}
		if name := firstArgument(b); strings.ContainsRune(name, 0) {
			t.Errorf("%q", name)
		}
		if n, err := parseNumber(string(b)); n < -MaxNumber || n > MaxNumber || err != nil && n != 0 {
			t.Errorf("%d, %v", n, err)
		}
	})
}
