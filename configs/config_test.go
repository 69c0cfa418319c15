package configs

import (
	"log/slog"
	"net/netip"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/garp"
	"github.com/understudy-ha/understudy/health"
	"github.com/understudy-ha/understudy/vrrp"
)

// byValue compares what has unexported fields.
var byValue = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func parse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("test.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestExamples(t *testing.T) {
	files, err := filepath.Glob("examples/*/*.toml")
	if err != nil || len(files) < 8 {
		t.Fatalf("found %d examples, %v", len(files), err)
	}
	for _, file := range files {
		c, err := Load(file)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, w := range c.Warnings {
			t.Error(w)
		}
	}
}

func TestPair(t *testing.T) {
	for _, tt := range []struct {
		file     string
		id       string
		priority uint8
	}{
		{"examples/pair/lb1.toml", "lb1", 150},
		{"examples/pair/lb2.toml", "lb2", 100},
	} {
		vip := netip.MustParseAddr("10.51.0.100")
		want := &Config{
			RouterID: tt.id,
			Log:      Log{Level: slog.LevelInfo, Format: "text"},
			Socket:   "/run/understudy/understudy.sock",
			State:    "/var/lib/understudy",
			Routers: []VirtualRouter{{
				Link: "eth0", PeerTTL: 255, Accept: true, ReadyLimit: time.Minute,
				Config: vrrp.Config{
					Name: "web", VRID: 51, Version: vrrp.V3, Priority: tt.priority, Interval: 100 * time.Millisecond,
					Preempt: true, PreemptDelay: time.Second, Addresses: []netip.Addr{vip},
				},
			}},
			Director: director.Config{
				Routers: []director.VirtualRouter{{
					Name: "web", Link: "eth0", Addresses: []netip.Prefix{netip.PrefixFrom(vip, 24)},
					Announce: garp.Schedule{Count: 5, RepeatAfter: 5 * time.Second, Refresh: time.Minute},
				}},
				Services: []director.Service{{
					Name: "web",
					Keys: []director.ServiceKey{{Protocol: director.TCP, Address: netip.AddrPortFrom(vip, 80)}},
					Spec: director.ServiceSpec{Scheduler: "rr", Mask: 32}, Policy: director.Policy{Quorum: 1, Drain: 30 * time.Second},
				}},
			},
		}
		for _, server := range []string{"10.51.0.21:80", "10.51.0.22:80", "10.51.0.23:80"} {
			s := &want.Director.Services[0]
			s.Servers = append(s.Servers, director.Server{
				Address: netip.MustParseAddrPort(server),
				Spec:    director.ServerSpec{Weight: 1, Forward: director.DR},
				Check: health.Check{
					Type: health.TypeHTTP, Target: netip.MustParseAddrPort(server),
					Interval: 200 * time.Millisecond, Timeout: 100 * time.Millisecond, Rise: 2, Fall: 2,
					Method: "GET", Path: "/healthz", Status: "200-299",
				},
			})
		}
		got, err := Load(tt.file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, byValue); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.file, diff)
		}
	}
}

