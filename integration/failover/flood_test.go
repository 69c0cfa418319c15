package failover

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/site"
	"github.com/understudy-ha/understudy/integration/vm"
	"github.com/understudy-ha/understudy/vrrp"
)

// TestFlood has a host on the link send bogus advertisements: no state changes,
// no client is without an answer, and both directors go on as before. What is
// valid and of a higher priority is no part of the flood: it must win.
func TestFlood(t *testing.T) {
	for _, c := range []struct {
		name    string
		options site.Options
	}{
		{"v3", site.Options{Version: 3, Interval: 100 * time.Millisecond}},
		{"v2 with a password", site.Options{Version: 2, Interval: time.Second, Password: "s3cret"}},
	} {
		t.Run(c.name, func(t *testing.T) { testFlood(t, c.options) })
	}
}

func testFlood(t *testing.T, o site.Options) {
	const (
		rate  = 50_000 // a second
		lasts = 20 * time.Second
		seed  = 112
	)
	o.NoServices = true
	s := site.New(t, o)
	flooder := s.LAN.Connect(s.Lab.Node("flooder"), "eth0", "10.51.0.66/24")
	s.StartPair()
	heard := s.LAN.Tap(lab.VRRPNotFrom(flooder.HWAddr()))
	p := s.Client.Probe(s.Echo(), time.Millisecond)
	s.Answers(p, 2*time.Second)
	var before [2]site.Status
	for i, d := range s.LB {
		before[i] = mustStatus(t, d)
	}

	g := &bogus{rng: rand.New(rand.NewPCG(seed, seed)), version: vrrp.Version(o.Version), interval: o.Interval, password: o.Password, mac: flooder.HWAddr()}
	var frames [][]byte
	for range 5000 {
		frames = append(frames, g.frame(t))
	}
	used := [2]time.Duration{processor(t, s.LB[0]), processor(t, s.LB[1])}
	begin := time.Now()
	flood := flooder.Flood(frames, rate)
	time.Sleep(lasts)
	sent, perSecond := flood.Stop()
	end := time.Now()
	t.Logf("%d bogus advertisements, %.0f a second", sent, perSecond)
	for i, d := range s.LB {
		cpu := processor(t, d) - used[i]
		t.Logf("%s: %.1f%% of a processor, %v for each", d.Node.Name, 100*cpu.Seconds()/end.Sub(begin).Seconds(), cpu/time.Duration(max(1, sent)))
	}
	// In the user-mode kernel all hosts share one slow processor.
	if perSecond < 0.98*rate && !vm.Inside() {
		t.Errorf("the flood had %.0f advertisements a second, want %d", perSecond, rate)
	}
	time.Sleep(s.MasterDown())
	r := p.Between(begin, time.Now())
	t.Logf("during the flood: %v", r)
	if !vm.Inside() && (r.Lost > 0 || r.By["lb1"] != r.Sent) {
		t.Errorf("during the flood: %v, answers by %v; want all by lb1", r, r.By)
	}
	for i, d := range s.LB {
		a, b := before[i].Routers[0], mustStatus(t, d).Routers[0]
		t.Logf("%s: %d advertisements received, drops %v", d.Node.Name, b.Received-a.Received, b.Drops)
		if a.State != b.State || !a.Since.Equal(b.Since) || a.Takeovers != b.Takeovers {
			t.Errorf("%s has changed from %s since %v to %s since %v", d.Node.Name, a.State, a.Since, b.State, b.Since)
		}
		dropped := 0
		for _, n := range b.Drops {
			dropped += n
		}
		if dropped < sent/10 {
			t.Errorf("%s has counted %d drops of %d: the flood did not reach it", d.Node.Name, dropped, sent)
		}
	}
	if reigns := lab.Reigns(lab.Adverts(heard.Frames()), 51); len(reigns) != 1 || reigns[0].Node != "lb1" {
		t.Errorf("masters heard: %v, want lb1 alone", reigns)
	}
}

func mustStatus(t *testing.T, d *site.Director) site.Status {
	t.Helper()
	s, err := d.Status()
	if err != nil || len(s.Routers) != 1 {
		t.Fatalf("status of %s: %v, %d virtual routers", d.Node.Name, err, len(s.Routers))
	}
	return s
}

func processor(t *testing.T, d *site.Director) time.Duration {
	t.Helper()
	used, err := lab.CPU(d.Pid())
	if err != nil {
		t.Fatal(err)
	}
	return used
}

