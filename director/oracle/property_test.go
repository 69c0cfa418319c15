package oracle

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// TestHashes compares with vectors that are the kernel's own, and others worked
// out by hand.
func TestHashes(t *testing.T) {
	// The fifth of the kernel's 64-bit vectors: the bytes 0 to 3, under a key of
	// the bytes 0 to 15.
	if got := hsiphash(0x03020100, 0x0706050403020100, 0x0f0e0d0c0b0a0908); got != 0x88d38328 {
		t.Errorf("hsiphash = %#x, want 0x88d38328", got)
	}
	if got := hash32(1, 8); got != 0x61 {
		t.Errorf("hash32(1) = %#x, want 0x61", got)
	}
	for _, c := range []struct {
		address string
		six     bool
		want    uint32
	}{
		{"192.0.2.1", false, 0xc0000201},
		{"192.0.2.1", true, 0xc0000201},
		{"2001:db8::1", true, 0x20010db8 ^ 1},
		{"2001:db8:1:2:3:4:5:6", true, 0x20010db8 ^ 0x00010002 ^ 0x00030004 ^ 0x00050006},
		{"2001:db8::1", false, 0x20010db8},
	} {
		if got := fold(netip.MustParseAddr(c.address), c.six); got != c.want {
			t.Errorf("fold(%s, %v) = %#x, want %#x", c.address, c.six, got, c.want)
		}
	}
}

// mhQuestion has servers with these weights.
func mhQuestion(weights ...int32) *Question {
	q := &Question{
		Service: genl.Service{ServiceID: genl.ServiceID{
			Family: unix.AF_INET, Protocol: unix.IPPROTO_TCP, Address: netip.MustParseAddr("192.0.2.200"), Port: 80}, Scheduler: "mh"},
		Client: netip.MustParseAddrPort("198.51.100.7:40000"),
	}
	for i, w := range weights {
		q.Destinations = append(q.Destinations, genl.Destination{
			Address: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), Port: 80, Weight: w,
		})
	}
	if err := q.complete(); err != nil {
		panic(err)
	}
	return q
}

// TestShare shows that buckets are shared out by weight.
func TestShare(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		weights := make([]int32, 1+r.IntN(12))
		var sum int32
		for i := range weights {
			weights[i] = 1 + r.Int32N(15)
			sum += weights[i]
		}
		q := mhQuestion(weights...)
		servers := q.servers()
		for kind, l := range map[string]lookup{"sh": newSH(q, servers), "mh": newMH(q, servers)} {
			size := len(l.buckets)
			var all int
			for i, n := range l.share(len(servers)) {
				all += n
				// A turn under way when the table is full is what there is to be wrong by.
				if want := float64(size) * float64(weights[i]) / float64(sum); float64(n) < want-float64(weights[i])-1 || float64(n) > want+float64(weights[i])+1 {
					t.Errorf("%s with weights %v: server %d has %d of %d buckets, want %.0f", kind, weights, i, n, size, want)
				}
			}
			if all != size {
				t.Errorf("%s with weights %v: %d buckets shared out of %d", kind, weights, all, size)
			}
		}
	}
}

// TestDisruption shows that few clients of mh change their server when another
// one goes, and very many of sh.
func TestDisruption(t *testing.T) {
	q := mhQuestion(1, 1, 1, 1, 1, 1, 1, 1, 1, 1)
	servers := q.servers()
	moved := func(fill func(*Question, []server) lookup) (n, all int) {
		before, after := fill(q, servers), fill(q, append(servers[:4:4], servers[5:]...))
		for i, s := range before.buckets {
			now := after.buckets[i]
			if now >= 4 {
				now++
			}
			if s == 4 {
				continue
			}
			if all++; s != now {
				n++
			}
		}
		return n, all
	}
	if n, all := moved(newMH); n*100 > all*5 || n == 0 {
		t.Errorf("mh: %d of %d buckets moved for nothing, want at most 5 %%", n, all)
	}
	if n, all := moved(newSH); n*2 < all {
		t.Errorf("sh: %d of %d buckets moved; this test sees nothing", n, all)
	}
	// A server at weight 0 moves nothing.
	zero := q.servers()
	zero[4].Weight = 0
	if d := cmp.Diff(newMH(q, servers).buckets, newMH(q, zero).buckets); d != "" {
		t.Error("mh: a server at weight 0 moved buckets")
	}
}

