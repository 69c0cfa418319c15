package failover

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/site"
	"github.com/understudy-ha/understudy/integration/vm"
)

// TestKeepalived puts keepalived in the place of one director, and takes over
// both ways: by a cut link, by its return, and by a clean stop.
func TestKeepalived(t *testing.T) {
	interop(t, "keepalived",
		variant{"v3", site.Options{Version: 3}},
		variant{"v3 unicast", site.Options{Version: 3, Unicast: true}},
		variant{"v3 at 10ms", site.Options{Version: 3, Interval: 10 * time.Millisecond}},
		variant{"v2", site.Options{Version: 2}},
		variant{"v2 with a password", site.Options{Version: 2, Password: "s3cret"}},
	)
}

// TestFRR does the same with FRR's vrrpd, which always has a virtual MAC address.
func TestFRR(t *testing.T) {
	if vm.Inside() {
		t.Skip("the user-mode kernel's zebra is not worth its processor time: vrrpd is tested natively")
	}
	interop(t, "frr",
		variant{"v3", site.Options{Version: 3}},
		variant{"v2", site.Options{Version: 2}},
	)
}

// variant is a way in which two routers may talk.
type variant struct {
	name    string
	options site.Options
}

// interop runs every variant with the peer as the better and as the worse router.
func interop(t *testing.T, peer string, variants ...variant) {
	for _, v := range variants {
		for i, place := range []string{"above", "below"} {
			t.Run(fmt.Sprintf("%s/%s %s", v.name, peer, place), func(t *testing.T) {
				o := v.options
				o.NoServices = true
				switch {
				case o.Interval != 0: // a short one needs the processors for itself
				case o.Version == 2:
					o.Interval = time.Second
					t.Parallel()
				default:
					o.Interval = 100 * time.Millisecond
					t.Parallel()
				}
				kinds := [2]string{"understudy", "understudy"}
				kinds[i] = peer
				testInterop(t, o, kinds)
			})
		}
	}
}

// testInterop lets the first of two routers lose its link, get it back, and stop.
func testInterop(t *testing.T, o site.Options, kinds [2]string) {
	s := site.New(t, o)
	vip, interval := s.VIP(), s.Options.Interval
	settle, watch := max(interval, 50*time.Millisecond), min(4*interval, 2200*time.Millisecond)
	masterIs := func(i int) func() bool {
		return func() bool { return s.LB[i].Node.Has(vip) && !s.LB[1-i].Node.Has(vip) }
	}
	limit := s.MasterDown() + 6*time.Second
	heard := s.LAN.Tap(lab.VRRP())

	var peers [2]site.Peer
	peers[0] = s.StartPeer(kinds[0], 0)
	site.Eventually(t, limit, "the first master", func() bool { return s.LB[0].Node.Has(vip) && heard.Mark() > 0 })
	peers[1] = s.StartPeer(kinds[1], 1)
	t.Cleanup(func() {
		for i, p := range peers {
			if p != nil && t.Failed() && kinds[i] != "understudy" {
				t.Logf("%s on lb%d:\n%s", kinds[i], i+1, tail(p.Log()))
			}
		}
	})
	p := s.Client.Probe(s.Echo(), time.Millisecond)
	time.Sleep(interval)
	site.Eventually(t, limit, "the better router to be the only master", masterIs(0))
	s.Answers(p, limit)
	time.Sleep(settle)
	settled := time.Now()
	time.Sleep(watch)
	alone(t, p, settled, "lb1")

	s.LB[0].Port.Cut()
	cut := time.Now()
	site.Eventually(t, limit, "takeover after the cut", func() bool { return s.LB[1].Node.Has(vip) })
	site.Eventually(t, limit, "an answer after the cut", func() bool { return p.Answered(cut.Add(10 * time.Millisecond)) })
	time.Sleep(settle)
	r := p.Between(cut, time.Now())
	t.Logf("link cut: %v", r)
	// The client's gap is bound by our promise only where we take over.
	if bound := s.MasterDown() + site.Slack(); kinds[1] == "understudy" && r.Gap > bound {
		t.Errorf("link cut: gap %v, want at most %v", r.Gap, bound)
	}

	s.LB[0].Port.Mend()
	mended := time.Now()
	site.Eventually(t, limit, "preemption after the return", masterIs(0))
	if kinds[0] == "frr" {
		// vrrpd does not notice the cut and goes on as master, and does not announce
		// again when the other yields: what the client has of that is to be forgotten.
		s.Client.MustRun("ip", "neigh", "flush", "dev", "eth0")
	}
	s.Answers(p, limit)
	time.Sleep(settle)
	t.Logf("preemption: %v", p.Between(mended, time.Now()))
	settledAgain := time.Now()
	time.Sleep(watch)
	alone(t, p, settledAgain, "lb1")

	stopped := time.Now()
	if err := peers[0].Stop(); err != nil {
		t.Fatal(err)
	}
	site.Eventually(t, limit, "takeover after the clean stop", masterIs(1))
	s.Answers(p, limit)
	time.Sleep(settle)
	t.Logf("clean stop: %v", p.Between(stopped, time.Now()))
	last := time.Now()
	time.Sleep(watch)
	alone(t, p, last, "lb2")

	judgeWire(t, s, kinds, heard, settled)
	for i, peer := range peers {
		if lines := peer.Complaints(); len(lines) > 0 {
			t.Errorf("%s on lb%d complains:\n%s", kinds[i], i+1, strings.Join(lines, "\n"))
		}
	}
}

