package sysctl

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/director"
)

func service(spec director.ServiceSpec, key director.ServiceKey, servers ...director.Server) director.Config {
	return director.Config{Services: []director.Service{{Name: "s", Keys: []director.ServiceKey{key}, Spec: spec, Servers: servers}}}
}

func server(address string, forward director.Forward) director.Server {
	return director.Server{Address: netip.MustParseAddrPort(address), Spec: director.ServerSpec{Weight: 1, Forward: forward}}
}

var (
	tcp = director.ServiceKey{Protocol: director.TCP, Address: netip.MustParseAddrPort("10.0.0.100:80")}
	udp = director.ServiceKey{Protocol: director.UDP, Address: netip.MustParseAddrPort("10.0.0.100:53")}
	rr  = director.ServiceSpec{Scheduler: "rr"}
)

func TestNeeds(t *testing.T) {
	routed := func(c director.Config, links ...string) director.Config {
		for _, link := range links {
			c.Routers = append(c.Routers, director.VirtualRouter{Link: link})
		}
		return c
	}
	gue := server("10.0.0.1:80", director.TUN)
	gue.Spec.Tunnel.Type = director.GUE
	sorry := service(rr, udp, server("10.0.0.1:53", director.DR))
	sorry.Services[0].Policy.Sorry = server("10.0.0.9:53", director.NAT)
	const (
		nodest   = "advised net.ipv4.vs.expire_nodest_conn=1"
		reuse    = "advised net.ipv4.vs.conn_reuse_mode=1"
		quiet    = "advised net.ipv4.vs.expire_quiescent_template=1"
		rates    = "hint net.ipv4.vs.run_estimation=1"
		track    = "hint net.ipv4.vs.conntrack=1"
		forward4 = "required net.ipv4.ip_forward=1"
		forward6 = "required net.ipv6.conf.all.forwarding=1"
		period   = "advised net.ipv4.vs.sync_refresh_period=10"
		retries  = "advised net.ipv4.vs.sync_retries=2"
		version  = "required net.ipv4.vs.sync_version=1"
	)
	for _, tt := range []struct {
		name string
		in   director.Config
		sync Sync
		want []string
	}{
		{name: "nothing", in: director.Config{Routers: []director.VirtualRouter{{Link: "eth0"}}}},
		{name: "direct routing", in: service(rr, tcp, server("10.0.0.1:80", director.DR)), want: []string{reuse, nodest, rates}},
		{name: "datagrams", in: service(rr, udp, server("10.0.0.1:53", director.DR)), want: []string{nodest, rates}},
		{
			name: "fwmark, with persistence",
			in:   service(director.ServiceSpec{Scheduler: "sh", Persistence: time.Second}, director.ServiceKey{FWMark: 1}, server("10.0.0.1:0", director.DR)),
			want: []string{reuse, nodest, quiet, rates},
		},
		{name: "NAT", in: service(rr, udp, server("10.0.0.1:53", director.NAT)), want: []string{forward4, nodest, track, rates}},
		{name: "NAT, IPv6", in: service(rr, udp, server("[fd00::1]:53", director.NAT)), want: []string{forward6, nodest, track, rates}},
		{name: "NAT to the sorry server", in: sorry, want: []string{forward4, nodest, track, rates}},
		{
			name: "NAT on one interface", in: routed(service(rr, udp, server("10.0.0.1:53", director.NAT)), "eth0.100", "eth0.100"),
			want: []string{forward4, nodest, "hint net.ipv4.conf.all.send_redirects=0", "hint net.ipv4.conf.eth0/100.send_redirects=0", track, rates},
		},
		{
			name: "NAT between interfaces", in: routed(service(rr, udp, server("10.0.0.1:53", director.NAT)), "eth1", "eth0"),
			want: []string{forward4, nodest, track, rates},
		},
		{
			name: "hashed", in: service(director.ServiceSpec{Scheduler: "mh"}, tcp, server("10.0.0.1:80", director.DR)),
			want: []string{reuse, nodest, rates, "hint net.ipv4.vs.sloppy_tcp=1"},
		},
		{
			name: "synchronised", in: service(rr, udp, server("10.0.0.1:53", director.DR)), sync: SyncBoth,
			want: []string{"required net.ipv4.vs.backup_only=0", version, nodest, period, retries, rates},
		},
		{
			name: "synchronised, following", in: service(rr, udp, server("10.0.0.1:53", director.DR)), sync: SyncFollow,
			want: []string{version, nodest, period, retries, rates},
		},
		{
			name: "directors that are real servers", in: service(rr, udp, server("10.0.0.1:53", director.Local), server("10.0.0.2:53", director.TUN)), sync: SyncFollow,
			want: []string{
				"required net.ipv4.vs.backup_only=1", version, "advised net.ipv4.conf.tunl0.rp_filter=2", nodest, period, retries, rates,
			},
		},
		{
			name: "the same by GUE, without synchronisation", in: service(rr, udp, server("10.0.0.1:53", director.Local), gue),
			want: []string{nodest, rates},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, n := range Needs(tt.in, tt.sync) {
				got = append(got, fmt.Sprintf("%v %s=%s", n.Severity, n.Key, n.Want))
				if err := errors.Join(CheckKey(n.Key), CheckValue(n.Want)); err != nil || n.Why == "" {
					t.Errorf("%+v: %v", n, err)
				}
			}
			slices.Sort(got)
			want := slices.Sorted(slices.Values(tt.want))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestCompare(t *testing.T) {
	nat := Config{Director: service(rr, tcp, server("10.0.0.1:80", director.NAT))}
	good := map[string]Value{
		"net.ipv4.ip_forward": {Text: "1"}, vs + "expire_nodest_conn": {Text: "1"}, vs + "conn_reuse_mode": {Text: "2"},
		vs + "conntrack": {Text: "1"}, vs + "run_estimation": {Absent: true},
	}
	tunnels := Config{Director: service(rr, udp, server("10.0.0.1:53", director.Local), server("10.0.0.2:53", director.TUN))}
	filter := func(all, tunl0 Value) map[string]Value {
		return map[string]Value{
			"net.ipv4.conf.all.rp_filter": all, "net.ipv4.conf.tunl0.rp_filter": tunl0,
			vs + "expire_nodest_conn": {Text: "1"}, vs + "run_estimation": {Text: "1"},
		}
	}
	synced := Config{Director: director.Config{}, Sync: SyncFollow}
	for _, tt := range []struct {
		name string
		c    Config
		have map[string]Value
		also map[string]Value // on top of have
		want []string         // "KEY HAVE WANT SEVERITY FIX ERR"
	}{
		{name: "all good", c: nat, have: good},
		{
			name: "not forwarding", c: nat, have: good, also: map[string]Value{"net.ipv4.ip_forward": {Text: "0"}, vs + "expire_nodest_conn": {Text: "0"}},
			want: []string{
				`net.ipv4.ip_forward "0" "1" required "sysctl -w net.ipv4.ip_forward=1" ""`,
				vs + `expire_nodest_conn "0" "1" advised "sysctl -w net.ipv4.vs.expire_nodest_conn=1" ""`,
			},
		},
		{
			name: "absent", c: nat, have: good, also: map[string]Value{"net.ipv4.ip_forward": {Absent: true}, vs + "conntrack": {Absent: true}, vs + "conn_reuse_mode": {Absent: true}},
			want: []string{`net.ipv4.ip_forward "" "1" required "" ""`},
		},
		{
			name: "unreadable", c: nat, have: good, also: map[string]Value{"net.ipv4.ip_forward": {Err: "no"}},
			want: []string{`net.ipv4.ip_forward "" "1" required "sysctl -w net.ipv4.ip_forward=1" "no"`},
		},
		{
			name: "named against what is advised", c: Config{Director: nat.Director, Values: []Setting{{vs + "expire_nodest_conn", "0"}}}, have: good,
			also: map[string]Value{vs + "expire_nodest_conn": {Text: "0"}},
		},
		{
			name: "named against what is required", c: Config{Director: nat.Director, Values: []Setting{{"net.ipv4.ip_forward", "0"}}}, have: good,
			also: map[string]Value{"net.ipv4.ip_forward": {Text: "0"}},
			want: []string{`net.ipv4.ip_forward "0" "1" required "sysctl -w net.ipv4.ip_forward=1" ""`},
		},
		{
			name: "named", c: Config{Values: []Setting{{"net.ipv4.tcp_rmem", "1 2 3"}, {"net.ipv4.a'b", "x"}, {"net.ipv4.none", "1"}}},
			have: map[string]Value{"net.ipv4.tcp_rmem": {Text: "1\t2\t3"}, "net.ipv4.a'b": {Text: "y"}, "net.ipv4.none": {Absent: true}},
			want: []string{
				`net.ipv4.a'b "y" "x" required "sysctl -w 'net.ipv4.a'\\''b=x'" ""`,
				`net.ipv4.none "" "1" required "" ""`,
			},
		},
		{
			name: "any number", c: synced, have: map[string]Value{vs + "sync_version": {Text: "1"}, vs + "sync_refresh_period": {Text: "3600"}, vs + "sync_retries": {Text: "0"}},
			want: []string{vs + `sync_retries "0" "2" advised "sysctl -w net.ipv4.vs.sync_retries=2" ""`},
		},
		{name: "the greater: loose", c: tunnels, have: filter(Value{Text: "2"}, Value{Text: "1"})},
		{name: "the greater: none", c: tunnels, have: filter(Value{Text: "0"}, Value{Text: "0"})},
		{
			name: "the greater: strict", c: tunnels, have: filter(Value{Text: "1"}, Value{Text: "0"}),
			want: []string{`net.ipv4.conf.tunl0.rp_filter "0" "2" advised "sysctl -w net.ipv4.conf.tunl0.rp_filter=2" ""`},
		},
		{name: "no tunnel device", c: tunnels, have: filter(Value{Text: "1"}, Value{Absent: true})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			have := map[string]Value{}
			for _, m := range []map[string]Value{tt.have, tt.also} {
				maps.Copy(have, m)
			}
			var got []string
			for _, f := range Compare(tt.c, have) {
				got = append(got, fmt.Sprintf("%s %q %q %v %q %q", f.Key, f.Have, f.Want, f.Severity, f.Fix, f.Err))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// table is a Table that a test drives.
type table struct {
	values map[string]string
	fail   map[string]error // of writes
	writes []string
}

func (t *table) Read(key string) (string, error) {
	v, ok := t.values[key]
	if !ok {
		return "", fmt.Errorf("read %s: %w", key, fs.ErrNotExist)
	}
	return v, nil
}

func (t *table) Write(key, value string) error {
	if err := t.fail[key]; err != nil {
		return fmt.Errorf("write %s = %s: %w", key, value, err)
	}
	t.values[key] = value
	t.writes = append(t.writes, key+"="+value)
	return nil
}

func TestKeeper(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	tab := &table{values: map[string]string{
		"net.ipv4.ip_forward": "0", vs + "expire_nodest_conn": "0", vs + "conn_reuse_mode": "2", vs + "conntrack": "0", vs + "run_estimation": "1",
	}, fail: map[string]error{}}
	var log bytes.Buffer
	k := New(Options{Table: tab, Log: slog.New(slog.NewTextHandler(&log, nil))})
	check := func(step string, writes, findings []string, lines ...string) {
		t.Helper()
		tab.writes = nil
		log.Reset()
		var got []string
		for _, f := range k.Check(now) {
			got = append(got, f.Key)
		}
		if diff := cmp.Diff(findings, got); diff != "" {
			t.Errorf("%s: findings (-want +got):\n%s", step, diff)
		}
		if len(k.Findings()) != len(findings) {
			t.Errorf("%s: Findings returns %v", step, k.Findings())
		}
		if diff := cmp.Diff(writes, tab.writes); diff != "" {
			t.Errorf("%s: writes (-want +got):\n%s", step, diff)
		}
		if n := strings.Count(log.String(), "\n"); n != len(lines) {
			t.Errorf("%s: %d lines in the log, want %d:\n%s", step, n, len(lines), &log)
		}
		for _, line := range lines {
			if !strings.Contains(log.String(), line) {
				t.Errorf("%s: the log lacks %q:\n%s", step, line, &log)
			}
		}
	}
	check("nothing is wanted", nil, nil)

	c := Config{Director: service(rr, tcp, server("10.0.0.1:80", director.NAT))}
	k.Set(c)
	missing := []string{"net.ipv4.ip_forward", vs + "expire_nodest_conn", vs + "conntrack"}
	check("not asked to set", nil, missing,
		`level=WARN msg="kernel setting is not as wanted" key=net.ipv4.ip_forward have=0 want=1`, `fix="sysctl -w net.ipv4.vs.expire_nodest_conn=1"`)
	check("the same is not logged again", nil, missing)

	c.Set = true
	c.Values = []Setting{{vs + "sync_threshold", "3 10"}}
	tab.values[vs+"sync_threshold"] = "3\t50"
	k.Set(c)
	check("asked to set", []string{"net.ipv4.ip_forward=1", vs + "expire_nodest_conn=1", vs + "sync_threshold=3 10"}, []string{vs + "conntrack"},
		`level=INFO msg="kernel setting changed" key=net.ipv4.ip_forward value=1 was=0`, "key=net.ipv4.vs.expire_nodest_conn", "key=net.ipv4.vs.sync_threshold")
	tab.values[vs+"sync_threshold"] = "3\t10"
	check("as the kernel writes it", nil, []string{vs + "conntrack"})

	tab.values["net.ipv4.ip_forward"] = "0"
	check("changed by somebody", []string{"net.ipv4.ip_forward=1"}, []string{vs + "conntrack"},
		`level=WARN msg="kernel setting was changed by somebody else, put back" key=net.ipv4.ip_forward value=1 found=0`)
	tab.values["net.ipv4.ip_forward"] = "0"
	check("and again at once", []string{"net.ipv4.ip_forward=1"}, []string{vs + "conntrack"})
	now = now.Add(repairLog)
	tab.values["net.ipv4.ip_forward"] = "0"
	check("and later", []string{"net.ipv4.ip_forward=1"}, []string{vs + "conntrack"}, "put back")

	tab.values["net.ipv4.ip_forward"] = "0"
	tab.fail["net.ipv4.ip_forward"] = syscall.EROFS
	check("not allowed to", nil, []string{"net.ipv4.ip_forward", vs + "conntrack"},
		`err="write net.ipv4.ip_forward = 1: read-only file system"`)
	check("still not allowed to", nil, []string{"net.ipv4.ip_forward", vs + "conntrack"})

	clear(tab.fail)
	delete(tab.values, vs+"sync_threshold")
	check("a key that went away", []string{"net.ipv4.ip_forward=1"}, []string{vs + "sync_threshold", vs + "conntrack"}, "key=net.ipv4.vs.sync_threshold")

	k.Set(Config{})
	tab.values["net.ipv4.ip_forward"] = "0"
	check("nothing is wanted any more", nil, nil)
}

// What is enough for a need is left as it is; what the configuration names is
// made exactly so.
func TestKeeperLeavesWhatDoes(t *testing.T) {
	tab := &table{values: map[string]string{vs + "conn_reuse_mode": "3", vs + "expire_nodest_conn": "1"}}
	k := New(Options{Table: tab})
	c := Config{Director: service(rr, tcp, server("10.0.0.1:80", director.DR)), Set: true}
	k.Set(c)
	k.Check(time.Time{})
	if len(tab.writes) > 0 {
		t.Errorf("writes %q", tab.writes)
	}
	c.Values = []Setting{{vs + "conn_reuse_mode", "1"}}
	k.Set(c)
	k.Check(time.Time{})
	if diff := cmp.Diff([]string{vs + "conn_reuse_mode=1"}, tab.writes); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
}

func TestCheckKey(t *testing.T) {
	for _, tt := range []struct{ in, file string }{
		{"net.ipv4.ip_forward", "net/ipv4/ip_forward"},
		{"net.ipv4.conf.eth0/100.rp_filter", "net/ipv4/conf/eth0.100/rp_filter"},
		{"net.ipv4.conf.a/.rp_filter", "net/ipv4/conf/a./rp_filter"},
		{"net.ipv4", ""},
		{"", ""},
		{"kernel.core_pattern.x", ""},
		{"net..ipv4.x", ""},
		{".net.ipv4.x", ""},
		{"net.ipv4.x.", ""},
		{"net.//.//.kernel.panic", ""},
		{"net.ipv4./.x", ""},
		{"net/../kernel.panic.x", ""},
		{"net.ipv4.a b", ""},
		{"net.ipv4.a\x00", ""},
		{"net.ipv4.\u00e9", ""},
		{"net.ipv4." + strings.Repeat("x", maxKey), ""},
	} {
		err := CheckKey(tt.in)
		if (err == nil) != (tt.file != "") {
			t.Errorf("%q: %v", tt.in, err)
		} else if err == nil && file(tt.in) != tt.file {
			t.Errorf("%q is the file %q, want %q", tt.in, file(tt.in), tt.file)
		}
	}
}

func FuzzCheckKey(f *testing.F) {
	for _, s := range []string{"net.ipv4.ip_forward", "net.//.//.x", "net.ipv4.conf.eth0/100.rp_filter", "net./../.x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if CheckKey(key) != nil {
			return
		}
		if path := file(key); !fs.ValidPath(path) || !strings.HasPrefix(path, "net/") {
			t.Errorf("%q is the file %q", key, path)
		}
	})
}

// The kernel of any machine has settings below net that all may read. None of
// what is tried to be written is there.
func TestNamesStayBelowNet(t *testing.T) {
	got, err := Kernel{}.Read("net.ipv4.tcp_rmem")
	if err != nil || len(strings.Fields(got)) != 3 || strings.ContainsAny(got, "\t\n") {
		t.Errorf("read %q, %v", got, err)
	}
	if _, err := (Kernel{}).Read("net.ipv4.no_such_key"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a key that there is not: %v", err)
	}
	if _, err := (Kernel{}).Read("net.ipv4.conf"); err == nil {
		t.Error("a directory can be read")
	}
	for _, key := range []string{"net.ipv4.//.x", "kernel.panic.x"} {
		if _, err := (Kernel{}).Read(key); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want a refusal", key, err)
		}
		if err := (Kernel{}).Write(key, "1"); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("write %s: %v, want a refusal", key, err)
		}
	}
	if err := (Kernel{}).Write("net.ipv4.no_such_key", "1\n2"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("write of two lines: %v, want a refusal", err)
	}
}