func TestRouter(t *testing.T) {
	c := parse(t, `
[director]
router_id = "a"
log = { level = "debug", format = "json" }
api.socket = "/tmp/s"
[[vrrp]]
name = "v2"
interface = "eth0.100"
vrid = 255
version = 2
priority = 254
preempt_when = "ready"
ready_limit = "90s"
advert_interval = "255s"
addresses = ["10.0.0.1", "10.0.0.2/31", "192.168.0.1/16"]
source = "10.0.0.7"
unicast_peers = ["10.0.0.9", "10.0.0.8"]
auth = { type = "pass", password = "pa55word" }
garp = { count = 0, interval = "1ms", repeat_after = "0s", refresh = "0s" }
[[vrrp]]
name = "v3"
interface = "eth0.101"
vrid = 255
advert_interval = "40.95s"
preempt = false
addresses = ["10.0.0.1"]
`)
	addr := netip.MustParseAddr
	want := []VirtualRouter{
		{
			Link: "eth0.100", PeerTTL: 255, Accept: true, ReadyLimit: 90 * time.Second, PreemptWhenReady: true, Source: addr("10.0.0.7"), UnicastPeers: []netip.Addr{addr("10.0.0.9"), addr("10.0.0.8")},
			Config: vrrp.Config{
				Name: "v2", VRID: 255, Version: vrrp.V2, Priority: 254, Interval: 255 * time.Second, Preempt: true,
				Addresses: []netip.Addr{addr("10.0.0.1"), addr("10.0.0.2"), addr("192.168.0.1")}, Password: "pa55word",
			},
		},
		{
			Link: "eth0.101", PeerTTL: 255, Accept: true, ReadyLimit: time.Minute,
			Config: vrrp.Config{
				Name: "v3", VRID: 255, Version: vrrp.V3, Priority: 100, Interval: 40950 * time.Millisecond,
				Addresses: []netip.Addr{addr("10.0.0.1")},
			},
		},
	}
	if diff := cmp.Diff(want, c.Routers, byValue); diff != "" {
		t.Errorf("routers (-want +got):\n%s", diff)
	}
	prefixes := []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("10.0.0.2/31"), netip.MustParsePrefix("192.168.0.1/16")}
	if diff := cmp.Diff(prefixes, c.Director.Routers[0].Addresses, byValue); diff != "" {
		t.Errorf("prefixes (-want +got):\n%s", diff)
	}
	if got, want := c.Director.Routers[0].Announce, (garp.Schedule{Interval: time.Millisecond}); got != want {
		t.Errorf("schedule is %+v, want %+v", got, want)
	}
	if c.Log != (Log{Level: slog.LevelDebug, Format: "json"}) || c.Socket != "/tmp/s" {
		t.Errorf("log %+v, socket %q", c.Log, c.Socket)
	}
}

