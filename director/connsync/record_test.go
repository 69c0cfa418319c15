package connsync

import (
	"encoding/hex"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

var update = flag.Bool("update", false, "rewrite golden files")

var testTimeouts = genl.Timeouts{TCP: 900, TCPFin: 120, UDP: 300}

// testTable has a service of every kind.
func testTable() *table {
	t := newTable(testTimeouts)
	add := func(protocol uint16, address string, mark uint32, servers ...string) {
		s := genl.Service{ServiceID: genl.ServiceID{Family: familyV4, Protocol: protocol, FWMark: mark}}
		if address != "" {
			a := end(address)
			s.Address, s.Port, s.Family = a.Addr(), a.Port(), familyOf(a.Addr())
		}
		var dests []genl.Destination
		for _, text := range servers {
			var method uint32
			address, _, _ := strings.Cut(text, " ")
			fmt.Sscanf(text[len(address):], "%d", &method)
			a := end(address)
			dests = append(dests, genl.Destination{Address: a.Addr(), Port: a.Port(), Method: method})
		}
		t.add(&s, dests)
	}
	add(protoTCP, "10.9.0.100:80", 0, "10.8.0.21:80 0", "10.8.0.22:80 3")
	add(protoTCP, "10.9.0.100:81", 0, "10.8.0.21:81 2")
	add(protoTCP, "10.9.0.100:82", 0)
	add(protoTCP, "10.9.0.100:83", 0, "10.8.0.21:83 3", "10.8.0.22:83 3")
	add(protoTCP, "10.9.0.100:83", 0, "10.8.0.22:83 2")
	add(protoUDP, "10.9.0.100:0", 0, "10.8.0.21:0 2")
	add(protoSCTP, "10.9.0.100:80", 0, "10.8.0.21:80 0")
	add(protoUDP, "[fd09::100]:53", 0, "[fd08::21]:53 0")
	add(0, "", 7, "10.8.0.21:0 3", "10.8.0.31:0 1")
	add(0, "", 8, "10.8.0.41:0 2")
	return t
}

func entry(protocol uint8, state uint16, client, virtual, server string) Entry {
	return Entry{Protocol: protocol, State: state, Client: end(client), Virtual: end(virtual), Server: end(server), Expires: 42}
}

func TestRecord(t *testing.T) {
	const c, v = "10.9.0.10:1234", "10.9.0.100:80"
	sip := entry(protoUDP, 0, "10.9.0.10:0", "10.9.0.100:5060", "10.8.0.21:5060")
	sip.Engine, sip.Data = "sip", "call"
	long := sip
	long.Data = strings.Repeat("x", 256)
	for _, tt := range []struct {
		name    string
		in      Entry
		flags   uint32
		mark    uint32
		timeout uint32
		want    Omission
	}{
		{"established, masqueraded", entry(protoTCP, tcpEstablished, c, v, "10.8.0.21:80"), 0, 0, 900, omitNone},
		{"established, routed", entry(protoTCP, tcpEstablished, c, v, "10.8.0.22:80"), 0x83, 0, 900, omitNone},
		{"closing", entry(protoTCP, tcpFinWait, c, v, "10.8.0.21:80"), 0x100, 0, 42, omitNone},
		{"waiting to close", entry(protoTCP, tcpCloseWait, c, v, "10.8.0.22:80"), 0x183, 0, 42, omitNone},
		{"opening", entry(protoTCP, tcpSynRecv, c, v, "10.8.0.21:80"), 0, 0, 0, OmitPassing},
		{"last ack", entry(protoTCP, 8, c, v, "10.8.0.21:80"), 0, 0, 0, OmitPassing},
		{"a server that is gone", entry(protoTCP, tcpEstablished, c, v, "10.8.0.29:80"), 0, 0, 0, OmitServer},
		{"gone, but all were alike", entry(protoTCP, tcpEstablished, c, "10.9.0.100:81", "10.8.0.29:81"), 0x82, 0, 900, omitNone},
		{"a service that is gone", entry(protoTCP, tcpEstablished, c, "10.9.0.101:80", "10.8.0.99:80"), 0, 0, 0, OmitService},
		{"a service without servers", entry(protoTCP, tcpEstablished, c, "10.9.0.100:82", "10.8.0.21:82"), 0, 0, 0, OmitServer},
		{"down, but configured", entry(protoTCP, tcpEstablished, c, "10.9.0.100:83", "10.8.0.21:83"), 0x83, 0, 900, omitNone},
		{"otherwise in the table than configured", entry(protoTCP, tcpEstablished, c, "10.9.0.100:83", "10.8.0.22:83"), 0x82, 0, 900, omitNone},
		{"all ports", entry(protoUDP, 0, c, "10.9.0.100:99", "10.8.0.21:99"), 0x182, 0, 300, omitNone},
		{"template", entry(protoTCP, 1, "10.9.0.0:0", "10.9.0.100:81", "10.8.0.21:81"), 0x1182, 0, 42, omitNone},
		{"template of all ports", entry(protoUDP, 0, "10.9.0.10:0", "10.9.0.100:0", "10.8.0.21:0"), 0x1182, 0, 42, omitNone},
		{"template of a mark", entry(protoNone, 1, "10.9.0.10:0", "0.0.0.7:0", "10.8.0.21:0"), 0x1183, 7, 42, omitNone},
		{"template of an unknown mark", entry(protoNone, 1, "10.9.0.10:0", "0.0.0.9:0", "10.8.0.21:0"), 0, 0, 0, OmitService},
		{"connection of a mark", entry(protoTCP, tcpEstablished, c, "10.9.0.77:77", "10.8.0.41:77"), 0x82, 8, 900, omitNone},
		{"local", entry(protoTCP, tcpEstablished, c, "10.9.0.77:77", "10.8.0.31:77"), 0x81, 7, 900, omitNone},
		{"sctp", entry(protoSCTP, sctpEstablished, c, v, "10.8.0.21:80"), 0, 0, 900, omitNone},
		{"sctp, closing", entry(protoSCTP, sctpShutdownSent, c, v, "10.8.0.21:80"), 0x100, 0, 42, omitNone},
		{"sctp, opening", entry(protoSCTP, 4, c, v, "10.8.0.21:80"), 0, 0, 0, OmitPassing},
		{"IPv6", entry(protoUDP, 0, "[fd09::10]:1234", "[fd09::100]:53", "[fd08::21]:53"), 0x100, 0, 300, omitNone},
		{"a tunnel to the other family", entry(protoTCP, tcpEstablished, c, v, "[fd08::21]:80"), 0, 0, 0, OmitFamily},
		{"engine", sip, 0x1182, 0, 42, omitNone},
		{"engine with too much", long, 0, 0, 0, OmitEngine},
		{"synthetic", entry(protoUDP, 0, c, ProbeService.String(), "127.0.0.1:8849"), 0, 0, 0, OmitProbe},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, omission := testTable().record(&tt.in)
			if omission != tt.want {
				t.Fatalf("omission %v, want %v", omission, tt.want)
			}
			if omission != omitNone {
				return
			}
			want := Record{Protocol: tt.in.Protocol, State: tt.in.State, Client: tt.in.Client, Virtual: tt.in.Virtual, Server: tt.in.Server,
				Engine: tt.in.Engine, Data: tt.in.Data, Flags: tt.flags, Mark: tt.mark, Timeout: tt.timeout}
			if d := cmp.Diff(want, got, compareAddrs); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			// What is sent is understood.
			p := packer{id: 3, max: 1400}
			if full := p.add(&got, nil); full != nil {
				t.Errorf("the first record fills a message: % x", full)
			}
			id, list, err := parseMessage(p.take())
			if err != nil || id != 3 || len(list) != 1 {
				t.Fatalf("id %d, %d records, %v", id, len(list), err)
			}
			if d := cmp.Diff(want, list[0], compareAddrs); d != "" {
				t.Errorf("read back (-want +got):\n%s", d)
			}
		})
	}
}

