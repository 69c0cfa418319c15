package configs

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/sysctl"
)

func TestPolicy(t *testing.T) {
	const server = "\n[[service.server]]\naddress = \"10.0.0.1:80\"\nweight = 4\n"
	sorry := netip.MustParseAddrPort("10.0.0.9:80")
	for _, tt := range []struct {
		name, in string
		want     director.Policy
	}{
		{"defaults", `forward = "dr"`, director.Policy{Quorum: 1, Drain: 30 * time.Second}},
		{
			"everything", `forward = "dr"
quorum = 3
hysteresis = 1
sorry = "10.0.0.9:80"
sorry_forward = "tun"
while_unhealthy = "weight-zero"
drain = "90s"
slow_start = "1500ms"
alpha = true
omega = "keep"`,
			director.Policy{
				Quorum: 3, Hysteresis: 1, Sorry: director.Server{Address: sorry, Spec: director.ServerSpec{Weight: 1, Forward: director.TUN}},
				ZeroWhileDown: true, Drain: 90 * time.Second, SlowStart: 1500 * time.Millisecond, Alpha: true, KeepAtStop: true,
			},
		},
		{
			"sorry as the service", "forward = \"dr\"\nsorry = \"10.0.0.9:80\"\nwhile_unhealthy = \"remove\"\nomega = \"remove\"",
			director.Policy{Quorum: 1, Drain: 30 * time.Second, Sorry: director.Server{Address: sorry, Spec: director.ServerSpec{Weight: 1, Forward: director.DR}}},
		},
		{
			"a quorum beyond what is configured, with weights from the check",
			"forward = \"dr\"\nquorum = 100\ncheck = { type = \"http\", weight_header = \"x-weight\" }", director.Policy{Quorum: 100, Drain: 30 * time.Second},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := parse(t, "[[service]]\nname = \"s\"\naddress = \"10.0.0.100:80\"\n"+tt.in+server)
			s := c.Director.Services[0]
			if diff := cmp.Diff(tt.want, s.Policy, byValue); diff != "" {
				t.Errorf("policy (-want +got):\n%s", diff)
			}
			if len(c.Warnings) > 0 {
				t.Errorf("warnings: %v", c.Warnings)
			}
			if h := s.Servers[0].Check.WeightHeader; strings.Contains(tt.in, "weight_header") != (h == "X-Weight") {
				t.Errorf("the header is %q", h)
			}
		})
	}
}

func TestGroups(t *testing.T) {
	for _, tt := range []struct {
		name, in, server string
		want             []string // addresses, or marks
		mask             uint8
	}{
		{
			name: "addresses", in: `addresses = ["10.0.0.1:80", "10.0.0.254-10.0.1.1:81", "10.0.0.1:82"]`, server: "10.1.0.1:0",
			want: []string{"10.0.0.1:80", "10.0.0.254:81", "10.0.0.255:81", "10.0.1.0:81", "10.0.1.1:81", "10.0.0.1:82"}, mask: 32,
		},
		{
			name: "IPv6", in: `addresses = ["[fd00::ff-fd00::101]:80", "[fd00::1]-[fd00::1]:80"]`, server: "[fd00:1::]:80",
			want: []string{"[fd00::ff]:80", "[fd00::100]:80", "[fd00::101]:80", "[fd00::1]:80"}, mask: 128,
		},
		{
			name: "both families", in: `addresses = ["10.0.0.1:80", "[fd00::1]:80"]`, server: "10.1.0.1:80",
			want: []string{"10.0.0.1:80", "[fd00::1]:80"},
		},
		{name: "marks", in: "fwmarks = [3, 1, 4294967295]", server: "10.1.0.1:0", want: []string{"3", "1", "4294967295"}, mask: 32},
		{name: "IPv6 mark", in: "fwmarks = [3]\nfamily = \"ipv6\"", server: "[fd00::1]:0", want: []string{"3 6"}, mask: 128},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := parse(t, fmt.Sprintf("[[service]]\nname = \"s\"\nforward = \"tun\"\n%s\n[[service.server]]\naddress = %q\n", tt.in, tt.server))
			var got []string
			for _, k := range c.Director.Services[0].Keys {
				switch {
				case k.FWMark == 0:
					got = append(got, k.Address.String())
					if k.Protocol != director.TCP || k.IPv6 {
						t.Errorf("key %+v", k)
					}
				case k.IPv6:
					got = append(got, fmt.Sprint(k.FWMark, " 6"))
				default:
					got = append(got, fmt.Sprint(k.FWMark))
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
			if mask := c.Director.Services[0].Spec.Mask; mask != tt.mask {
				t.Errorf("mask %d, want %d", mask, tt.mask)
			}
		})
	}
	full := parse(t, "[[service]]\nname = \"s\"\nforward = \"tun\"\naddresses = [\"10.0.0.0-10.0.0.255:80\", \"[fd00::ff00-fd00::ffff]:80\"]\n[[service.server]]\naddress = \"10.1.0.1:80\"\n")
	if n := len(full.Director.Services[0].Keys); n != 2*maxRange {
		t.Errorf("two full ranges are %d keys", n)
	}
}

