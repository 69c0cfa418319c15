package vmac

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/director/link"
	"github.com/understudy-ha/understudy/director/sysctl"
)

func TestPlan(t *testing.T) {
	mac := [6]byte{0, 0, 0x5e, 0, 1, 51}
	d := Device{Name: "vrrp4.51", Parent: "eth0", MAC: mac}
	eth0 := link.Device{Index: 2, Name: "eth0", ParentSpace: -1}
	good := link.Device{Index: 9, Name: d.Name, Kind: kind, Alias: link.Alias, HWAddr: mac, Parent: 2, ParentSpace: -1, Mode: modeBridge}
	with := func(f func(*link.Device)) link.Device { l := good; f(&l); return l }
	guest := link.Device{Index: 3, Name: "eth0", Kind: kind, Parent: 7, ParentSpace: 1}
	tests := []struct {
		name   string
		wanted []Device
		have   []link.Device
		want   string // steps
		fit    bool
		why    string
	}{
		{"nothing", nil, []link.Device{eth0}, "", false, ""},
		{"new", []Device{d}, []link.Device{eth0}, "make vrrp4.51 on 2", false, ""},
		{"as wanted", []Device{d}, []link.Device{eth0, good}, "", true, ""},
		{"up is not looked at", []Device{d}, []link.Device{eth0, with(func(l *link.Device) { l.Up = true })}, "", true, ""},
		{"no parent", []Device{d}, nil, "", false, "there is no interface eth0"},
		{"mode", []Device{d}, []link.Device{eth0, with(func(l *link.Device) { l.Mode = 1 })}, "remove 9: mode 1, make vrrp4.51 on 2", false, ""},
		{"MAC", []Device{d}, []link.Device{eth0, with(func(l *link.Device) { l.HWAddr[5] = 1 })}, "remove 9: hardware address 00:00:5e:00:01:01, make vrrp4.51 on 2", false, ""},
		{"parent", []Device{d}, []link.Device{eth0, with(func(l *link.Device) { l.Parent = 4 })}, "remove 9: on the interface with index 4, make vrrp4.51 on 2", false, ""},
		{"another's", []Device{d}, []link.Device{eth0, with(func(l *link.Device) { l.Alias = "" })}, "", false, "another interface of this name"},
		{"another kind", []Device{d}, []link.Device{eth0, with(func(l *link.Device) { l.Kind = "vlan" })}, "", false, "another interface of this name"},
		{"not wanted", nil, []link.Device{eth0, good}, "remove 9", false, ""},
		{"not wanted, not ours", nil, []link.Device{eth0, with(func(l *link.Device) { l.Alias = "" }), with(func(l *link.Device) { l.HWAddr[2] = 1 }), with(func(l *link.Device) { l.Kind = "" })}, "", false, ""},
		{"parent is a macvlan from elsewhere", []Device{d}, []link.Device{guest, with(func(l *link.Device) { l.Parent, l.ParentSpace = 7, 1 })}, "", true, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			steps, fit, trouble := plan(test.wanted, test.have)
			var text []string
			for _, s := range steps {
				text = append(text, s.String())
			}
			_, ok := fit[d.Name]
			if got := strings.Join(text, ", "); got != test.want || ok != test.fit || !strings.Contains(trouble[d.Name], test.why) || (test.why == "") != (len(trouble) == 0) {
				t.Errorf("steps %q, fit %v, trouble %v; want %q, %v, %q", got, fit, trouble, test.want, test.fit, test.why)
			}
		})
	}
}

// memory is a table of settings.
type memory map[string]string

func (m memory) Read(key string) (string, error) {
	if v, ok := m[key]; ok {
		return v, nil
	}
	return "", fs.ErrNotExist
}

func (m memory) Write(key, value string) error {
	if _, ok := m[key]; !ok {
		return fs.ErrNotExist
	}
	m[key] = value
	return nil
}

