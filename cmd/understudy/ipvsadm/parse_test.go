package ipvsadm_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/cmd/understudy/ipvsadm"
	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// tcp is the service that most rows name.
var tcp = serviceID("192.0.2.1:80")

func mark(n uint32, family uint16) genl.ServiceID { return genl.ServiceID{Family: family, FWMark: n} }

func service(id genl.ServiceID, change func(*genl.Service)) ipvsadm.Command {
	s := genl.Service{ServiceID: id, Scheduler: "wlc", Netmask: 0xffffffff}
	if id.Family == unix.AF_INET6 {
		s.Netmask = 128
	}
	if change != nil {
		change(&s)
	}
	return ipvsadm.Command{Verb: ipvsadm.AddService, Named: true, Service: s}
}

func server(id genl.ServiceID, change func(*genl.Destination)) ipvsadm.Command {
	d := genl.Destination{Address: mustAddr("10.0.0.1"), Port: id.Port, Method: genl.DirectRoute, Weight: 1}
	if change != nil {
		change(&d)
	}
	return ipvsadm.Command{Verb: ipvsadm.AddServer, Named: true, Service: genl.Service{ServiceID: id}, Dest: d}
}

func TestParse(t *testing.T) {
	udp := tcp
	udp.Protocol = unix.IPPROTO_UDP
	persistent := func(seconds uint32) func(*genl.Service) {
		return func(s *genl.Service) { s.Flags, s.Timeout = genl.FlagPersistent, seconds }
	}
	for _, tt := range []struct {
		in   string
		want ipvsadm.Command
	}{
		{"", ipvsadm.Command{Verb: ipvsadm.List}},
		{"-C", ipvsadm.Command{Verb: ipvsadm.Clear}},
		{"-Ln", ipvsadm.Command{Verb: ipvsadm.List, Format: ipvsadm.Format{Numeric: true}}},
		{"-l -X --sort --sort", ipvsadm.Command{Verb: ipvsadm.List, Format: ipvsadm.Format{Exact: true}}},
		{"-L -nc --persistent-conn", ipvsadm.Command{Verb: ipvsadm.List, Format: ipvsadm.Format{Numeric: true, Connections: true, Persistent: true}}},
		{"-Z", ipvsadm.Command{Verb: ipvsadm.Zero}},
		{"-Z -t 192.0.2.1:80", ipvsadm.Command{Verb: ipvsadm.Zero, Named: true, Service: genl.Service{ServiceID: tcp}}},
		{"--set 1 0 3", ipvsadm.Command{Verb: ipvsadm.SetTimeouts, Timeouts: genl.Timeouts{TCP: 1, UDP: 3}}},

		{"-A -t 192.0.2.1:80", service(tcp, nil)},
		{"-At192.0.2.1:80", service(tcp, nil)},
		{"-At=192.0.2.1:80 -swlc", service(tcp, nil)},
		{"--add-service --tcp-service=192.0.2.1:http --scheduler wlc", service(tcp, nil)},
		{"-A -t 192.0.2.1:www", service(tcp, nil)},
		{"-A -t 192.0.2.1:0080", service(tcp, nil)},
		{"-A -t [2001:db8::1]:80", service(serviceID("[2001:db8::1]:80"), nil)},
		{"-A -t vip:80", service(serviceID("10.9.0.1:80"), nil)},
		{"-A -t [sixvip]:http", service(serviceID("[2001:db8::9]:80"), nil)},
		{"-A -u 192.0.2.1:80 -o", service(udp, func(s *genl.Service) { s.Flags = genl.FlagOnePacket })},
		{"-A -f 5", service(mark(5, unix.AF_INET), nil)},
		{"-A -6f 4294967295", service(mark(4294967295, unix.AF_INET6), nil)},
		{"-A -p -t 192.0.2.1:80", service(tcp, persistent(360))},
		{"-A -t 192.0.2.1:80 -p -o", ipvsadm.Command{}}, // -o is no time; and wants UDP
		{"-A -t 192.0.2.1:80 -p20", service(tcp, persistent(20))},
		{"-A -t 192.0.2.1:80 -p=20", service(tcp, persistent(20))},
		{"-A -t 192.0.2.1:80 -p 20", service(tcp, persistent(20))},
		{"-A -t 192.0.2.1:80 --persistent=20", service(tcp, persistent(20))},
		{"-A -t 192.0.2.1:80 --persistent 20 --", service(tcp, persistent(20))},
		{"-A -t 192.0.2.1 -p", service(serviceID("192.0.2.1:0"), persistent(360))},
		{"-A -t ::1 -p", service(serviceID("[::1]:0"), persistent(360))},
		{"-A -M 255.255.0.0 -t 192.0.2.1:80", service(tcp, func(s *genl.Service) { s.Netmask = 0xffff0000 })},
		{"-A -M 64 -t [::1]:80", service(serviceID("[::1]:80"), func(s *genl.Service) { s.Netmask = 64 })},
		{"-A -b sh-port,,sh-fallback -s sh -t 192.0.2.1:80 --pe sip",
			service(tcp, func(s *genl.Service) {
				s.Scheduler, s.Engine, s.Flags = "sh", "sip", genl.FlagSched1|genl.FlagSched2
			})},
		{"-A -t 192.0.2.1:80 -b flag-3", service(tcp, func(s *genl.Service) { s.Flags = genl.FlagSched3 })},

		{"-a -t 192.0.2.1:80 -r 10.0.0.1", server(tcp, nil)},
		{"-a -t 192.0.2.1:80 -r 10.0.0.1:8080", server(tcp, nil)}, // the packet goes on as it came
		{"-a -t 192.0.2.1:80 -r 10.0.0.1:8080 -m", server(tcp, func(d *genl.Destination) { d.Method, d.Port = genl.Masquerade, 8080 })},
		{"-a -r 10.0.0.1 -m -t 192.0.2.1:80", server(tcp, func(d *genl.Destination) { d.Method = genl.Masquerade })},
		{"-a -t 192.0.2.1:80 -r 10.0.0.1 -w 0 -x 7 -y 3", server(tcp, func(d *genl.Destination) { d.Weight, d.Upper, d.Lower = 0, 7, 3 })},
		{"-a -t 192.0.2.1:80 -r 2001:db8::1 -i", server(tcp, func(d *genl.Destination) { d.Method, d.Address = genl.Tunnelled, mustAddr("2001:db8::1") })},
		{"-a -t 192.0.2.1:80 -r 10.0.0.1 -i --tun-type gue --tun-port 6080 --tun-remcsum", server(tcp, func(d *genl.Destination) {
			d.Method, d.TunnelType, d.TunnelPort, d.TunnelFlag = genl.Tunnelled, 1, 6080, 2
		})},
		{"-a -t 192.0.2.1:80 -r 10.0.0.1 -i --tun-type gre --tun-csum", server(tcp, func(d *genl.Destination) {
			d.Method, d.TunnelType, d.TunnelFlag = genl.Tunnelled, 2, 1
		})},
		{"-a -f 5 -r 10.0.0.1:81", server(mark(5, unix.AF_INET), func(d *genl.Destination) { d.Port = 81 })},
		{"-a -f 5 -r 10.0.0.1:http", server(mark(5, unix.AF_INET), func(d *genl.Destination) { d.Port = 80 })},
		{"-d -t 192.0.2.1:80 -r 10.0.0.1:81", ipvsadm.Command{Verb: ipvsadm.DeleteServer, Named: true, Service: genl.Service{ServiceID: tcp},
			Dest: genl.Destination{Address: mustAddr("10.0.0.1"), Port: 81}}},

		{"--start-daemon master", ipvsadm.Command{Verb: ipvsadm.StartDaemon, Daemon: genl.Daemon{State: genl.DaemonMaster, Interface: "eth0"}}},
		{"--start-daemon=backup --mcast-interface lo --syncid 255 --sync-maxlen 65507 --mcast-group ff05::1 --mcast-port 1 --mcast-ttl 255",
			ipvsadm.Command{Verb: ipvsadm.StartDaemon, Daemon: genl.Daemon{State: genl.DaemonBackup, Interface: "lo", ID: 255, MaxLen: 65507,
				Group: mustAddr("ff05::1"), Port: 1, TTL: 255}}},
		{"--stop-daemon backup --syncid 3", ipvsadm.Command{Verb: ipvsadm.StopDaemon, Daemon: genl.Daemon{State: genl.DaemonBackup, ID: 3}}},
	} {
		t.Run(tt.in, func(t *testing.T) {
			got, err := ipvsadm.Parse(t.Context(), strings.Fields(tt.in), testNames(t))
			if tt.want.Verb == 0 {
				if err == nil {
					t.Errorf("%+v, want an error", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got, compareAddr); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	for _, tt := range []struct {
		in     string
		status int
		want   string // in the message
	}{
		{"-a -t 192.168.100.200:80 -r 192.168.100.2333", 2, "192.168.100.2333 is no IPv4 address"},
		{"-A -t 192.168.100:80", 2, "no IPv4 address"},
		{"-A -t 10.0.0.010:80", 2, "no IPv4 address"},
		{"-A -t 10.0.0.1a:80", 2, "no IPv4 address"},
		{"-A -t 97", 2, "no IPv4 address"},
		{"-A -t :96", 2, "there is nothing"},
		{"-A -t 192.0.2.1:", 2, `"" is no port`},
		{"-A -t 192.0.2.1:65536", 2, "write a number from 0 to 65535"},
		{"-A -t 192.0.2.1:nosuch", 2, `no tcp service "nosuch"`},
		{"-A -u 192.0.2.1:http", 2, `no udp service "http"`},
		{"-a -f 5 -r 10.0.0.1:nosuch", 2, `no tcp service "nosuch"`},
		{"-A -t nosuch:80", 2, `no host "nosuch"`},
		{"-A -t sixvip:80", 2, "in brackets for IPv6"},
		{"-A -t [vip]:80", 2, "with an IPv6 address"},
		{"-A -t [nosuch]:80", 2, `no host "nosuch" with an IPv6 address`},
		{"-A -t [ho/st]:80", 2, "only those go in brackets"},
		{"-A -t []:80", 2, "only those go in brackets"},
		{"-A -t ho/st:80", 2, "neither an address nor a host name"},
		{"-A -t ::1:80", 2, "[ADDRESS]:PORT"},
		{"-A -t [192.0.2.1]:80", 2, "only those go in brackets"},
		{"-A -t [::1:80", 2, `"]" is missing`},
		{"-A -t [::1]80", 2, "write [ADDRESS]:PORT"},
		{"-A -t [fe80::1%eth0]:80", 2, "no IPv6 address"},
		{"-A -t fe80::1%eth0 -p", 2, "zone"},
		{"-A -t 2001:db8:::80", 2, "[ADDRESS]:PORT"},
		{"-A", 2, "-A needs a virtual service"},
		{"-a -t 192.0.2.1:80", 2, "-a needs a real server"},
		{"-A -t 192.0.2.1", 2, "has no port"},
		{"-A -t 192.0.2.1:80 -t 192.0.2.1:80", 2, "-t is there twice"},
		{"-A -t 192.0.2.1:80 -u 192.0.2.1:80", 2, "-t and -u exclude each other"},
		{"-A -t 192.0.2.1:80 -6", 2, "-6 goes with -f only"},
		{"-L -6", 2, "-6 needs a firewall mark"},
		{"-A -t 192.0.2.1:80 -w 3", 2, "-w does not go with -A"},
		{"-A -t 192.0.2.1:80 -p 0", 2, "from 1 to 2678400"},
		{"-A -t 192.0.2.1:80 -p +5", 2, "whole number"},
		{"-A -t 192.0.2.1:80 --persistent=", 2, "whole number"},
		{"-A -t 192.0.2.1:80 -M 24", 2, "255.255.255.0"},
		{"-A -t [::1]:80 -M 0", 2, "from 1 to 128"},
		{"-A -t 192.0.2.1:80 -o", 2, "-o schedules datagrams"},
		{"-A -t 192.0.2.1:80 -b nosuch", 2, `"nosuch" is no scheduler flag`},
		{"-A -t 192.0.2.1:80 -b sh-port", 2, "add -s sh"},
		{"-A -t 192.0.2.1:80 -s sixteencharacter", 2, "too long"},
		{"-A -f 0", 2, "from 1 to 4294967295"},
		{"-a -t 192.0.2.1:80 -r ::1 -m", 2, "needs a tunnel (-i)"},
		{"-a -t 192.0.2.1:80 -r 10.0.0.1 -w -1", 2, "from 0 to 2147483647"},
		{"-a -t 192.0.2.1:80 -r 10.0.0.1 -g -m", 2, "exclude each other"},
		{"-a -t 192.0.2.1:80 -r 10.0.0.1 --tun-csum", 2, "add -i"},
		{"-a -t 192.0.2.1:80 -r 10.0.0.1 -i --tun-csum", 2, "leave out --tun-csum"},
		{"-a -t 192.0.2.1:80 -r 10.0.0.1 -i --tun-port 5", 2, "leave out --tun-port"},
		{"-a -t 192.0.2.1:80 -r 10.0.0.1 -i --tun-type gue", 2, "--tun-port"},
		{"-a -t 192.0.2.1:80 -r 10.0.0.1 -i --tun-type gue --tun-port 0", 2, "from 1 to 65535"},
		{"-a -t 192.0.2.1:80 -r 10.0.0.1 -i --tun-type gue --tun-port 5 --tun-csum --tun-nocsum", 2, "exclude each other"},
		{"-a -t 192.0.2.1:80 -r 10.0.0.1 -i --tun-type gre --tun-port 5", 2, "no port"},
		{"-a -t 192.0.2.1:80 -r 10.0.0.1 -i --tun-type gre --tun-remcsum", 2, "no remote checksum"},
		{"-a -t 192.0.2.1:80 -r 10.0.0.1 -i --tun-type vxlan", 2, "ipip, gue and gre"},
		{"-a -t 192.0.2.1:80 -r 10.0.0.1 -i --tun-type=", 2, "ipip, gue and gre"},
		{"-L -c --stats", 2, "two different listings"},
		{"-L --timeout --daemon", 2, "two different listings"},
		{"-L --daemon -f 5", 2, "two different listings"},
		{"-L foo", 2, `"foo"`},
		{"-L -- -n", 2, `"-n"`},
		{"-L -S", 2, "two commands"},
		{"--set 1 2", 2, "three timeouts"},
		{"--set 1 2 2678401", 2, "from 0 to 2678400"},
		{"--start-daemon slave", 2, "master and backup"},
		{"--start-daemon master --mcast-group 10.0.0.1", 2, "no multicast address"},
		{"--start-daemon master --mcast-interface sixteencharacter", 2, "15 bytes"},
		{"-n -L", 255, "say first what to do"},
		{"foo", 255, "say first what to do"},
		{"-A -t", 255, "-t needs a value"},
		{"-A -t 192.0.2.1:80 -Q", 255, "no option -Q"},
		{"--persist", 255, "is it --persistent or --persistent-conn?"},
		{"-A=3", 255, "-A has no value"},
		{"-A --ops=3", 255, "--ops has no value"},
		{"-A -o5", 255, "no option -5"},
		{"-A --\x1b[31m", 255, `"--\x1b[31m"`},
	} {
		t.Run(tt.in, func(t *testing.T) {
			c, err := ipvsadm.Parse(t.Context(), strings.Fields(tt.in), testNames(t))
			e, ok := errors.AsType[*ipvsadm.Error](err)
			if !ok || e.Status != tt.status || !strings.Contains(e.Error(), tt.want) {
				t.Errorf("%+v, %v; want an error with status %d and %q", c, err, tt.status, tt.want)
			}
		})
	}
}

func TestReadPorts(t *testing.T) {
	names := testNames(t)
	for _, tt := range []struct {
		name, protocol string
		want           uint16
	}{{"http", "tcp", 80}, {"www", "tcp", 80}, {"http", "udp", 0}, {"webcache", "tcp", 8080}, {"#", "tcp", 0}, {"WorldWideWeb", "tcp", 0}} {
		if got, ok := names.Ports.Number(tt.name, tt.protocol); got != tt.want || ok != (tt.want > 0) {
			t.Errorf("%s/%s: %d, %t, want %d", tt.name, tt.protocol, got, ok, tt.want)
		}
	}
	broken := ipvsadm.ReadPorts(strings.NewReader("a\nb 99999/tcp\nc x/tcp\nd 5\n\x00 6/tcp\ne 7/tcp"))
	if got, ok := broken.Number("e", "tcp"); got != 7 || !ok {
		t.Errorf("%d, %t, want 7 after lines that are none", got, ok)
	}
}

func FuzzParse(f *testing.F) {
	rules, err := os.ReadFile("testdata/listings.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, line := range append(strings.Split(wideRules, "\n"), refusedLines...) {
		f.Add(line)
	}
	for line := range strings.Lines(string(rules)) {
		if strings.HasPrefix(line, "-") {
			f.Add(line)
		}
	}
	names := testNames(f)
	f.Fuzz(func(t *testing.T, line string) {
		c, err := ipvsadm.Parse(t.Context(), strings.Fields(line), names)
		if err != nil {
			if e, ok := errors.AsType[*ipvsadm.Error](err); !ok || e.Status != 2 && e.Status != 255 || len(e.Error()) == 0 {
				t.Errorf("%q: error %v", line, err)
			}
			return
		}
		if c.Verb == 0 || c.Named && c.Service.FWMark == 0 && !c.Service.Address.IsValid() {
			t.Errorf("%q makes %+v", line, c)
		}
	})
}
