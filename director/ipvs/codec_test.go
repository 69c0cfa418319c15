package ipvs

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

func tcp(s string) director.ServiceKey {
	return director.ServiceKey{Protocol: director.TCP, Address: netip.MustParseAddrPort(s)}
}

func TestMask(t *testing.T) {
	v4, v6 := tcp("192.0.2.1:80"), tcp("[2001:db8::1]:80")
	for _, tt := range []struct {
		name string
		key  director.ServiceKey
		in   uint8
		want uint32
	}{
		{"every bit", v4, 32, 0xffffffff},
		{"not set", v4, 0, 0xffffffff},
		{"24", v4, 24, 0xffffff00},
		{"9", v4, 9, 0xff800000},
		{"1", v4, 1, 0x80000000},
		{"every bit of IPv6", v6, 128, 128},
		{"not set of IPv6", v6, 0, 128},
		{"64 of IPv6", v6, 64, 64},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := encodeMask(tt.key, tt.in)
			if got != tt.want {
				t.Errorf("encodeMask = %#x, want %#x", got, tt.want)
			}
			if back := decodeMask(tt.key, got); back != tt.in && tt.in != 0 {
				t.Errorf("decodeMask = %d, want %d", back, tt.in)
			}
		})
	}
	for _, odd := range []uint32{0x00ffffff, 0xff00ff00, 0} {
		if got := decodeMask(v4, odd); got != maskOdd {
			t.Errorf("decodeMask of %#x = %d, want %d", odd, got, maskOdd)
		}
	}
	if got := decodeMask(v6, 0xffffffff); got != maskOdd {
		t.Errorf("decodeMask of a length beyond IPv6 = %d, want %d", got, maskOdd)
	}
}

func TestDecodeService(t *testing.T) {
	const persistent, hashed = genl.FlagPersistent, genl.FlagHashed
	for _, tt := range []struct {
		name string
		in   genl.Service
		want director.ServiceSpec
	}{
		{
			name: "what the kernel adds is not seen",
			in:   genl.Service{Flags: hashed | persistent | 0x10, Timeout: 20, Netmask: 0xffff0000, Engine: "sip"},
			want: director.ServiceSpec{Flags: director.FlagSched2, Persistence: 20 * time.Second, Mask: 16, Engine: "sip"},
		},
		{
			name: "without persistence its settings have no effect",
			in:   genl.Service{Flags: hashed, Timeout: 20, Netmask: 0xff000000},
			want: director.ServiceSpec{Mask: 32},
		},
		{
			name: "persistent for no time equals nothing that can be wanted",
			in:   genl.Service{Flags: hashed | persistent, Netmask: 0xffffffff},
			want: director.ServiceSpec{Flags: director.Flags(persistent), Mask: 32},
		},
		{
			name: "a flag that is not known shows",
			in:   genl.Service{Flags: hashed | 0x40, Netmask: 0xffffffff},
			want: director.ServiceSpec{Flags: 0x40, Mask: 32},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.in.ServiceID = ServiceID(tcp("192.0.2.1:80"))
			k, got, err := decodeService(&tt.in)
			if err != nil || k != tcp("192.0.2.1:80") || got != tt.want {
				t.Errorf("decodeService = %v, %+v, %v, want %+v", k, got, err, tt.want)
			}
		})
	}
	for _, bad := range []genl.ServiceID{{Protocol: 6}, {Protocol: 256, Address: netip.MustParseAddr("192.0.2.1")}} {
		if k, _, err := decodeService(&genl.Service{ServiceID: bad}); err == nil {
			t.Errorf("decodeService(%+v) = %v without an error", bad, k)
		}
	}
}