func tail(log string) string {
	lines := strings.Split(log, "\n")
	return strings.Join(lines[max(0, len(lines)-80):], "\n")
}

// alone demands that one node alone has answered, and everything, since a time.
func alone(t *testing.T, p *lab.Prober, since time.Time, node string) {
	t.Helper()
	r := p.Between(since, time.Now())
	if r.Lost > 0 || r.Sent == 0 || r.By[node] != r.Sent {
		t.Errorf("while %s is master: %v, answers by %v", node, r, r.By)
	}
}

// judgeWire judges the advertisements that were heard: their form, and that the
// routers reigned one after the other, never two at a time.
func judgeWire(t *testing.T, s *site.Site, kinds [2]string, heard *lab.Tap, settled time.Time) {
	t.Helper()
	o := s.Options
	var after []lab.Advert
	wrong := 0
	for _, a := range lab.Adverts(heard.Frames()) {
		if a.At.Before(settled) {
			continue
		}
		first := len(after) == 0 || after[len(after)-1].Source != a.Source // of a reign
		after = append(after, a)
		if problem := malformed(a, o, kinds[nodeIndex(a)], first); problem != "" {
			if wrong++; wrong <= 5 {
				t.Errorf("an advertisement of %s: %s: %+v", a.From.Node.Name, problem, a)
			}
		}
	}
	var order []string
	reigns := lab.Reigns(after, 51)
	for _, r := range reigns {
		order = append(order, r.Node)
	}
	if want := []string{"lb1", "lb2", "lb1", "lb2"}; !slices.Equal(order, want) {
		t.Errorf("masters heard: %v, want the order %v", reigns, want)
	}
	if k := farewells(after); k == 0 {
		t.Errorf("nobody said farewell")
	}
}

func nodeIndex(a lab.Advert) int { return int(a.From.Node.Name[len("lb")] - '1') }

func farewells(list []lab.Advert) int {
	count := 0
	for _, a := range list {
		if a.Priority == 0 {
			count++
		}
	}
	return count
}

// malformed says what is wrong with an advertisement of a kind of router. Our first
// one of a reign comes from the link's own MAC: the virtual one would draw packets
// before there is an answer to them.
func malformed(a lab.Advert, o site.Options, kind string, first bool) string {
	var addresses []netip.Addr
	for _, p := range o.Addresses {
		addresses = append(addresses, netip.MustParsePrefix(p).Addr())
	}
	group := netip.MustParseAddr("224.0.0.18")
	if o.IPv6 {
		group = netip.MustParseAddr("ff02::12")
	}
	virtual := a.HWSource == [6]byte{0, 0, 0x5e, 0, map[bool]byte{false: 1, true: 2}[o.IPv6], 51}
	switch {
	case int(a.Version) != o.Version:
		return "its version"
	case a.TTL != 255:
		return "its TTL"
	case a.Interval != o.Interval:
		return "its interval"
	case a.Password != o.Password:
		return "its password"
	case o.IPv6 && !a.Source.IsLinkLocalUnicast():
		return "its source is not link-local"
	case o.Unicast == (a.Destination == group):
		return "its destination"
	case !slices.Equal(a.Addresses, addresses):
		return "its addresses"
	case kind == "understudy" && first && !virtual:
	case kind != "frr" && virtual != (o.VirtualMAC && !o.Unicast):
		return "its MAC address"
	}
	return ""
}
