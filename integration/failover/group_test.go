package failover

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/site"
)

// TestGroup fails over two virtual routers on two links that are a group: whatever
// happens to one link, one director has both addresses.
func TestGroup(t *testing.T) {
	const interval = 100 * time.Millisecond
	l := lab.New(t)
	outer, inner := l.Switch("outer"), l.Switch("inner")
	vips := []netip.Addr{netip.MustParseAddr("10.51.0.100"), netip.MustParseAddr("10.53.0.1")}
	config := func(priority int) string {
		return fmt.Sprintf(`
[[vrrp]]
name = "outside"
interface = "eth0"
vrid = 51
priority = %d
advert_interval = "%v"
addresses = ["10.51.0.100/24"]
[[vrrp]]
name = "inside"
interface = "eth1"
vrid = 52
priority = %d
advert_interval = "%v"
addresses = ["10.53.0.1/24"]
[[group]]
name = "both"
vrrp = ["outside", "inside"]
`, priority, interval, priority, interval)
	}
	var directors [2]*site.Director
	var links [2][2]*lab.Port
	for i := range directors {
		n := l.Node(fmt.Sprintf("lb%d", i+1))
		links[i] = [2]*lab.Port{
			outer.Connect(n, "eth0", fmt.Sprintf("10.51.0.%d/24", 11+i)),
			inner.Connect(n, "eth1", fmt.Sprintf("10.53.0.%d/24", 11+i)),
		}
		directors[i] = site.Alone(t, l, n, config(150-50*i))
		directors[i].Start()
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("%s:\n%s", n.Name, directors[i].Log())
			}
		})
	}
	holds := func(i int) [2]bool {
		return [2]bool{directors[i].Node.Holds("eth0", vips[0]), directors[i].Node.Holds("eth1", vips[1])}
	}
	both, none := [2]bool{true, true}, [2]bool{}
	master := func(what string, i int) {
		t.Helper()
		site.Eventually(t, 5*time.Second, what, func() bool { return holds(i) == both && holds(1-i) == none })
	}
	master("the better director to have both", 0)

	// The carrier of one link goes: the other virtual router says farewell, and a skew
	// time later both are on the other director.
	links[0][1].Cut()
	site.Eventually(t, 5*time.Second, "the other director to have both", func() bool { return holds(1) == both })
	moved := time.Now()
	s, err := directors[0].Status()
	if err != nil {
		t.Fatal(err)
	}
	// The kernel may take up to a second to tell of a carrier.
	took := moved.Sub(s.Routers[1].Since)
	t.Logf("both addresses moved %v after %s: %s", took, s.Routers[1].Name, s.Routers[1].Reason)
	if limit := interval + site.Slack() + 50*time.Millisecond; took > limit {
		t.Errorf("both addresses moved %v after the fault, want at most %v: the farewell of one is that of both", took, limit)
	}
	master("the first director to have none", 1)
	links[0][1].Mend()
	master("both to come back", 0)

	// A link that passes nothing any more, with its carrier: who does not hear the
	// master on one link leaves it alone while it hears it on the other.
	seen := directors[1].Takeovers()
	links[1][1].Isolate()
	time.Sleep(10 * interval)
	if holds(0) != both || holds(1) != none || directors[1].Takeovers() != seen {
		t.Errorf("with one link of the backup dead the first holds %v, the second %v, takeovers %v after %v", holds(0), holds(1), directors[1].Takeovers(), seen)
	}
	links[1][1].Rejoin()

	// Asked to hand over one, it hands over both, and takes neither back.
	if out, err := directors[0].Command("handover", "inside"); err != nil {
		t.Fatalf("handover: %v: %s", err, out)
	}
	master("both to be handed over", 1)
	time.Sleep(5 * interval)
	master("both to stay there", 1)
	if out, err := directors[0].Command("handover", "--release", "both"); err != nil {
		t.Fatalf("release: %v: %s", err, out)
	}
	master("both to come back after the release", 0)
}