func TestDecodeServer(t *testing.T) {
	addr := netip.MustParseAddr("192.0.2.2")
	for _, tt := range []struct {
		name string
		in   genl.Destination
		want director.ServerSpec
	}{
		{
			name: "a tunnel that is not in use",
			in:   genl.Destination{Method: genl.DirectRoute, Weight: 1, TunnelType: 1, TunnelPort: 6080, TunnelFlag: 1},
			want: director.ServerSpec{Weight: 1, Forward: director.DR},
		},
		{
			name: "the port of an IPIP tunnel is drift",
			in:   genl.Destination{Method: genl.Tunnelled, Weight: 1, TunnelPort: 6080},
			want: director.ServerSpec{Weight: 1, Forward: director.TUN, Tunnel: director.Tunnel{Port: 6080}},
		},
		{
			name: "a flag that is not known is drift",
			in:   genl.Destination{Method: genl.Tunnelled, Weight: 1, TunnelFlag: 0x101},
			want: director.ServerSpec{Weight: 1, Forward: director.TUN, Tunnel: director.Tunnel{Checksum: 255}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.in.Address = addr
			if _, got, err := decodeServer(&tt.in); err != nil || got != tt.want {
				t.Errorf("decodeServer = %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
	if _, _, err := decodeServer(&genl.Destination{}); err == nil {
		t.Error("a server without an address is none")
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
			Flags:       director.Flags(rapid.Uint32().Draw(t, "flags")) & flagsKnown,
			Persistence: time.Duration(rapid.IntRange(0, 31*86400).Draw(t, "persistence")) * time.Second,
			Mask:        bits,
			Engine:      rapid.SampledFrom([]string{"", "sip"}).Draw(t, "engine"),
		}
		if spec.Persistence > 0 {
			spec.Mask = rapid.Uint8Range(1, bits).Draw(t, "mask")
		}
		change := change{Op: director.Create, Key: director.Key{Service: key}, New: director.Spec{Service: spec}}
		if key.Address.Addr().Is4In6() {
			return
		}
		if err := check(&change); err != nil {
			t.Fatal(err)
		}
		wire := encodeService(key, spec)
		wire.Flags |= genl.FlagHashed
		if k, s, err := decodeService(&wire); err != nil || k != key || s != spec {
			t.Fatalf("service %v %+v came back as %v %+v, %v", key, spec, k, s, err)
		}

		full := director.Key{Service: key, Server: drawAddrPort(t, rapid.Bool().Draw(t, "six server"))}
		if full.Server.Addr().Is4In6() {
			return
		}
		server := drawServer(t, mixed(full))
		change.Key, change.New = full, director.Spec{Server: server}
		if err := check(&change); err != nil {
			t.Fatal(err)
		}
		d := encodeServer(full, server)
		if a, s, err := decodeServer(&d); err != nil || a != full.Server || s != server {
			t.Fatalf("server %v %+v came back as %v %+v, %v", full, server, a, s, err)
		}
	})
}

func drawServer(t *rapid.T, mixed bool) director.ServerSpec {
	s := director.ServerSpec{
		Weight:  rapid.IntRange(0, 65535).Draw(t, "weight"),
		Forward: rapid.SampledFrom([]director.Forward{director.NAT, director.Local, director.TUN, director.DR}).Draw(t, "forward"),
		Upper:   rapid.Uint32().Draw(t, "upper"),
	}
	s.Lower = rapid.Uint32Max(s.Upper).Draw(t, "lower")
	if mixed {
		s.Forward = director.TUN
	}
	if s.Forward == director.TUN {
		s.Tunnel = rapid.SampledFrom([]director.Tunnel{
			{},
			{Type: director.GRE}, {Type: director.GRE, Checksum: director.Checksum},
			{Type: director.GUE, Port: 6080}, {Type: director.GUE, Port: 1, Checksum: director.Checksum},
			{Type: director.GUE, Port: 65535, Checksum: director.RemoteChecksum},
		}).Draw(t, "tunnel")
	}
	return s
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
	tunnel := func(t director.Tunnel) director.Spec {
		return director.Spec{Server: director.ServerSpec{Forward: director.TUN, Tunnel: t}}
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
		{"a flag of the kernel", director.Update, director.Key{Service: web}, with(func(s *director.ServiceSpec) { s.Flags = director.Flags(genl.FlagHashed) }), false},
		{"no service at all", director.Create, director.Key{}, director.Spec{Service: rr}, false},
		{"both kinds of service", director.Create, director.Key{Service: director.ServiceKey{FWMark: 1, Protocol: 6}}, director.Spec{Service: rr}, false},
		{"server", director.Create, server(web, "192.0.2.2:80"), director.Spec{}, true},
		{"six behind four", director.Create, server(web, "[2001:db8::2]:80"), director.Spec{}, false},
		{"four behind six", director.Create, server(web6, "192.0.2.2:80"), director.Spec{}, false},
		{"four in six behind six", director.Create, server(web6, "[::ffff:192.0.2.2]:80"), director.Spec{}, false},
		{"four behind a mark of six", director.Create, server(director.ServiceKey{FWMark: 1, IPv6: true}, "192.0.2.2:80"), director.Spec{}, false},
		{"weight", director.Create, server(web, "192.0.2.2:80"), director.Spec{Server: director.ServerSpec{Weight: 65536}}, false},
		{"negative weight", director.Create, server(web, "192.0.2.2:80"), director.Spec{Server: director.ServerSpec{Weight: -1}}, false},
		{"local node", director.Create, server(web, "192.0.2.2:80"), director.Spec{Server: director.ServerSpec{Forward: director.Local}}, true},
		{"bypass", director.Create, server(web, "192.0.2.2:80"), director.Spec{Server: director.ServerSpec{Forward: 4}}, false},
		{"thresholds the wrong way round", director.Create, server(web, "192.0.2.2:80"), director.Spec{Server: director.ServerSpec{Upper: 1, Lower: 2}}, false},
		{"six behind four in a tunnel", director.Create, server(web, "[2001:db8::2]:80"), tunnel(director.Tunnel{}), true},
		{"four behind six in a tunnel", director.Update, server(web6, "192.0.2.2:80"), tunnel(director.Tunnel{Type: director.GRE}), true},
		{"a tunnel without forwarding by it", director.Create, server(web, "192.0.2.2:80"), director.Spec{Server: director.ServerSpec{Forward: director.DR, Tunnel: director.Tunnel{Type: director.GRE}}}, false},
		{"a tunnel of unknown type", director.Create, server(web, "192.0.2.2:80"), tunnel(director.Tunnel{Type: 3}), false},
		{"GUE without a port", director.Create, server(web, "192.0.2.2:80"), tunnel(director.Tunnel{Type: director.GUE}), false},
		{"GRE with a port", director.Create, server(web, "192.0.2.2:80"), tunnel(director.Tunnel{Type: director.GRE, Port: 1}), false},
		{"IPIP with a checksum", director.Create, server(web, "192.0.2.2:80"), tunnel(director.Tunnel{Checksum: director.Checksum}), false},
		{"GRE with a remote checksum", director.Create, server(web, "192.0.2.2:80"), tunnel(director.Tunnel{Type: director.GRE, Checksum: director.RemoteChecksum}), false},
		{"an unknown checksum", director.Create, server(web, "192.0.2.2:80"), tunnel(director.Tunnel{Type: director.GUE, Port: 1, Checksum: 3}), false},
		{"an engine too long", director.Create, director.Key{Service: web}, with(func(s *director.ServiceSpec) { s.Engine = "sixteen-bytes-xx" }), false},
		{"sched-3", director.Create, director.Key{Service: web}, with(func(s *director.ServiceSpec) { s.Flags = director.FlagSched3 }), true},
		{"deletion of a server of another family", director.Delete, server(web, "[2001:db8::2]:80"), director.Spec{}, true},
		{"deletion of a service", director.Delete, director.Key{Service: web}, director.Spec{}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := check(&change{Op: tt.op, Key: tt.key, New: tt.spec})
			if ok := err == nil; ok != tt.ok {
				t.Errorf("check = %v, want it accepted: %v", err, tt.ok)
			}
		})
	}
}