// TestElsewhere: a connection of an address that another director serves is not
// handed over; the mark of a template is no address.
func TestElsewhere(t *testing.T) {
	const c = "10.9.0.10:1234"
	table := testTable()
	table.elsewhere = func(a netip.Addr) bool { return a.String() == "10.9.0.100" || a.String() == "0.0.0.7" }
	for _, tt := range []struct {
		in   Entry
		want Omission
	}{
		{entry(protoTCP, tcpEstablished, c, "10.9.0.100:80", "10.8.0.21:80"), OmitElsewhere},
		{entry(protoTCP, tcpEstablished, "10.9.0.10:0", "10.9.0.100:80", "10.8.0.21:80"), OmitElsewhere},
		{entry(protoUDP, 0, "[fd09::10]:1234", "[fd09::100]:53", "[fd08::21]:53"), omitNone},
		{entry(protoNone, 1, "10.9.0.10:0", "0.0.0.7:0", "10.8.0.21:0"), omitNone},
		{entry(protoUDP, 0, c, ProbeService.String(), "127.0.0.1:8849"), OmitProbe},
	} {
		if _, got := table.record(&tt.in); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.in, got, tt.want)
		}
	}
}

// TestTimeouts: what has no time left is not sent with 0, which is the kernel's
// default; what has more than its state allows keeps it.
func TestTimeouts(t *testing.T) {
	for expires, want := range map[uint32]uint32{0: 1, 1: 1, 100: 100} {
		e := entry(protoTCP, tcpFinWait, "10.9.0.10:1234", "10.9.0.100:80", "10.8.0.21:80")
		e.Expires = expires
		if r, _ := testTable().record(&e); r.Timeout != want {
			t.Errorf("%d s left: timeout %d, want %d", expires, r.Timeout, want)
		}
	}
	e := entry(protoTCP, tcpEstablished, "10.9.0.10:1234", "10.9.0.100:80", "10.8.0.21:80")
	e.Expires = 2000
	if r, _ := testTable().record(&e); r.Timeout != 2000 {
		t.Errorf("2000 s left: timeout %d", r.Timeout)
	}
}