// bogus makes advertisements that nobody may act upon. All would win if they
// were taken for good, but for those that lose by the RFC.
type bogus struct {
	rng      *rand.Rand
	version  vrrp.Version
	interval time.Duration
	password string
	mac      []byte
}

var (
	group4  = netip.MustParseAddr("224.0.0.18")
	foreign = netip.MustParseAddr("10.51.0.66")
)

func (g *bogus) frame(t *testing.T) []byte {
	t.Helper()
	src, ttl := foreign, byte(255)
	a := vrrp.Advertisement{
		Version: g.version, VRID: 51, Priority: byte(200 + g.rng.IntN(56)), Interval: g.interval,
		Addresses: []netip.Addr{netip.MustParseAddr(site.VIP)},
	}
	if g.password != "" {
		a.AuthType, a.Password = vrrp.AuthSimple, g.password
	}
	spoil := func([]byte) {}
	kinds := 8
	if g.password != "" {
		kinds = 10
	}
	switch g.rng.IntN(kinds) {
	case 0: // a wrong checksum
		spoil = func(b []byte) {
			binary.BigEndian.PutUint16(b[6:], binary.BigEndian.Uint16(b[6:])+uint16(1+g.rng.IntN(0xfffe)))
		}
	case 1: // a foreign virtual router
		for a.VRID == 51 {
			a.VRID = byte(1 + g.rng.IntN(255))
		}
	case 2: // from beyond the link
		ttl = byte(g.rng.IntN(255))
	case 3: // a list of addresses that is longer or shorter than it says
		spoil = func(b []byte) {
			b[3] = byte(2 + g.rng.IntN(254))
			resum(b, g.version, src)
		}
	case 4: // random bytes
		spoil = func(b []byte) {
			for i := range b {
				b[i] = byte(g.rng.Uint32())
			}
		}
	case 5: // another version, or another type
		spoil = func(b []byte) {
			for b[0] == byte(g.version)<<4|1 {
				b[0] = byte(g.rng.Uint32())
			}
			resum(b, g.version, src)
		}
	case 6: // a director's address, and a priority that loses
		src = netip.MustParseAddr([]string{"10.51.0.11", "10.51.0.12"}[g.rng.IntN(2)])
		a.Priority = byte(1 + g.rng.IntN(99))
	case 7: // addresses that are not those of the virtual router, and a priority that loses
		a.Priority = byte(1 + g.rng.IntN(99))
		for range 1 + g.rng.IntN(4) {
			a.Addresses = append(a.Addresses, netip.AddrFrom4([4]byte{10, 51, byte(g.rng.Uint32()), byte(g.rng.Uint32())}))
		}
	case 8: // another password
		a.Password = string([]byte{byte('a' + g.rng.IntN(26)), byte('a' + g.rng.IntN(26)), byte('a' + g.rng.IntN(26))})
	case 9: // none, or an unknown kind of it
		a.AuthType, a.Password = vrrp.AuthNone, ""
		if g.rng.IntN(2) == 0 {
			spoil = func(b []byte) {
				b[4] = byte(2 + g.rng.IntN(254))
				resum(b, g.version, src)
			}
		}
	}
	message, err := a.Append(nil, src, group4)
	if err != nil {
		t.Fatal(err)
	}
	spoil(message)
	return g.packet(src, ttl, message)
}

// packet wraps a message into IPv4 and Ethernet.
func (g *bogus) packet(src netip.Addr, ttl byte, message []byte) []byte {
	ip := make([]byte, 20, 20+len(message))
	ip[0], ip[1], ip[8], ip[9] = 0x45, 0xc0, ttl, vrrp.Protocol
	binary.BigEndian.PutUint16(ip[2:], uint16(20+len(message)))
	copy(ip[12:], src.AsSlice())
	copy(ip[16:], group4.AsSlice())
	binary.BigEndian.PutUint16(ip[10:], ^sum(ip))
	frame := append([]byte{1, 0, 0x5e, 0, 0, 18}, g.mac...)
	frame = append(frame, 8, 0)
	return append(append(frame, ip...), message...)
}

// resum puts the right checksum into a message that was spoiled.
func resum(b []byte, version vrrp.Version, src netip.Addr) {
	b[6], b[7] = 0, 0
	covered := b
	if version == vrrp.V3 {
		covered = append(append(src.AsSlice(), group4.AsSlice()...), 0, vrrp.Protocol, 0, byte(len(b)))
		covered = append(covered, b...)
	}
	binary.BigEndian.PutUint16(b[6:], ^sum(covered))
}

// sum is the ones' complement sum of RFC 1071 over an even number of bytes.
func sum(b []byte) uint16 {
	var s uint32
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