// TestFallback shows that with a fallback every client has a server while there
// is one, and keeps its own if that is available.
func TestFallback(t *testing.T) {
	q := mhQuestion(3, 2, 0, 5, 0)
	q.LastWeights = map[netip.AddrPort]int32{}
	q.Service.Flags = flagFallback | flagPort
	for _, kind := range []string{"sh", "mh"} {
		q.Service.Scheduler = kind
		servers := q.servers()
		l, _ := q.hashed(servers)
		fell := 0
		for port := 1; port < 1<<16; port += 13 {
			i, bucket, first := l.pick(servers, uint16(port))
			if i < 0 || !servers[i].available() {
				t.Fatalf("%s, port %d: server %d", kind, port, i)
			}
			if servers[first].available() && i != first || int(l.buckets[bucket]) != first {
				t.Fatalf("%s, port %d: bucket %d is server %d's, and %d was chosen", kind, port, bucket, first, i)
			}
			if i != first {
				fell++
			}
		}
		if fell == 0 {
			t.Errorf("%s: nothing fell back", kind)
		}
	}
}

// TestTableSizes goes through every size that a kernel may be built with, and
// extreme weights: tables are full, and every index is within.
func TestTableSizes(t *testing.T) {
	for index := 8; index <= 17; index++ {
		q := mhQuestion(65535, 1, 2147483647, 0, 12)
		q.Kernel.MHIndex, q.Kernel.SHBits = index, index
		for _, fill := range []func(*Question, []server) lookup{newMH, newSH} {
			l := fill(q, q.servers())
			for i, s := range l.buckets {
				if s < 0 || int(s) >= len(q.Destinations) {
					t.Fatalf("index %d: bucket %d has server %d", index, i, s)
				}
			}
			for range 1000 {
				if i := l.index(uint16(rand.Uint32()), rand.Uint32()); int(i) >= len(l.buckets) {
					t.Fatalf("index %d: bucket %d of %d", index, i, len(l.buckets))
				}
			}
		}
	}
	q := mhQuestion()
	if l := newMH(q, nil); l.buckets != nil {
		t.Error("a table without servers")
	}
	if k := (Kernel{SHBits: 40, MHIndex: 99}).bound(); k.SHBits != 8 || k.MHIndex != 12 {
		t.Errorf("impossible sizes were taken: %+v", k)
	}
}

func TestParseEntry(t *testing.T) {
	ap := netip.MustParseAddrPort
	for _, c := range []struct {
		name, in string
		want     Entry
		template bool
		refused  bool
	}{
		{name: "tcp", in: "TCP C6336407 9C40 C00002C8 0050 C0000267 1F90 ESTABLISHED     899",
			want: Entry{Protocol: "TCP", Client: ap("198.51.100.7:40000"), Virtual: ap("192.0.2.200:80"), Server: ap("192.0.2.103:8080"), State: "ESTABLISHED", Expires: 899 * time.Second}},
		{name: "ipv6", in: "UDP 2001:0db8:0050:0000:0000:0000:0000:0007 9C40 2001:0db8:0051:0000:0000:0000:0000:0001 0050 2001:0db8:0060:0000:0000:0000:0000:0003 0050 UDP             299",
			want: Entry{Protocol: "UDP", Client: ap("[2001:db8:50::7]:40000"), Virtual: ap("[2001:db8:51::1]:80"), Server: ap("[2001:db8:60::3]:80"), State: "UDP", Expires: 299 * time.Second}},
		{name: "foreign", in: "UDP C6336407 9C40 C00002C8 0050 2001:0db8:0060:0000:0000:0000:0000:0003 0050 UDP             299",
			want: Entry{Protocol: "UDP", Client: ap("198.51.100.7:40000"), Virtual: ap("192.0.2.200:80"), Server: ap("[2001:db8:60::3]:80"), State: "UDP", Expires: 299 * time.Second}},
		{name: "template of a mark", in: "IP  C6336400 0000 0000000A 0000 C0000267 0000 NONE            287", template: true,
			want: Entry{Protocol: "IP", Client: ap("198.51.100.0:0"), Virtual: ap("0.0.0.10:0"), Server: ap("192.0.2.103:0"), State: "NONE", Expires: 287 * time.Second}},
		{name: "engine", in: "UDP C6336400 0000 C00002C8 13C4 C0000267 13C4 ASSURED         287 sip 1234@example.net", template: true,
			want: Entry{Protocol: "UDP", Client: ap("198.51.100.0:0"), Virtual: ap("192.0.2.200:5060"), Server: ap("192.0.2.103:5060"), State: "ASSURED", Expires: 287 * time.Second, Engine: "sip"}},
		{name: "overdue", in: "TCP C6336407 9C40 C00002C8 0050 C0000267 1F90 CLOSE 18446744073709551",
			want: Entry{Protocol: "TCP", Client: ap("198.51.100.7:40000"), Virtual: ap("192.0.2.200:80"), Server: ap("192.0.2.103:8080"), State: "CLOSE"}},
		{name: "empty", in: "", refused: true},
		{name: "short", in: "TCP C6336407 9C40 C00002C8 0050 C0000267 1F90 ESTABLISHED", refused: true},
		{name: "short address", in: "TCP 336407 9C40 C00002C8 0050 C0000267 1F90 ESTABLISHED 1", refused: true},
		{name: "long port", in: "TCP C6336407 9C400 C00002C8 0050 C0000267 1F90 ESTABLISHED 1", refused: true},
		{name: "zone", in: "TCP fe80::1%eth0 9C40 C00002C8 0050 C0000267 1F90 ESTABLISHED 1", refused: true},
		{name: "no time", in: "TCP C6336407 9C40 C00002C8 0050 C0000267 1F90 ESTABLISHED soon", refused: true},
		{name: "long", in: "TCP C6336407 9C40 C00002C8 0050 C0000267 1F90 ESTABLISHED 1 sip " + strings.Repeat("x", maxLine), refused: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseEntry([]byte(c.in))
			if (err != nil) != c.refused || got != c.want || got.Template() != c.template {
				t.Errorf("%+v, %v, template %v", got, err, got.Template())
			}
		})
	}
}

