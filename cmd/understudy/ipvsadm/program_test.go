package ipvsadm_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/cmd/understudy/ipvsadm"
	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// run runs a command line on a kernel.
func run(t *testing.T, k *fixed, owner *ipvsadm.Owner, stdin string, args ...string) result {
	t.Helper()
	var out, notes bytes.Buffer
	p := ipvsadm.Program{
		Names: testNames(t), Open: func() (ipvsadm.Kernel, error) { return k, nil },
		Owner: func(context.Context) *ipvsadm.Owner { return owner },
		Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &notes,
	}
	res := result{}
	if err := p.Run(t.Context(), args); err != nil {
		res.status = 1
		if e, ok := errors.AsType[*ipvsadm.Error](err); ok {
			res.status = e.Status
		}
		notes.WriteString(err.Error())
	}
	res.stdout, res.stderr = out.String(), notes.String()
	return res
}

// TestRestoreRoundTrip reads what -S prints, and asks the kernel for that.
func TestRestoreRoundTrip(t *testing.T) {
	k := recorded(t)
	saved := run(t, k, nil, "", "-Sn").stdout
	if res := run(t, k, nil, saved, "-R"); res != (result{}) {
		t.Fatal(res)
	}
	if want := strings.Count(saved, "\n"); len(k.do) != want || want < 40 {
		t.Fatalf("%d messages for %d rules", len(k.do), want)
	}
	services := map[genl.ServiceID]genl.Service{}
	for _, s := range k.recording.Services {
		s.Stats = genl.Stats{}
		if s.Flags&genl.FlagPersistent == 0 { // -S says neither then
			s.Timeout = 0
			s.Netmask = map[uint16]uint32{unix.AF_INET: 0xffffffff, unix.AF_INET6: 128}[s.Family]
		}
		services[s.ServiceID] = s
	}
	for _, m := range k.do {
		if m.Op != genl.NewService {
			continue
		}
		if d := cmp.Diff(services[m.Service.ServiceID], m.Service, compareAddr); d != "" {
			t.Errorf("(-saved +restored):\n%s", d)
		}
		delete(services, m.Service.ServiceID)
	}
	if len(services) > 0 {
		t.Errorf("not restored: %v", services)
	}
}

// TestRestoreNames reads what -S prints where addresses of both families have
// names.
func TestRestoreNames(t *testing.T) {
	k := &fixed{}
	for _, id := range []string{"10.9.0.1:80", "[2001:db8::9]:80"} {
		k.recording.Services = append(k.recording.Services, genl.Service{ServiceID: serviceID(id), Scheduler: "rr"})
		k.recording.Destinations = append(k.recording.Destinations, []genl.Destination{
			{Address: serviceID(id).Address, Port: 80, Method: genl.Masquerade, Weight: 1}})
	}
	saved := run(t, k, nil, "", "-S").stdout
	for _, want := range []string{"-A -t vip.example.com:http ", "-A -t [sixvip]:http ", "-r [sixvip]:http "} {
		if !strings.Contains(saved, want) {
			t.Fatalf("%q lacks %q", saved, want)
		}
	}
	if res := run(t, k, nil, saved, "-R"); res != (result{}) {
		t.Fatal(res)
	}
	restored := &fixed{}
	for _, m := range k.do {
		switch m.Op {
		case genl.NewService:
			restored.recording.Services = append(restored.recording.Services, m.Service)
			restored.recording.Destinations = append(restored.recording.Destinations, nil)
		case genl.NewDest:
			i := restored.index(m.Service.ServiceID)
			restored.recording.Destinations[i] = append(restored.recording.Destinations[i], m.Dest)
		}
	}
	if d := cmp.Diff(run(t, k, nil, "", "-Sn").stdout, run(t, restored, nil, "", "-Sn").stdout); d != "" {
		t.Errorf("(-saved +restored):\n%s", d)
	}
}