// TestService reads one service per row and compares its key and spec, and
// the first server's spec.
func TestService(t *testing.T) {
	v4 := netip.MustParseAddrPort("10.0.0.100:80")
	v6 := netip.MustParseAddrPort("[fd00::100]:80")
	for _, tt := range []struct {
		name, in, server string
		key              director.ServiceKey
		spec             director.ServiceSpec
		serverSpec       director.ServerSpec
	}{
		{
			name: "defaults", in: `address = "10.0.0.100:80"`, server: `address = "10.0.0.1:80", forward = "nat"`,
			key:        director.ServiceKey{Protocol: director.TCP, Address: v4},
			spec:       director.ServiceSpec{Scheduler: "wlc", Mask: 32},
			serverSpec: director.ServerSpec{Weight: 1, Forward: director.NAT},
		}, {
			name: "IPv6", in: `address = "[fd00::100]:80"`, server: `address = "[fd00::1]:80", forward = "tun", weight = 65535, tunnel = { type = "ipip" }`,
			key:        director.ServiceKey{Protocol: director.TCP, Address: v6},
			spec:       director.ServiceSpec{Scheduler: "wlc", Mask: 128},
			serverSpec: director.ServerSpec{Weight: 65535, Forward: director.TUN},
		}, {
			name:       "fwmark",
			in:         "fwmark = 4294967295\nfamily = \"ipv6\"\nforward = \"dr\"\npersistence = \"31s\"\npersistence_mask = 64",
			server:     `address = "[fd00::1]:0", weight = 0, max_connections = 10, min_connections = 10`,
			key:        director.ServiceKey{FWMark: 1<<32 - 1, IPv6: true},
			spec:       director.ServiceSpec{Scheduler: "wlc", Persistence: 31 * time.Second, Mask: 64},
			serverSpec: director.ServerSpec{Forward: director.DR, Upper: 10, Lower: 10},
		}, {
			name:       "UDP, flags",
			in:         "address = \"10.0.0.100:80\"\nprotocol = \"udp\"\nscheduler = \"mh\"\nscheduler_flags = [\"mh-port\", \"mh-fallback\"]\none_packet = true",
			server:     `address = "10.0.0.1:81", forward = "nat"`,
			key:        director.ServiceKey{Protocol: director.UDP, Address: v4},
			spec:       director.ServiceSpec{Scheduler: "mh", Flags: 0x04 | 0x08 | 0x10, Mask: 32},
			serverSpec: director.ServerSpec{Weight: 1, Forward: director.NAT},
		}, {
			name:       "sh-port",
			in:         "address = \"10.0.0.100:80\"\nscheduler = \"sh\"\nscheduler_flags = [\"sh-port\"]\nforward = \"nat\"",
			server:     `address = "10.0.0.1:80", forward = "dr"`,
			key:        director.ServiceKey{Protocol: director.TCP, Address: v4},
			spec:       director.ServiceSpec{Scheduler: "sh", Flags: 0x10, Mask: 32},
			serverSpec: director.ServerSpec{Weight: 1, Forward: director.DR},
		}, {
			name:       "SCTP on the director",
			in:         "address = \"10.0.0.100:80\"\nprotocol = \"sctp\"\nforward = \"local\"",
			server:     `address = "10.0.0.11:80"`,
			key:        director.ServiceKey{Protocol: director.SCTP, Address: v4},
			spec:       director.ServiceSpec{Scheduler: "wlc", Mask: 32},
			serverSpec: director.ServerSpec{Weight: 1, Forward: director.Local},
		}, {
			name:       "SIP",
			in:         "address = \"10.0.0.100:80\"\nprotocol = \"udp\"\nforward = \"nat\"\npersistence = \"60s\"\npersistence_engine = \"sip\"\none_packet = true",
			server:     `address = "10.0.0.11:80"`,
			key:        director.ServiceKey{Protocol: director.UDP, Address: v4},
			spec:       director.ServiceSpec{Scheduler: "wlc", Flags: 0x04, Persistence: time.Minute, Mask: 32, Engine: "sip"},
			serverSpec: director.ServerSpec{Weight: 1},
		}, {
			name:       "GUE across families",
			in:         `address = "10.0.0.100:80"`,
			server:     `address = "[fd00::1]:80", forward = "tun", tunnel = { type = "gue", checksum = "remote" }`,
			key:        director.ServiceKey{Protocol: director.TCP, Address: v4},
			spec:       director.ServiceSpec{Scheduler: "wlc", Mask: 32},
			serverSpec: director.ServerSpec{Weight: 1, Forward: director.TUN, Tunnel: director.Tunnel{Type: director.GUE, Port: 6080, Checksum: director.RemoteChecksum}},
		}, {
			name:       "GUE with a port",
			in:         `address = "10.0.0.100:80"`,
			server:     `address = "10.0.0.1:80", forward = "tun", tunnel = { type = "gue", port = 5555 }`,
			key:        director.ServiceKey{Protocol: director.TCP, Address: v4},
			spec:       director.ServiceSpec{Scheduler: "wlc", Mask: 32},
			serverSpec: director.ServerSpec{Weight: 1, Forward: director.TUN, Tunnel: director.Tunnel{Type: director.GUE, Port: 5555}},
		}, {
			name:       "GRE, the other way",
			in:         `address = "[fd00::100]:80"`,
			server:     `address = "10.0.0.1:80", forward = "tun", tunnel = { type = "gre", checksum = "checksum" }`,
			key:        director.ServiceKey{Protocol: director.TCP, Address: v6},
			spec:       director.ServiceSpec{Scheduler: "wlc", Mask: 128},
			serverSpec: director.ServerSpec{Weight: 1, Forward: director.TUN, Tunnel: director.Tunnel{Type: director.GRE, Checksum: director.Checksum}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := parse(t, "[[service]]\nname = \"s\"\n"+tt.in+"\n[[service.server]]\n"+commas(tt.server))
			s := c.Director.Services[0]
			if s.Keys[0] != tt.key {
				t.Errorf("key is %+v, want %+v", s.Keys[0], tt.key)
			}
			if s.Spec != tt.spec {
				t.Errorf("spec is %+v, want %+v", s.Spec, tt.spec)
			}
			if s.Servers[0].Spec != tt.serverSpec {
				t.Errorf("server is %+v, want %+v", s.Servers[0].Spec, tt.serverSpec)
			}
			if len(c.Warnings) > 0 {
				t.Errorf("warnings: %v", c.Warnings)
			}
		})
	}
}

