package main

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/configs"
)

// settings is a kernel's, for tests that only read.
type settings map[string]string

func (s settings) Read(key string) (string, error) {
	if v, ok := s[key]; ok {
		return v, nil
	}
	return "", fmt.Errorf("read %s: %w", key, fs.ErrNotExist)
}

func (s settings) Write(string, string) error { panic("written to") }

func TestCompareWithMachine(t *testing.T) {
	c, err := configs.Parse("f", []byte(`
[director.sync]
interface = "eth1"
vrrp = "web"
[[vrrp]]
name = "web"
interface = "eth0"
vrid = 1
addresses = ["10.0.0.100/24"]
[[service]]
name = "web"
address = "10.0.0.100:80"
forward = "nat"
scheduler = "mh"
[[service.server]]
address = "10.0.0.1:80"
[[service]]
name = "sip"
address = "10.0.0.100:5060"
protocol = "udp"
forward = "dr"
persistence = "60s"
persistence_engine = "sip"
[[service.server]]
address = "10.0.0.1:5060"
`))
	if err != nil {
		t.Fatal(err)
	}
	const vs = "net.ipv4.vs."
	good := settings{
		"net.ipv4.ip_forward": "1", vs + "conntrack": "1", vs + "sync_version": "1", vs + "expire_nodest_conn": "1",
		vs + "expire_quiescent_template": "1", vs + "conn_reuse_mode": "1", vs + "sync_refresh_period": "10", vs + "sync_retries": "3",
		vs + "sloppy_tcp": "1",
	}
	with := func(changes settings) settings {
		s := settings{}
		for _, m := range []settings{good, changes} {
			maps.Copy(s, m)
		}
		return s
	}
	files := fstest.MapFS{
		"sys/module/ip_vs/refcnt":         {},
		"sys/module/ip_vs_wlc/refcnt":     {},
		"lib/modules/6.1/modules.dep":     {Data: []byte("kernel/net/ipv4/ip_vs_pe_sip.ko.xz: kernel/a.ko.xz\nkernel/ip_vs_rr.ko:\n")},
		"lib/modules/6.1/modules.builtin": {Data: []byte("kernel/net/netfilter/ipvs/ip_vs_mh.ko\n")},
	}
	without := func(name string) fstest.MapFS {
		left := fstest.MapFS{}
		for k, v := range files {
			if k != name {
				left[k] = v
			}
		}
		return left
	}
	for _, tt := range []struct {
		name     string
		settings settings
		files    fs.FS
		links    []string
		good     bool
		want     []string // how the lines begin
	}{
		{name: "all there", settings: good, files: files, links: []string{"eth0", "eth1"}, good: true},
		{
			name: "a hint and an advice", settings: with(settings{vs + "conntrack": "0", vs + "expire_nodest_conn": "0"}), files: files, links: []string{"eth0", "eth1"}, good: true,
			want: []string{
				"! net.ipv4.vs.expire_nodest_conn is 0, 1 is advised: a client", "!   sysctl -w net.ipv4.vs.expire_nodest_conn=1",
				"  net.ipv4.vs.conntrack is 0, consider 1: rules", "    sysctl -w net.ipv4.vs.conntrack=1",
			},
		},
		{
			name: "not forwarding", settings: with(settings{"net.ipv4.ip_forward": "0"}), files: files, links: []string{"eth0", "eth1"},
			want: []string{"! net.ipv4.ip_forward is 0, 1 is required: the answers", "!   sysctl -w net.ipv4.ip_forward=1"},
		},
		{name: "no interface", settings: good, files: files, links: []string{"eth0"}, want: []string{"! interface eth1 is not here"}},
		{
			name: "no module", settings: good, files: without("lib/modules/6.1/modules.builtin"), links: []string{"eth0", "eth1"},
			want: []string{"! the kernel 6.1 has no module ip_vs_mh; install"},
		},
		{name: "built in without parameters", settings: good, files: without("sys/module/ip_vs/refcnt"), links: []string{"eth0", "eth1"}, good: true},
		{
			name: "not loaded", settings: settings{"net.ipv4.ip_forward": "1"}, files: files, links: []string{"eth0", "eth1"}, good: true,
			want: []string{"  ip_vs is not loaded"},
		},
		{
			name: "nothing of IPVS", settings: settings{"net.ipv4.ip_forward": "1"}, files: fstest.MapFS{}, links: []string{"eth0", "eth1"},
			want: []string{
				"! the kernel 6.1 has no module ip_vs;", "! the kernel 6.1 has no module ip_vs_mh;", "! the kernel 6.1 has no module ip_vs_pe_sip;",
				"! the kernel 6.1 has no module ip_vs_wlc;", "  ip_vs is not loaded",
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b strings.Builder
			m := machine{settings: tt.settings, files: tt.files, release: "6.1", link: func(name string) bool { return slices.Contains(tt.links, name) }}
			if good := m.compare(&b, c); good != tt.good {
				t.Errorf("good is %v, want %v", good, tt.good)
			}
			var got []string
			for i, line := range strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n") {
				if i < len(tt.want) && strings.HasPrefix(line, tt.want[i]) {
					line = tt.want[i]
				}
				if line != "" {
					got = append(got, line)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever this machine is, it can be compared with, and what was good stays.
func TestCheckKernel(t *testing.T) {
	status, stdout, stderr := try("check", "--kernel", "../../configs/examples/standalone/director.toml")
	if !strings.Contains(stdout, ": good: ") || stderr != "" || status > 1 || status == 1 && !strings.Contains(stdout, "\n! ") {
		t.Errorf("exit status %d, printed %q and %q", status, stdout, stderr)
	}
}
