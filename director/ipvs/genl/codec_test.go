package genl

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

var (
	sip = Service{
		ServiceID: ServiceID{Family: unix.AF_INET, Protocol: unix.IPPROTO_UDP, Port: 5060, Address: netip.MustParseAddr("192.0.2.1")},
		Scheduler: "mh", Engine: "sip", Flags: FlagPersistent | FlagSched2, Timeout: 300, Netmask: 0xffffff00,
	}
	mark6 = Service{ServiceID: ServiceID{Family: unix.AF_INET6, FWMark: 7}, Scheduler: "rr", Netmask: 64}
	gue   = Destination{
		Address: netip.MustParseAddr("192.0.2.2"), Port: 5060, Weight: 100, Method: Tunnelled,
		Upper: 20, Lower: 10, TunnelType: 1, TunnelPort: 6080, TunnelFlag: 1,
	}
	six    = Destination{Address: netip.MustParseAddr("2001:db8::2"), Weight: 1, Method: DirectRoute}
	master = Daemon{State: DaemonMaster, Interface: "lo", ID: 5, MaxLen: 1472, Group: netip.MustParseAddr("224.0.0.81"), Port: 8848, TTL: 1}
	backup = Daemon{State: DaemonBackup, Interface: "lo", ID: 5, MaxLen: 1024, Group: netip.MustParseAddr("ff02::5"), Port: 1234, TTL: 3}
)

var equalAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// TestWire has the attributes of messages, byte for byte, on a little-endian
// machine.
func TestWire(t *testing.T) {
	if native.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the bytes are little-endian")
	}
	web := Service{ServiceID: sip.ServiceID}
	const (
		webID = "06000100 02000000" + // family
			"06000200 11000000" + // protocol
			"08000300 c0000201" + // address
			"06000400 13c40000" // port, in network order
		content = "06000b00 02000000" + // family
			"08000100 c0000202" + // address
			"06000200 13c40000" + // port
			"08000300 02000000" + // method
			"08000400 64000000" + // weight
			"08000500 14000000" + // upper threshold
			"08000600 0a000000" + // lower threshold
			"05000d00 01000000" + // tunnel type
			"06000e00 17c00000" + // tunnel port, in network order
			"06000f00 01000000" // tunnel flags
	)
	for _, tt := range []struct {
		name string
		in   Message
		want string
	}{
		{"new service", Message{Op: NewService, Service: sip}, "50000180" + webID +
			"07000600 6d680000" + // scheduler
			"08000b00 73697000" + // engine
			"0c000700 11000000 ffffffff" + // flags with their mask
			"08000800 2c010000" + // timeout
			"08000900 ffffff00"}, // IPv4: a mask in network order
		{"set service of IPv6 by mark", Message{Op: SetService, Service: mark6}, "38000180" +
			"06000100 0a000000" + "08000500 07000000" + "07000600 72720000" +
			"0c000700 00000000 ffffffff" + "08000800 00000000" +
			"08000900 40000000"}, // IPv6: a length
		{"hashed is the kernel's", Message{Op: SetService, Service: Service{ServiceID: mark6.ServiceID, Scheduler: "rr", Flags: FlagHashed | FlagOnePacket, Netmask: 128}}, "38000180" +
			"06000100 0a000000" + "08000500 07000000" + "07000600 72720000" +
			"0c000700 04000000 ffffffff" + "08000800 00000000" + "08000900 80000000"},
		{"delete service", Message{Op: DelService, Service: web}, "24000180" + webID},
		{"new server", Message{Op: NewDest, Service: web, Dest: gue}, "24000180" + webID + "54000280" + content},
		{"set server", Message{Op: SetDest, Service: sip, Dest: gue}, "24000180" + webID + "54000280" + content},
		{"delete server of IPv6", Message{Op: DelDest, Service: web, Dest: six}, "24000180" + webID +
			"28000280" + "06000b00 0a000000" + "14000100 20010db8000000000000000000000002" + "06000200 00000000"},
		{"start master", Message{Op: NewDaemon, Daemon: Daemon{State: DaemonMaster, Interface: "eth0", ID: 9}}, "20000380" +
			"08000100 01000000" + "09000200 65746830 00000000" + "08000300 09000000"},
		{"start backup", Message{Op: NewDaemon, Daemon: backup}, "48000380" +
			"08000100 02000000" + "07000200 6c6f0000" + "08000300 05000000" +
			"06000400 00040000" + "14000600 ff020000000000000000000000000005" + "06000700 d2040000" + "05000800 03000000"},
		{"group of IPv4", Message{Op: NewDaemon, Daemon: Daemon{State: DaemonMaster, Interface: "lo", Group: master.Group}}, "24000380" +
			"08000100 01000000" + "07000200 6c6f0000" + "08000300 00000000" + "08000500 e0000051"},
		{"stop backup", Message{Op: DelDaemon, Daemon: Daemon{State: DaemonBackup}}, "0c000380 08000100 02000000"},
		{"timeouts", Message{Op: SetConfig, Timeouts: Timeouts{TCP: 900, UDP: 300}}, "08000400 84030000 08000500 00000000 08000600 2c010000"},
		{"zero", Message{Op: Zero, Service: web}, "24000180" + webID},
		{"zero all", Message{Op: Zero}, ""},
		{"flush", Message{Op: Flush}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := appendMessage(nil, &tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(strings.ReplaceAll(tt.want, " ", ""), hex.EncodeToString(got)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}

	b := begin(nil, 28, unix.NLM_F_DUMP, 7, getService, familyVersion)
	finish(b, 0)
	if got, want := hex.EncodeToString(b), "14000000"+"1c00"+"0103"+"07000000"+"00000000"+"04010000"; got != want {
		t.Errorf("headers = %s, want %s", got, want)
	}
}

func TestEncodeRefuses(t *testing.T) {
	bad := func(f func(*Service)) Service {
		s := sip
		f(&s)
		return s
	}
	for name, m := range map[string]Message{
		"operation":           {Op: 99, Service: sip},
		"family":              {Op: DelService},
		"address":             {Op: DelService, Service: Service{ServiceID: ServiceID{Family: unix.AF_INET}}},
		"address of family":   {Op: DelService, Service: bad(func(s *Service) { s.Family = unix.AF_INET6 })},
		"no scheduler":        {Op: NewService, Service: bad(func(s *Service) { s.Scheduler = "" })},
		"a long scheduler":    {Op: NewService, Service: bad(func(s *Service) { s.Scheduler = "sixteen-bytes-xx" })},
		"a zero in an engine": {Op: NewService, Service: bad(func(s *Service) { s.Engine = "s\x00p" })},
		"server":              {Op: NewDest, Service: sip},
		"service of a server": {Op: NewDest, Dest: gue},
		"interface":           {Op: NewDaemon, Daemon: Daemon{State: DaemonMaster}},
	} {
		if b, err := appendMessage(nil, &m); err == nil {
			t.Errorf("%s: encoded as %x", name, b)
		}
	}
}

func TestParseRecorded(t *testing.T) {
	var p parser
	service := func(name string) Service {
		s, err := p.service(recorded(t, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return s
	}
	server := func(name string) Destination {
		d, err := p.destination(unix.AF_INET, recorded(t, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return d
	}
	daemon := func(name string) Daemon {
		d, err := p.daemon(recorded(t, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return d
	}
	got := []any{service("service"), service("service-fwmark6"), server("server-gue"), server("server6"), daemon("daemon-master"), daemon("daemon-backup")}
	if d := cmp.Diff([]any{sip, mark6, gue, six, master, backup}, got, equalAddr); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	var to Timeouts
	if err := numbers(recorded(t, "timeouts"), map[uint16]*uint32{cmdTimeoutTCP: &to.TCP, cmdTimeoutFin: &to.TCPFin, cmdTimeoutUDP: &to.UDP}); err != nil || to != (Timeouts{TCP: 900, TCPFin: 120, UDP: 300}) {
		t.Errorf("timeouts = %+v, %v", to, err)
	}
	var i Info
	if err := numbers(recorded(t, "info"), map[uint16]*uint32{infoVersion: &i.Version, infoConnSize: &i.ConnSize}); err != nil || i != (Info{Version: 0x010201, ConnSize: 4096}) {
		t.Errorf("info = %+v, %v", i, err)
	}
}

// body returns what an answer consists of.
func body(command uint8, kind uint16, attrs []byte) []byte {
	b, start := nest([]byte{command, familyVersion, 0, 0}, kind)
	return unnest(append(b, attrs...), start)
}

func stats(kind uint16, put func(b []byte, kind uint16) []byte) []byte {
	b, start := nest(nil, kind)
	for i := range uint16(statsCount) {
		b = put(b, i+1)
	}
	return unnest(b, start)
}

func u64(b []byte, kind uint16, v uint64) []byte { return native.AppendUint64(head(b, kind, 8), v) }

// TestParseStats prefers the wide counters, and takes the narrow ones of a
// kernel that has no others.
func TestParseStats(t *testing.T) {
	narrow := stats(destStats, func(b []byte, kind uint16) []byte {
		if kind == 4 || kind == 5 {
			return u64(b, kind, uint64(kind)<<40)
		}
		return u32(b, kind, uint32(kind))
	})
	wide := stats(destStats64, func(b []byte, kind uint16) []byte { return u64(b, kind, uint64(kind)<<32) })
	id := address(nil, destAddress, gue.Address)
	var p parser
	for _, tt := range []struct {
		name string
		in   []byte
		want Stats
	}{
		{"none", nil, Stats{}},
		{"narrow", narrow, Stats{1, 2, 3, 4 << 40, 5 << 40, 6, 7, 8, 9, 10}},
		{"both", append(narrow, wide...), Stats{1 << 32, 2 << 32, 3 << 32, 4 << 32, 5 << 32, 6 << 32, 7 << 32, 8 << 32, 9 << 32, 10 << 32}},
	} {
		d, err := p.destination(unix.AF_INET, body(getDest, cmdDest, append(id[:len(id):len(id)], tt.in...)))
		if err != nil || d.Stats != tt.want {
			t.Errorf("%s: %+v, %v, want %+v", tt.name, d.Stats, err, tt.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	var p parser
	flags := head(nil, svcFlags, 8)
	flags = append(flags, make([]byte, 8)...)
	for name, attrs := range map[string][]byte{
		"nothing":    nil,
		"no flags":   u32(u16(u32(nil, svcFWMark, 1), svcFamily, unix.AF_INET), svcNetmask, 0),
		"no mask":    append(u16(u32(nil, svcFWMark, 1), svcFamily, unix.AF_INET), flags...),
		"no family":  append(u32(u32(nil, svcFWMark, 1), svcNetmask, 0), flags...),
		"no address": append(u32(u16(nil, svcFamily, unix.AF_INET), svcNetmask, 0), flags...),
		"half an address": append(address(u32(u16(nil, svcFamily, unix.AF_INET6), svcNetmask, 0), svcAddress,
			gue.Address), flags...),
	} {
		if s, err := p.service(body(getService, cmdService, attrs)); err == nil {
			t.Errorf("%s: parsed as %+v", name, s)
		}
	}
	if d, err := p.destination(unix.AF_INET, body(getDest, cmdDest, nil)); err == nil {
		t.Errorf("server parsed as %+v", d)
	}
	if d, err := p.destination(unix.AF_INET, body(getDest, cmdService, address(nil, destAddress, gue.Address))); err == nil {
		t.Errorf("service parsed as server %+v", d)
	}
	if d, err := p.daemon(body(getDaemon, cmdDaemon, u32(nil, daemonState, 3))); err == nil {
		t.Errorf("daemon parsed as %+v", d)
	}
}

// TestRoundTrip reads what was written: the kernel has the same attributes both
// ways.
func TestRoundTrip(t *testing.T) {
	var p parser
	rapid.Check(t, func(t *rapid.T) {
		addr := func(six bool) netip.Addr {
			n := 4
			if six {
				n = 16
			}
			a, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "address"))
			return a
		}
		six := rapid.Bool().Draw(t, "six")
		s := Service{
			Scheduler: rapid.StringMatching("[a-z]{1,15}").Draw(t, "scheduler"),
			Engine:    rapid.StringMatching("[a-z]{0,15}").Draw(t, "engine"),
			Flags:     rapid.Uint32().Draw(t, "flags") &^ FlagHashed,
			Timeout:   rapid.Uint32().Draw(t, "timeout"),
			Netmask:   rapid.Uint32().Draw(t, "mask"),
		}
		s.Family = unix.AF_INET
		if six {
			s.Family = unix.AF_INET6
		}
		if s.FWMark = rapid.Uint32().Draw(t, "mark"); s.FWMark == 0 || rapid.Bool().Draw(t, "by address") {
			s.FWMark, s.Address = 0, addr(six)
			s.Protocol, s.Port = rapid.Uint16().Draw(t, "protocol"), rapid.Uint16().Draw(t, "port")
		}
		b, err := appendService([]byte{getService, 1, 0, 0}, &s, true)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.service(b); err != nil || got != s {
			t.Fatalf("service came back as %+v, %v", got, err)
		}
		d := Destination{
			Address: addr(rapid.Bool().Draw(t, "six server")), Port: rapid.Uint16().Draw(t, "port"),
			Method: rapid.Uint32Max(4).Draw(t, "method"), Weight: rapid.Int32().Draw(t, "weight"),
			Upper: rapid.Uint32().Draw(t, "upper"), Lower: rapid.Uint32().Draw(t, "lower"),
			TunnelType: rapid.Byte().Draw(t, "type"), TunnelPort: rapid.Uint16().Draw(t, "tunnel port"), TunnelFlag: rapid.Uint16().Draw(t, "flag"),
		}
		if b, err = appendDest([]byte{getDest, 1, 0, 0}, &d, true); err != nil {
			t.Fatal(err)
		}
		if got, err := p.destination(s.Family, b); err != nil || got != d {
			t.Fatalf("server came back as %+v, %v", got, err)
		}
		y := Daemon{
			State: DaemonState(rapid.Uint32Range(1, 2).Draw(t, "state")), Interface: rapid.StringMatching("[a-z]{1,15}").Draw(t, "interface"),
			ID: rapid.Byte().Draw(t, "id"), MaxLen: rapid.Uint16().Draw(t, "length"), Group: addr(six),
			Port: rapid.Uint16().Draw(t, "port"), TTL: rapid.Byte().Draw(t, "ttl"),
		}
		if b, err = appendDaemon([]byte{getDaemon, 1, 0, 0}, &y, true); err != nil {
			t.Fatal(err)
		}
		if got, err := p.daemon(b); err != nil || got != y {
			t.Fatalf("daemon came back as %+v, %v", got, err)
		}
	})
}

// FuzzParse gives the parsers anything.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"service", "service-fwmark6", "server-gue", "server6", "daemon-master", "daemon-backup", "timeouts", "info"} {
		f.Add(recorded(f, name))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var p parser
		if s, err := p.service(b); err == nil {
			if _, err := appendID(nil, s.ServiceID); err != nil {
				t.Errorf("a service was read that cannot be named: %v", err)
			}
		}
		if d, err := p.destination(unix.AF_INET, b); err == nil && !d.Address.IsValid() {
			t.Error("a server was read without an address")
		}
		_, _ = p.daemon(b)
		var n uint32
		_ = numbers(b, map[uint16]*uint32{1: &n})
		_ = answer(message{kind: unix.NLMSG_ERROR, flags: unix.NLM_F_ACK_TLVS, body: b})
		for rest := b; len(rest) > 0; {
			before := len(rest)
			m, more, err := next(rest)
			if err != nil {
				break
			}
			if len(more) >= before || len(m.body) > before {
				t.Fatal("no progress")
			}
			rest = more
		}
		if len(p.names) > maxNames {
			t.Errorf("%d names are kept", len(p.names))
		}
	})
}

// BenchmarkParse reads a server as a listing does.
func BenchmarkParse(b *testing.B) {
	var p parser
	server := recorded(b, "server-gue")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.destination(unix.AF_INET, server); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEncode makes the message that changes a server.
func BenchmarkEncode(b *testing.B) {
	m := Message{Op: SetDest, Service: sip, Dest: gue}
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = begin(out[:0], testFamily, 0, 1, uint8(m.Op), familyVersion)
		var err error
		if out, err = appendMessage(out, &m); err != nil {
			b.Fatal(err)
		}
		finish(out, 0)
	}
}
