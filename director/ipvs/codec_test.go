package ipvs

import (
	"net/netip"
	"testing"
	"time"

	"github.com/moby/ipvs"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/understudy-ha/understudy/director"
)

func tcp(s string) director.ServiceKey {
	return director.ServiceKey{Protocol: director.TCP, Address: netip.MustParseAddrPort(s)}
}

func TestEncodeMask(t *testing.T) {
	v4, v6 := tcp("192.0.2.1:80"), tcp("[2001:db8::1]:80")
	for _, tt := range []struct {
		name string
		key  director.ServiceKey
		bits uint8
		want []byte // as it lies in memory
	}{
		{"every bit", v4, 32, []byte{255, 255, 255, 255}},
		{"not set", v4, 0, []byte{255, 255, 255, 255}},
		{"24", v4, 24, []byte{255, 255, 255, 0}},
		{"9", v4, 9, []byte{255, 128, 0, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := encodeMask(tt.key, tt.bits)
			if want := *(*[4]byte)(tt.want); memory(got) != want {
				t.Errorf("encodeMask = %v, want %v", memory(got), want)
			}
		})
	}
	if encodeMask(v6, 0) != 128 || encodeMask(v6, 64) != 64 {
		t.Errorf("masks of IPv6 = %d, %d, want the length", encodeMask(v6, 0), encodeMask(v6, 64))
	}
	for _, odd := range [][4]byte{{0, 255, 255, 255}, {255, 0, 255, 0}, {0, 0, 0, 0}} {
		if got := decodeMask(v4, fromMemory(odd)); got != maskOdd {
			t.Errorf("decodeMask of %v = %d, want %d", odd, got, maskOdd)
		}
	}
	if got := decodeMask(v6, 0xffffffff); got != maskOdd {
		t.Errorf("decodeMask of a length beyond IPv6 = %d, want %d", got, maskOdd)
	}
}

func TestDecodeService(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   ipvs.Service
		want director.ServiceSpec
	}{
		{
			name: "what the kernel adds is not seen",
			in:   ipvs.Service{Flags: flagHashed | flagPersistent | 0x10, Timeout: 20, Netmask: fromMemory([4]byte{255, 255, 0, 0})},
			want: director.ServiceSpec{Flags: director.FlagSched2, Persistence: 20 * time.Second, Mask: 16},
		},
		{
			name: "without persistence its settings have no effect",
			in:   ipvs.Service{Flags: flagHashed, Timeout: 20, Netmask: fromMemory([4]byte{255, 0, 0, 0})},
			want: director.ServiceSpec{Mask: 32},
		},
		{
			name: "persistent for no time equals nothing that can be wanted",
			in:   ipvs.Service{Flags: flagHashed | flagPersistent, Netmask: 0xffffffff},
			want: director.ServiceSpec{Flags: flagPersistent, Mask: 32},
		},
		{
			name: "a flag that is not known shows",
			in:   ipvs.Service{Flags: flagHashed | 0x20, Netmask: 0xffffffff},
			want: director.ServiceSpec{Flags: 0x20, Mask: 32},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.in.AddressFamily, tt.in.Protocol, tt.in.Address, tt.in.Port = unix.AF_INET, unix.IPPROTO_TCP, []byte{192, 0, 2, 1}, 80
			k, got, err := decodeService(&tt.in)
			if err != nil || k != tcp("192.0.2.1:80") || got != tt.want {
				t.Errorf("decodeService = %v, %+v, %v, want %+v", k, got, err, tt.want)
			}
		})
	}
	for _, bad := range []ipvs.Service{{Protocol: 6}, {Protocol: 6, Address: []byte{1, 2, 3}}, {Protocol: 256, Address: []byte{1, 2, 3, 4}}} {
		if k, _, err := decodeService(&bad); err == nil {
			t.Errorf("decodeService(%+v) = %v without an error", bad, k)
		}
	}
}

func drawAddrPort(t *rapid.T, six bool) netip.AddrPort {
	n := 4
	if six {
		n = 16
	}
	a, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "address"))
	return netip.AddrPortFrom(a, rapid.Uint16().Draw(t, "port"))
}