func TestParseService(t *testing.T) {
	id := func(p uint16, at string) genl.ServiceID {
		a := netip.MustParseAddrPort(at)
		return genl.ServiceID{Family: genl.FamilyOf(a.Addr()), Protocol: p, Address: a.Addr(), Port: a.Port()}
	}
	for _, c := range []struct {
		in, client string
		want       genl.ServiceID
		err        string // part of it; "name": ErrName
	}{
		{in: "192.0.2.200:80", want: id(6, "192.0.2.200:80")},
		{in: "tcp 192.0.2.200:80", want: id(6, "192.0.2.200:80")},
		{in: "TCP:192.0.2.200:80", want: id(6, "192.0.2.200:80")},
		{in: " udp:192.0.2.200:53", want: id(17, "192.0.2.200:53")},
		{in: "sctp 192.0.2.200:0", want: id(132, "192.0.2.200:0")},
		{in: "[2001:db8::1]:80", want: id(6, "[2001:db8::1]:80")},
		{in: "udp [2001:db8::1]:53", want: id(17, "[2001:db8::1]:53")},
		{in: "fwmark 10", want: genl.ServiceID{Family: unix.AF_INET, FWMark: 10}},
		{in: "fwmark:0x10", want: genl.ServiceID{Family: unix.AF_INET, FWMark: 16}},
		{in: "fwmark 10", client: "2001:db8::1", want: genl.ServiceID{Family: unix.AF_INET6, FWMark: 10}},
		{in: "fwmark 10 ipv6", want: genl.ServiceID{Family: unix.AF_INET6, FWMark: 10}},
		{in: "web", err: "name"},
		{in: "web:80", err: "name"},
		{in: "tcp", err: "name"},
		{in: "", err: "name"},
		{in: "192.0.2.200", err: "name"},
		{in: "2001:db8::1:80", err: "name"},
		{in: "tcp 192.0.2.2000:80", err: "is not ADDRESS:PORT"},
		{in: "tcp 192.0.2.200", err: "is not ADDRESS:PORT"},
		{in: "udp [fe80::1%eth0]:80", err: "is not ADDRESS:PORT"},
		{in: "fwmark 0", err: "is not a fwmark"},
		{in: "fwmark 4294967296", err: "is not a fwmark"},
		{in: "fwmark 1 both", err: "neither ipv4 nor ipv6"},
	} {
		t.Run(c.in+c.client, func(t *testing.T) {
			client := netip.MustParseAddr("198.51.100.7")
			if c.client != "" {
				client = netip.MustParseAddr(c.client)
			}
			got, err := ParseService(c.in, client)
			switch {
			case c.err == "name" && err != ErrName, c.err == "" && err != nil, c.err != "" && err == nil:
				t.Fatalf("error %v, want %q", err, c.err)
			case c.err != "" && c.err != "name" && !strings.Contains(err.Error(), c.err):
				t.Fatalf("error %v, want %q", err, c.err)
			case err == nil && got != c.want:
				t.Fatalf("%+v, want %+v", got, c.want)
			case err != nil:
				return
			}
			if again, err := ParseService(Name(got), client); err != nil || again != got {
				t.Errorf("%s reads back as %+v, %v", Name(got), again, err)
			}
		})
	}
}