// Few bytes can stand for many addresses; what is made of them is bounded.
func TestManyKeys(t *testing.T) {
	var b strings.Builder
	for i := range 100 {
		fmt.Fprintf(&b, "[[service]]\nname = \"%d\"\nforward = \"nat\"\naddresses = [\n", i)
		for j := range 4 {
			fmt.Fprintf(&b, "\"10.%d.%d.0-10.%d.%d.255:80\",\n", i, j, i, j)
		}
		b.WriteString("]\n[[service.server]]\naddress = \"10.200.0.1:80\"\n")
	}
	_, err := Parse("f", []byte(b.String()))
	if err == nil || strings.Count(err.Error(), "\n") != 0 || !strings.Contains(err.Error(), "have more than 65536 addresses") {
		t.Errorf("error %v, want one that there are too many", err)
	}
}

func TestDirector(t *testing.T) {
	const service = "\n[[vrrp]]\nname = \"web\"\ninterface = \"eth0\"\nvrid = 1\naddresses = [\"10.0.0.100/24\"]\n" +
		"[[service]]\nname = \"s\"\naddress = \"10.0.0.100:80\"\nforward = \"dr\"\n[[service.server]]\naddress = \"10.0.0.1:80\"\n"
	group := netip.MustParseAddr("224.0.0.81")
	for _, tt := range []struct {
		name, in string
		want     Config
	}{
		{"nothing", "", Config{State: "/var/lib/understudy"}},
		{
			"sync", "[director.sync]\ninterface = \"eth1\"",
			Config{State: "/var/lib/understudy", Sync: &Sync{Interface: "eth1", Group: group, Port: 8848, BeaconPort: 8849, TTL: 1}},
		},
		{
			"follow, by the name alone", "[director.sync]\ninterface = \"eth1\"\nvrrp = \"web\"",
			Config{State: "/var/lib/understudy", Sync: &Sync{Interface: "eth1", Group: group, Port: 8848, BeaconPort: 8849, TTL: 1, Follow: "web"}},
		},
		{
			"everything", `[director]
state = "/srv/understudy"
timeouts = { tcp = "900s", tcp_fin = "120s", udp = "576h" }
[director.sync]
interface = "eth1"
id = 255
maxlen = 65487
group = "ff05::51"
port = 9000
ttl = 255
role = "follow"
vrrp = "web"
peer_port = 65535
secret = "correct horse"
[director.sysctl]
set = true
"net.ipv4.vs.sync_ports" = 4
"net.ipv4.conf.eth0/100.rp_filter" = 0
"net.ipv4.vs.sync_threshold" = "3 10"`,
			Config{
				State:    "/srv/understudy",
				Timeouts: Timeouts{TCP: 15 * time.Minute, TCPFin: 2 * time.Minute, UDP: 576 * time.Hour},
				Sync: &Sync{
					Interface: "eth1", ID: 255, MaxLen: 65487, Group: netip.MustParseAddr("ff05::51"), Port: 9000, TTL: 255, Follow: "web",
					BeaconPort: 65535, Secret: "correct horse",
				},
				Sysctl: Sysctl{Set: true, Values: []sysctl.Setting{
					{Key: "net.ipv4.conf.eth0/100.rp_filter", Value: "0"},
					{Key: "net.ipv4.vs.sync_ports", Value: "4"},
					{Key: "net.ipv4.vs.sync_threshold", Value: "3 10"},
				}},
			},
		},
		{
			"behind all ports of the kernel", "[director.sync]\ninterface = \"eth1\"\n[director.sysctl]\n\"net.ipv4.vs.sync_ports\" = 4",
			Config{
				State:  "/var/lib/understudy",
				Sync:   &Sync{Interface: "eth1", Group: group, Port: 8848, BeaconPort: 8852, TTL: 1},
				Sysctl: Sysctl{Values: []sysctl.Setting{{Key: "net.ipv4.vs.sync_ports", Value: "4"}}},
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := parse(t, tt.in+service)
			got := Config{State: c.State, Sync: c.Sync, Timeouts: c.Timeouts, Sysctl: c.Sysctl}
			if diff := cmp.Diff(tt.want, got, byValue); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(c.Warnings) > 0 {
				t.Errorf("warnings: %v", c.Warnings)
			}
		})
	}
}