// TestRoundTrip writes what may be wanted and reads it back as the kernel
// returns it.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		six := rapid.Bool().Draw(t, "six")
		key := director.ServiceKey{FWMark: rapid.Uint32Min(1).Draw(t, "mark"), IPv6: six}
		if rapid.Bool().Draw(t, "by address") {
			key = director.ServiceKey{Protocol: director.Protocol(rapid.ByteMin(1).Draw(t, "protocol")), Address: drawAddrPort(t, six)}
		}
		bits := uint8(32)
		if six {
			bits = 128
		}
		spec := director.ServiceSpec{
			Scheduler:   "wlc",
			Flags:       director.Flags(rapid.Uint32().Draw(t, "flags") & flagsKnown),
			Persistence: time.Duration(rapid.IntRange(0, 31*86400).Draw(t, "persistence")) * time.Second,
			Mask:        bits,
		}
		if spec.Persistence > 0 {
			spec.Mask = rapid.Uint8Range(1, bits).Draw(t, "mask")
		}
		change := change{Op: director.Create, Key: director.Key{Service: key}, New: director.Spec{Service: spec}}
		if key.Address.Addr().Is4In6() {
			return
		}
		if err := check(change); err != nil {
			t.Fatal(err)
		}
		wire := encodeService(key, spec)
		wire.Flags |= flagHashed
		if k, s, err := decodeService(wire); err != nil || k != key || s != spec {
			t.Fatalf("service %v %+v came back as %v %+v, %v", key, spec, k, s, err)
		}

		server := director.ServerSpec{
			Weight:  rapid.IntRange(0, 65535).Draw(t, "weight"),
			Forward: rapid.SampledFrom([]director.Forward{director.NAT, director.TUN, director.DR}).Draw(t, "forward"),
			Upper:   rapid.Uint32().Draw(t, "upper"), Lower: rapid.Uint32().Draw(t, "lower"),
		}
		full := director.Key{Service: key, Server: drawAddrPort(t, six)}
		if full.Server.Addr().Is4In6() {
			return
		}
		change.Key, change.New = full, director.Spec{Server: server}
		if err := check(change); err != nil && full.Server != (netip.AddrPort{}) {
			t.Fatal(err)
		}
		d := encodeServer(full, server)
		d.ConnectionFlags |= 0x200 // the kernel's own bits
		if a, s, err := decodeServer(d); err != nil || a != full.Server || s != server {
			t.Fatalf("server %v %+v came back as %v %+v, %v", full, server, a, s, err)
		}
	})
}

func TestCheck(t *testing.T) {
	web, web6 := tcp("192.0.2.1:80"), tcp("[2001:db8::1]:80")
	server := func(s director.ServiceKey, a string) director.Key {
		return director.Key{Service: s, Server: netip.MustParseAddrPort(a)}
	}
	rr := director.ServiceSpec{Scheduler: "rr"}
	with := func(f func(*director.ServiceSpec)) director.Spec {
		s := rr
		f(&s)
		return director.Spec{Service: s}
	}
	for _, tt := range []struct {
		name string
		op   director.Op
		key  director.Key
		spec director.Spec
		ok   bool
	}{
		{"service", director.Create, director.Key{Service: web}, director.Spec{Service: rr}, true},
		{"no scheduler", director.Create, director.Key{Service: web}, director.Spec{}, false},
		{"a scheduler too long", director.Create, director.Key{Service: web}, with(func(s *director.ServiceSpec) { s.Scheduler = "sixteen-bytes-xx" }), false},
		{"half a second", director.Update, director.Key{Service: web}, with(func(s *director.ServiceSpec) { s.Persistence = time.Second / 2 }), false},
		{"two months", director.Update, director.Key{Service: web}, with(func(s *director.ServiceSpec) { s.Persistence = 62 * 24 * time.Hour }), false},
		{"mask of 33 bits", director.Update, director.Key{Service: web}, with(func(s *director.ServiceSpec) { s.Mask = 33 }), false},
		{"mask of 64 bits", director.Update, director.Key{Service: web6}, with(func(s *director.ServiceSpec) { s.Mask = 64 }), true},
		{"a flag of the kernel", director.Update, director.Key{Service: web}, with(func(s *director.ServiceSpec) { s.Flags = flagHashed }), false},
		{"no service at all", director.Create, director.Key{}, director.Spec{Service: rr}, false},
		{"both kinds of service", director.Create, director.Key{Service: director.ServiceKey{FWMark: 1, Protocol: 6}}, director.Spec{Service: rr}, false},
		{"server", director.Create, server(web, "192.0.2.2:80"), director.Spec{}, true},
		{"six behind four", director.Create, server(web, "[2001:db8::2]:80"), director.Spec{}, false},
		{"four behind six", director.Create, server(web6, "192.0.2.2:80"), director.Spec{}, false},
		{"four in six behind six", director.Create, server(web6, "[::ffff:192.0.2.2]:80"), director.Spec{}, false},
		{"four behind a mark of six", director.Create, server(director.ServiceKey{FWMark: 1, IPv6: true}, "192.0.2.2:80"), director.Spec{}, false},
		{"weight", director.Create, server(web, "192.0.2.2:80"), director.Spec{Server: director.ServerSpec{Weight: 65536}}, false},
		{"negative weight", director.Create, server(web, "192.0.2.2:80"), director.Spec{Server: director.ServerSpec{Weight: -1}}, false},
		{"local node", director.Create, server(web, "192.0.2.2:80"), director.Spec{Server: director.ServerSpec{Forward: 1}}, false},
		{"deletion of a server of another family", director.Delete, server(web, "[2001:db8::2]:80"), director.Spec{}, false},
		{"deletion of a service", director.Delete, director.Key{Service: web}, director.Spec{}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := check(change{Op: tt.op, Key: tt.key, New: tt.spec})
			if ok := err == nil; ok != tt.ok {
				t.Errorf("check = %v, want it accepted: %v", err, tt.ok)
			}
		})
	}
}
