package configs

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/vrrp/track"
)

func TestTracks(t *testing.T) {
	c := parse(t, `
[[vrrp]]
name = "a"
interface = "eth0"
vrid = 1
addresses = ["10.0.0.1/24"]
track = [
	{ interface = "eth1" },
	{ interface = "eth1", weight = -20, reverse = true },
	{ command = ["/usr/local/bin/uplink-ok", "a b", ""] },
	{ command = ["/bin/x"], interval = "10s", timeout = "10s", rise = 1, fall = 4, user = "monitor", weight = 253 },
	{ process = "bird" },
	{ process = "haproxy", count = 3, weight = -253 },
	{ file = "/run/weight", weight = 2 },
	{ route = "0.0.0.0/0" },
	{ route = "2001:db8::/32", via = "fe80::1", device = "eth2" },
	{ route = "10.0.0.0/8", via = "fe80::1" },
	{ service = "web", weight = 5 },
]
[[vrrp]]
name = "b"
interface = "eth1"
vrid = 1
addresses = ["10.0.0.1/24"]
`+serviceText("web", 80))
	command := track.Target{Kind: track.Command, Command: track.Args("/usr/local/bin/uplink-ok", "a b", ""), Interval: 2 * time.Second, Timeout: time.Second, Rise: 2, Fall: 3}
	other := track.Target{Kind: track.Command, Command: track.Args("/bin/x"), User: "monitor", Interval: 10 * time.Second, Timeout: 10 * time.Second, Rise: 1, Fall: 4}
	want := []track.Item{
		{Target: track.Target{Kind: track.Interface, Name: "eth1"}},
		{Target: track.Target{Kind: track.Interface, Name: "eth1"}, Weight: -20, Reverse: true},
		{Target: command},
		{Target: other, Weight: 253},
		{Target: track.Target{Kind: track.Process, Name: "bird", Count: 1}},
		{Target: track.Target{Kind: track.Process, Name: "haproxy", Count: 3}, Weight: -253},
		{Target: track.Target{Kind: track.File, Name: "/run/weight"}, Weight: 2},
		{Target: track.Target{Kind: track.Route, Prefix: netip.MustParsePrefix("0.0.0.0/0")}},
		{Target: track.Target{Kind: track.Route, Prefix: netip.MustParsePrefix("2001:db8::/32"), Via: netip.MustParseAddr("fe80::1"), Device: "eth2"}},
		{Target: track.Target{Kind: track.Route, Prefix: netip.MustParsePrefix("10.0.0.0/8"), Via: netip.MustParseAddr("fe80::1")}},
		{Target: track.Target{Kind: track.Service, Name: "web"}, Weight: 5},
	}
	if diff := cmp.Diff(want, c.Routers[0].Track, byValue); diff != "" {
		t.Errorf("tracks (-want +got):\n%s", diff)
	}
	if c.Routers[1].Track != nil {
		t.Errorf("the other has tracks: %v", c.Routers[1].Track)
	}
	for _, w := range c.Warnings {
		t.Log(w)
	}
}