// golden compares text with a file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

// TestMessageAsTheKernel: the first record is one that Linux 6.1 sent for that
// connection, byte by byte.
func TestMessageAsTheKernel(t *testing.T) {
	const kernel = "0007002c010100000011002400000100000011d722912291000000000000012c7f0102037f7500017f000001"
	r := Record{Protocol: 17, Flags: 0x100, Client: end("127.1.2.3:4567"), Virtual: end("127.117.0.1:8849"), Server: end("127.0.0.1:8849"), Timeout: 300}
	p := packer{id: 7, max: 1400}
	p.add(&r, nil)
	if got := hex.EncodeToString(p.take()); got != kernel {
		t.Errorf("the kernel sends\n%s, we\n%s", kernel, got)
	}
}

func TestMessageGolden(t *testing.T) {
	p := packer{id: 51, max: 1400}
	for _, r := range []Record{
		{Protocol: 6, Flags: 0x83, State: 1, Client: end("10.9.0.10:1234"), Virtual: end("10.9.0.100:80"), Server: end("10.8.0.21:80"), Timeout: 900},
		{Protocol: 17, Flags: 0x1182, State: 1, Client: end("10.9.0.10:0"), Virtual: end("10.9.0.100:5060"), Server: end("10.8.0.21:5060"), Timeout: 250, Engine: "sip", Data: "abcde"},
		{Protocol: 0, Flags: 0x1183, Client: end("[fd09::10]:0"), Virtual: end("[0:7::]:0"), Server: end("[fd08::21]:0"), Mark: 7, Timeout: 100},
	} {
		if full := p.add(&r, nil); full != nil {
			t.Fatal("three records fill a message")
		}
	}
	golden(t, "message.hex", hex.Dump(p.take()))
}

// TestPacker: messages are neither too long nor hold too many, and nothing is lost.
func TestPacker(t *testing.T) {
	for _, max := range []int{50, 80, 512, 1400, 65000} {
		p := packer{id: 1, max: max}
		var got []Record
		take := func(b []byte) {
			_, list, err := parseMessage(b)
			if err != nil {
				t.Fatalf("max %d: %v: % x", max, err, b)
			}
			if len(b) > max && len(list) > 1 {
				t.Errorf("max %d: %d records in %d bytes", max, len(list), len(b))
			}
			got = append(got, list...)
		}
		const n = 1000
		var full []byte
		for i := range n {
			r := Record{Protocol: 6, Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1), Virtual: end("10.9.0.100:80"), Server: end("10.8.0.21:80"), Timeout: 1}
			if i%7 == 0 {
				r.Engine, r.Data = "sip", strings.Repeat("x", 1+i%250)
			}
			if b := p.add(&r, full); b != nil {
				take(b)
			}
		}
		if b := p.take(); b != nil {
			take(b)
		}
		if b := p.take(); b != nil {
			t.Errorf("max %d: more to take: % x", max, b)
		}
		if len(got) != n {
			t.Fatalf("max %d: %d records of %d", max, len(got), n)
		}
		for i, r := range got {
			if a := r.Client.Addr().As4(); int(a[2])<<8|int(a[3]) != i {
				t.Fatalf("max %d: record %d is of %v", max, i, r.Client)
			}
		}
	}
}