// TestLaterKeys gives every key that this version does not support the value
// that it obeys anyway.
func TestLaterKeys(t *testing.T) {
	parse(t, `

realserver = []
[director]
[[vrrp]]
name = "a"
interface = "eth0"
vrid = 1
addresses = ["10.0.0.1/24"]
notify = []
track = []
`)
}

func TestInheritedCheck(t *testing.T) {
	c := parse(t, `
[[service]]
name = "s"
address = "10.0.0.100:80"
forward = "nat"
[service.check]
type = "https"
interval = "5s"
rise = 7
port = 8443
path = "/service"
status = ["304", "200-250", "251-299", "240-260"]
insecure = true
body = "^up$"
[[service.server]]
address = "10.0.0.1:80"
[[service.server]]
address = "10.0.0.2:80"
check = { path = "/server", fall = 9 }
[[service.server]]
address = "10.0.0.3:80"
check = { type = "tcp", port = 22, address = "10.9.0.3" }
[[service.server]]
address = "10.0.0.4:80"
check = { type = "none" }
[[service.server]]
address = "10.0.0.5:0"
check = { type = "http", host = "h", method = "HEAD", body = "" }
[[service]]
name = "unchecked"
address = "10.0.0.101:80"
forward = "nat"
[[service.server]]
address = "10.0.0.1:0"
[[service.server]]
address = "10.0.0.2:0"
check.type = "tcp"
`)
	https := health.Check{
		Type: health.TypeHTTPS, Target: netip.MustParseAddrPort("10.0.0.1:8443"),
		Interval: 5 * time.Second, Timeout: time.Second, Rise: 7, Fall: 3,
		Method: "GET", Path: "/service", Status: "200-299,304", Body: "^up$", Insecure: true,
	}
	server := https
	server.Target = netip.MustParseAddrPort("10.0.0.2:8443")
	server.Path, server.Fall = "/server", 9
	http := https
	http.Type, http.Target = health.TypeHTTP, netip.MustParseAddrPort("10.0.0.5:8443")
	http.Host, http.Method, http.Body, http.Insecure = "h", "HEAD", "", false
	want := []health.Check{
		https,
		server,
		{Type: health.TypeTCP, Target: netip.MustParseAddrPort("10.9.0.3:22"), Interval: 5 * time.Second, Timeout: time.Second, Rise: 7, Fall: 3},
		{Type: health.TypeNone},
		http,
		{Type: health.TypeNone},
		{Type: health.TypeTCP, Target: netip.MustParseAddrPort("10.0.0.2:80"), Interval: 2 * time.Second, Timeout: time.Second, Rise: 2, Fall: 3},
	}
	var got []health.Check
	for _, s := range c.Director.Services {
		for _, server := range s.Servers {
			got = append(got, server.Check)
		}
	}
	if diff := cmp.Diff(want, got, byValue); diff != "" {
		t.Errorf("checks (-want +got):\n%s", diff)
	}
}

// commas puts the assignments of an inline table on lines of their own.
func commas(s string) string {
	var out []byte
	depth := 0
	for _, c := range []byte(s) {
		switch {
		case c == '{':
			depth++
		case c == '}':
			depth--
		case c == ',' && depth == 0:
			c = '\n'
		}
		out = append(out, c)
	}
	return string(out)
}

func same(a, b *Config) bool { return reflect.DeepEqual(a, b) }

// TestPreemptWhenReady has the defaults of preempt_when, and what overrides them.
func TestPreemptWhenReady(t *testing.T) {
	const sync = "[director.sync]\ninterface = \"eth1\"\n"
	for _, tt := range []struct {
		name, sync, key string
		want            bool
	}{
		{"without synchronisation", "", "", false},
		{"with it", sync, "", true},
		{"ready without it", "", `preempt_when = "ready"`, true},
		{"always with it", sync, `preempt_when = "always"`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := parse(t, tt.sync+"[[vrrp]]\nname = \"web\"\ninterface = \"eth0\"\nvrid = 1\naddresses = [\"10.0.0.1/24\"]\n"+tt.key+"\n"+serviceText("s", 80))
			if got := c.Routers[0].PreemptWhenReady; got != tt.want {
				t.Errorf("PreemptWhenReady = %v, want %v", got, tt.want)
			}
		})
	}
}