func TestSettings(t *testing.T) {
	kernel := func(changes ...string) memory {
		m := memory{}
		for _, name := range []string{"all", "eth0", "vrrp4/51"} {
			for _, key := range []string{"rp_filter", "arp_filter", "arp_ignore", "arp_announce", "proxy_arp", "forwarding"} {
				m[ipv4+name+"."+key] = "0"
			}
		}
		for _, c := range changes {
			key, value, _ := strings.Cut(c, "=")
			m[key] = value
		}
		return m
	}
	tests := []struct {
		name    string
		in      []string
		rp      string // of the macvlan
		parent  string
		problem string
	}{
		{"as it comes", nil, "0", "arp_ignore=1 arp_announce=2", ""},
		{"strict for all", []string{ipv4 + "all.rp_filter=1"}, "2", "arp_ignore=1 arp_announce=2", ""},
		{"loose for all", []string{ipv4 + "all.rp_filter=2"}, "0", "arp_ignore=1 arp_announce=2", ""},
		{"enough for all", []string{ipv4 + "all.arp_ignore=1", ipv4 + "all.arp_announce=2"}, "0", "", ""},
		{"enough on the parent", []string{ipv4 + "eth0.arp_ignore=8", ipv4 + "eth0.arp_announce=2"}, "0", "", ""},
		{"another one on the parent", []string{ipv4 + "eth0.arp_ignore=3", ipv4 + "eth0.arp_announce=1"}, "0", "arp_ignore=1 arp_announce=2", ""},
		{"in the way", []string{ipv4 + "all.arp_filter=1", ipv4 + "all.arp_ignore=3"}, "0", "arp_ignore=1 arp_announce=2", "net.ipv4.conf.all.arp_ignore = 3, net.ipv4.conf.all.arp_filter = 1 overrules"},
		{"proxy for all", []string{ipv4 + "all.proxy_arp=1"}, "0", "arp_ignore=1 arp_announce=2", "net.ipv4.conf.all.proxy_arp = 1 overrules"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var err error
			have := reader(kernel(test.in...), &err)
			for _, s := range deviceSettings(Device{Name: "vrrp4.51", Parent: "eth0"}, have) {
				if s.Key == ipv4+"vrrp4/51.rp_filter" && s.Value != test.rp {
					t.Errorf("rp_filter = %s, want %s", s.Value, test.rp)
				}
			}
			var parent []string
			for _, s := range parentSettings("eth0", have) {
				parent = append(parent, strings.TrimPrefix(s.Key, ipv4+"eth0.")+"="+s.Value)
			}
			if got := strings.Join(parent, " "); got != test.parent {
				t.Errorf("parent: %q, want %q", got, test.parent)
			}
			if got := hindrance(have); !strings.HasPrefix(got, test.problem) || (got == "") != (test.problem == "") {
				t.Errorf("hindrance: %q, want %q", got, test.problem)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// What stands in the file may have been put there by anybody.
func TestLoansFile(t *testing.T) {
	const ignore = ipv4 + "eth0.arp_ignore"
	tests := []struct {
		name, file string
		want       memory
		fails      bool
	}{
		{"none", "", memory{ignore: "1", "net.ipv4.ip_forward": "1"}, false},
		{"ours", `[{"key":"net.ipv4.conf.eth0.arp_ignore","was":"0","set":"1"}]`, memory{ignore: "0", "net.ipv4.ip_forward": "1"}, false},
		{"changed since", `[{"key":"net.ipv4.conf.eth0.arp_ignore","was":"0","set":"2"}]`, memory{ignore: "1", "net.ipv4.ip_forward": "1"}, false},
		{"another setting", `[{"key":"net.ipv4.ip_forward","was":"0","set":"1"}]`, memory{ignore: "1", "net.ipv4.ip_forward": "1"}, false},
		{"nothing to put back", `[{"key":"net.ipv4.conf.eth0.arp_ignore","set":"1"}]`, memory{ignore: "1", "net.ipv4.ip_forward": "1"}, false},
		{"broken", `[{"key":`, memory{ignore: "1", "net.ipv4.ip_forward": "1"}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "loans")
			if test.file != "" {
				if err := os.WriteFile(path, []byte(test.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			table := memory{ignore: "1", "net.ipv4.ip_forward": "1"}
			l := loans{path: path, table: table}
			err := errors.Join(l.load(), l.giveBack(func(string) bool { return false }))
			if (err != nil) != test.fails {
				t.Errorf("error %v", err)
			}
			if diff := cmp.Diff(test.want, table); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
		})
	}
}

// Being killed between the file and the setting changes nothing.
func TestLoansAreWrittenFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "loans")
	const key = ipv4 + "eth0.arp_ignore"
	l := loans{path: filepath.Join(path, "nowhere", "file"), table: memory{key: "0"}}
	if err := l.take([]sysctl.Setting{{Key: key, Value: "1"}}); err == nil {
		t.Error("no error although the file cannot be written")
	}
	table := memory{key: "0"}
	l = loans{path: path, table: stopping{table, path}}
	if err := l.take([]sysctl.Setting{{Key: key, Value: "1"}}); !errors.Is(err, errStop) {
		t.Fatalf("take: %v", err)
	}
}

var errStop = errors.New("stop")

// stopping fails a write unless the file is there by then.
type stopping struct {
	memory
	path string
}

func (s stopping) Write(key, value string) error {
	if _, err := os.Stat(s.path); err != nil {
		return err
	}
	return errStop
}