func TestRestoreChangesNothingIfOneRuleIsWrong(t *testing.T) {
	k := recorded(t)
	rules := "ipvsadm -A -t 192.0.2.1:80\n\n  \n-a -t 192.0.2.1:80 -r 192.0.2.2333\n-R\n# no comments\n-h\nipvsadm\n-C"
	res := run(t, k, nil, rules, "-R")
	for _, want := range []string{"nothing was changed", "line 4: ", "192.0.2.2333 is no IPv4 address", "line 5: -R does not belong", "line 6: ", "line 7: -h does not"} {
		if !strings.Contains(res.stderr, want) {
			t.Errorf("%q lacks %q", res.stderr, want)
		}
	}
	if res.status != 2 || len(k.do) != 0 || strings.Contains(res.stderr, "line 8") {
		t.Errorf("%+v, %d messages", res, len(k.do))
	}
	res = run(t, k, nil, strings.Repeat("-X\n", 30)+strings.Repeat("x", 70<<10), "-R")
	if n := strings.Count(res.stderr, "\n"); n > 22 || !strings.Contains(res.stderr, "and 11 more") {
		t.Errorf("%d lines: %s", n, res.stderr)
	}
}

func TestRestoreKeepsOrder(t *testing.T) {
	k := recorded(t)
	k.fail = map[int]error{1: unix.EEXIST}
	res := run(t, k, nil, "-A -t 192.0.2.9:80\n-A -t 10.9.0.1:80\n-Ln -f 3\n-D -t 192.0.2.9:80\n", "-R")
	if res.status != 255 || res.stderr != "line 2: service tcp 10.9.0.1:80 exists already; -E changes it: file exists" {
		t.Errorf("%+v", res)
	}
	if !strings.HasSuffix(res.stdout, "FWM  3 wlc\n") {
		t.Errorf("printed %q", res.stdout)
	}
	var ops []genl.Op
	for _, m := range k.do {
		ops = append(ops, m.Op)
	}
	if d := cmp.Diff([]genl.Op{genl.NewService, genl.NewService, genl.DelService}, ops); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestExplanations(t *testing.T) {
	const s, d = "-t 192.0.2.1:80", "-t 192.0.2.1:80 -r 10.0.0.1"
	for _, tt := range []struct {
		in     string
		err    error
		status int
		want   string
	}{
		{"-A " + s, unix.EEXIST, 255, "tcp 192.0.2.1:80 exists already; -E"},
		{"-E " + s, unix.ESRCH, 255, "does not exist"},
		{"-A -s foo " + s, unix.ENOENT, 255, "modprobe ip_vs_foo"},
		{"-A --pe sip " + s, unix.ENOENT, 255, "modprobe ip_vs_pe_sip"},
		{"-a " + d, unix.EEXIST, 255, "10.0.0.1:80 of tcp 192.0.2.1:80 exists already; -e"},
		{"-e " + d, unix.ENOENT, 255, "10.0.0.1:80 of tcp 192.0.2.1:80 does not exist"},
		{"-d " + d, unix.ESRCH, 255, "add it first (-A)"},
		{"-a " + d, unix.ERANGE, 255, "(-y)"},
		{"-a " + d, unix.EINVAL, 255, "unicast"},
		{"-a -t 192.0.2.1:80 -r ::1 -i", unix.EINVAL, 255, "--stop-daemon"},
		{"-A " + s, unix.EPERM, 2, "use sudo"},
		{"-C", genl.ErrMissing, 2, "modprobe ip_vs"},
		{"-C", unix.ENOMEM, 255, "clear the table: "},
		{"-Z", unix.ENOMEM, 255, "zero counters: "},
		{"--set 1 2 3", unix.EINVAL, 255, "set timeouts: "},
		{"--start-daemon master", unix.ENODEV, 255, `no interface "eth0"`},
		{"--start-daemon master", unix.EEXIST, 255, "--stop-daemon master"},
		{"--start-daemon master", unix.EINVAL, 255, "another address family"},
		{"--start-daemon master", unix.ENETUNREACH, 255, "is down"},
		{"--stop-daemon backup", unix.ESRCH, 255, "stop sync daemon as backup: it does not run"},
	} {
		t.Run(tt.in+" "+tt.err.Error(), func(t *testing.T) {
			k := recorded(t)
			k.fail = map[int]error{0: tt.err}
			res := run(t, k, &ipvsadm.Owner{Services: []string{"tcp 192.0.2.1:80"}}, "", strings.Fields(tt.in)...)
			if res.status != tt.status || !strings.Contains(res.stderr, tt.want) || strings.Contains(res.stderr, "note:") {
				t.Errorf("%+v, want status %d and %q", res, tt.status, tt.want)
			}
		})
	}
}

func TestNoAnswer(t *testing.T) {
	for _, in := range []string{"-L", "-L -t 10.9.0.1:80", "-S", "-L --timeout", "-L --daemon", "-v"} {
		k := recorded(t)
		k.err = genl.ErrNoAnswer
		if res := run(t, k, nil, "", strings.Fields(in)...); res.status != 255 || !strings.Contains(res.stderr, "did not answer") {
			t.Errorf("%s: %+v", in, res)
		}
		k.err = unix.EPERM
		if res := run(t, k, nil, "", strings.Fields(in)...); res.status != 2 || !strings.Contains(res.stderr, "use sudo") {
			t.Errorf("%s: %+v", in, res)
		}
	}
	k := recorded(t)
	k.lost = genl.ErrNoAnswer
	if res := run(t, k, nil, "", "-C"); res.status != 255 || !strings.Contains(res.stderr, "-L shows what was done") {
		t.Errorf("%+v", res)
	}
	p := ipvsadm.Program{Names: testNames(t), Open: func() (ipvsadm.Kernel, error) { return nil, genl.ErrMissing }, Stdout: io.Discard}
	if e, ok := errors.AsType[*ipvsadm.Error](p.Run(t.Context(), []string{"-L"})); !ok || e.Status != 2 || !errors.Is(e, genl.ErrMissing) {
		t.Errorf("%v", e)
	}
	if err := p.Run(t.Context(), []string{"-h"}); err != nil {
		t.Errorf("help needs no kernel: %v", err)
	}
}

func TestNoteOfOwner(t *testing.T) {
	owner := &ipvsadm.Owner{Config: "/etc/understudy/understudy.toml", Services: []string{"tcp 192.0.2.1:80", "fwmark 5", "fwmark 5 ipv6", "tcp [2001:db8::1]:80"}}
	exclusive := &ipvsadm.Owner{Config: owner.Config, Exclusive: true, Services: owner.Services}
	for _, tt := range []struct {
		in    string
		owner *ipvsadm.Owner
		want  string // after "owns "; empty: no note
	}{
		{"-A -t 192.0.2.1:80", owner, "tcp 192.0.2.1:80,"},
		{"-a -t 192.0.2.1:80 -r 10.0.0.1", owner, "tcp 192.0.2.1:80,"},
		{"-d -t [2001:db8::1]:80 -r ::1", owner, "tcp [2001:db8::1]:80,"},
		{"-E -f 5 -6", owner, "fwmark 5 ipv6,"},
		{"-C", owner, "tcp 192.0.2.1:80, fwmark 5, fwmark 5 ipv6 and 1 more,"},
		{"-A -u 192.0.2.1:80", owner, ""},
		{"-Z -t 192.0.2.1:80", owner, ""},
		{"-L -t 10.9.0.1:80", owner, ""},
		{"-A -t 192.0.2.1:80", nil, ""},
		{"-A -u 192.0.2.1:80", exclusive, "the whole table,"},
		{"-C", exclusive, "the whole table,"},
		{"-Z", exclusive, ""},
	} {
		res := run(t, recorded(t), tt.owner, "", strings.Fields(tt.in)...)
		want := ""
		if tt.want != "" {
			want = "note: this is temporary: the running understudy owns " + tt.want +
				" and puts it back at its next look at the table, within seconds; to change it for good, edit /etc/understudy/understudy.toml and run \"understudy reload\"\n"
		}
		if res.stderr != want || res.status != 0 {
			t.Errorf("%s: %+v, want %q", tt.in, res, want)
		}
	}
}

func TestDaemonsListing(t *testing.T) {
	k := &fixed{daemons: []genl.Daemon{
		{State: genl.DaemonBackup, Interface: "lo", ID: 7, MaxLen: 1024, Group: mustAddr("ff02::1:81"), Port: 9999, TTL: 3},
		{State: genl.DaemonMaster, Interface: "eth0"},
	}}
	want := "master sync daemon (mcast=eth0, syncid=0)\n" +
		"backup sync daemon (mcast=lo, syncid=7, maxlen=1024, group=ff02::1:81, port=9999, ttl=3)\n"
	if res := run(t, k, nil, "", "-L", "--daemon"); res.stdout != want {
		t.Errorf("%+v, want %q", res, want)
	}
}

func TestLargeCounters(t *testing.T) {
	k := &fixed{}
	k.recording.Services = []genl.Service{{ServiceID: mark(1, unix.AF_INET), Stats: genl.Stats{
		Connections: 99_999_999, InPackets: 100_000_000, OutPackets: 1_000_000_000, InBytes: 99_999_999_999_999, OutBytes: 1e14}}}
	k.recording.Destinations = [][]genl.Destination{nil}
	for _, tt := range []struct{ in, want string }{
		{"-Ln --stats", " 99999999  100000K    1000M   99999G     100T"},
		{"-Ln --stats --exact", " 99999999 100000000 1000000000 99999999999999 100000000000000"},
	} {
		res := run(t, k, nil, "", strings.Fields(tt.in)...)
		if want := "FWM  1                           " + tt.want + "\n"; !strings.HasSuffix(res.stdout, "\n"+want) {
			t.Errorf("%s: %q, want at its end %q", tt.in, res.stdout, want)
		}
	}
}

func TestConnectionsAreHostile(t *testing.T) {
	const head = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n"
	for _, tt := range []struct{ name, in, want, err string }{
		{"escapes", "UDP 0A000001 0001 0A000002 0002 0A000003 0003 NONE 61 sip a\x1b[31m\xff\n",
			"UDP 01:01  NONE        10.0.0.1:1         10.0.0.2:2         10.0.0.3:3       sip                a?[31m?\n", ""},
		{"expired", "UDP 0A000001 0001 0A000002 0002 0A000003 0003 UDP 18446744073709551\n",
			"UDP 00:00  UDP         10.0.0.1:1         10.0.0.2:2         10.0.0.3:3\n", ""},
		{"short", "UDP 0A000001 0001\n", "", "line 2: 3 words"},
		{"address", "UDP 0A0000 0001 0A000002 0002 0A000003 0003 NONE 61\n", "", "line 2: \"0A0000\" is no address"},
		{"port", "UDP 0A000001 10001 0A000002 0002 0A000003 0003 NONE 61\n", "", "no port"},
		{"seconds", "UDP 0A000001 0001 0A000002 0002 0A000003 0003 NONE x\n", "", "no number of seconds"},
		{"long", strings.Repeat("x", 70<<10), "", "too long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			p := ipvsadm.Program{Names: testNames(t), Open: func() (ipvsadm.Kernel, error) { return &fixed{}, nil }, Stdout: &out,
				Connections: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(head + tt.in)), nil }}
			err := p.Run(t.Context(), []string{"-Lcn", "--persistent-conn"})
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if !strings.HasSuffix(out.String(), tt.want) {
				t.Errorf("%q, want at its end %q", out.String(), tt.want)
			}
		})
	}
}

func FuzzReadRules(f *testing.F) {
	f.Add([]byte("-C\n-A -f 5 -6 -p\n-L -n\n"))
	f.Add([]byte("ipvsadm -A -t 192.0.2.1:80\r\n\n-a -t 192.0.2.1:80 -r 10.0.0.1"))
	names := testNames(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		rules, err := ipvsadm.ReadRules(t.Context(), bytes.NewReader(in), names)
		if err != nil && rules != nil {
			t.Errorf("%d rules and an error", len(rules))
		}
		for i, r := range rules {
			if r.Line < 1 || i > 0 && r.Line <= rules[i-1].Line || r.Command.Verb == 0 || r.Command.Verb == ipvsadm.Restore {
				t.Errorf("rule %d is %+v", i, r)
			}
		}
	})
}