func TestParseClient(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1": "192.0.2.1:0", "192.0.2.1:7": "192.0.2.1:7", "2001:db8::1": "[2001:db8::1]:0",
		"[2001:db8::1]": "[2001:db8::1]:0", "[2001:db8::1]:7": "[2001:db8::1]:7", "::ffff:192.0.2.1": "192.0.2.1:0",
		"": "", "web": "", "192.0.2.1:": "", "192.0.2.1:65536": "", "fe80::1%eth0": "", "[fe80::1%eth0]:1": "",
	} {
		got, err := ParseClient(in)
		if (err != nil) != (want == "") || err == nil && got.String() != want {
			t.Errorf("ParseClient(%q) = %s, %v, want %q", in, got, err, want)
		}
	}
}

// endless is a connection table of millions, which ends when its reader has had
// enough.
type endless struct {
	n, stop int
	line    []byte
	rest    []byte // of line
}

func (e *endless) Read(b []byte) (int, error) {
	if len(e.rest) == 0 {
		if e.n++; e.n > e.stop {
			return 0, ErrEnough
		}
		// Made without allocations: those are counted.
		e.line = append(e.line[:0], "TCP C633"...)
		for shift := 12; shift >= 0; shift -= 4 {
			e.line = append(e.line, "0123456789ABCDEF"[e.n>>shift&0xf])
		}
		e.line = append(e.line, " 9C40 C00002C8 0050 C0000267 1F90 ESTABLISHED     899\n"...)
		e.rest = e.line
	}
	n := copy(b, e.rest)
	if e.rest = e.rest[n:]; e.n == e.stop {
		n, e.rest = min(n, 8), nil // in the middle of an address
	}
	return n, nil
}

// TestScanLong shows that a long table takes no memory by its length, and that
// an end in the middle of a line does no harm.
func TestScanLong(t *testing.T) {
	q := *mhQuestion(1, 1, 1)
	const length = 1_000_000
	var found Found
	var err error
	allocated := testing.AllocsPerRun(1, func() { found, err = Scan(&endless{stop: length / 2}, q) })
	if err != nil || !found.Partial || found.Total < 7 || found.Exact == nil {
		t.Errorf("%+v, %v", found, err)
	}
	// Whatever else the process does meanwhile is counted, too.
	if limit := float64(length / 2 / 100); allocated > limit {
		t.Errorf("%v allocations, want less than one for a hundred lines", allocated)
	}
	if _, err := Scan(strings.NewReader("TCP C6336407 9C40 C00002C8\n"), q); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("error %v for half a line, want one with its number", err)
	}
	if _, err := Scan(strings.NewReader("TCP "+strings.Repeat("x", 2*maxLine)), q); err == nil {
		t.Error("no error for an endless line")
	}
}

func FuzzScan(f *testing.F) {
	f.Add([]byte("TCP C6336407 9C40 C00002C8 0050 C0000267 1F90 ESTABLISHED     899\n"))
	f.Add([]byte("IP  C6336400 0000 0000000A 0000 C0000267 0000 NONE            287\n"))
	f.Add([]byte("UDP 2001:0db8:0050:0000:0000:0000:0000:0007 9C40 2001:0db8:0051:0000:0000:0000:0000:0001 0050 2001:0db8:0060:0000:0000:0000:0000:0003 0050 UDP 299 sip a@b\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		q := *mhQuestion(1, 2, 0)
		q.Service.Flags |= genl.FlagPersistent
		q.Service.Netmask = 0xffffff00
		found, err := Scan(strings.NewReader(string(b)), q)
		if err != nil {
			return
		}
		if len(found.Connections) > maxFound || found.Total < len(found.Connections) {
			t.Errorf("%+v", found)
		}
		a, err := Ask(q, found)
		if err != nil || a.Verdict == "" || a.By == "" || (a.Verdict == Given) != a.Server.IsValid() {
			t.Errorf("%+v, %v", a, err)
		}
		_ = a.Text()
	})
}

func FuzzParseService(f *testing.F) {
	for _, s := range []string{"192.0.2.200:80", "udp [2001:db8::1]:53", "fwmark 10 ipv6", "web", "[fe80::1%a]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		client := netip.MustParseAddr("198.51.100.7")
		id, err := ParseService(s, client)
		if err != nil {
			return
		}
		if again, err := ParseService(Name(id), client); err != nil || again != id {
			t.Errorf("%q: %s reads back as %+v, %v", s, Name(id), again, err)
		}
		if c, err := ParseClient(s); err == nil && !c.Addr().IsValid() {
			t.Errorf("%q is client %s", s, c)
		}
	})
}
