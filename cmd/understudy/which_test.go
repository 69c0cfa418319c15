package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
	"github.com/understudy-ha/understudy/director/oracle"
)

// whichFake is a kernel with these services, each with the same servers, of
// weights 1, 2 and 3; but 0 for the last one of a service on port 53.
type whichFake struct {
	services []genl.Service
	lines    string
	err      error // of reading the table
	connErr  error
}

func (f whichFake) table() (serviceTable, error) { return f, f.err }
func (f whichFake) Close() error                 { return nil }

func (f whichFake) connections() (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(f.lines)), f.connErr
}

func (f whichFake) settings(string) (oracle.Kernel, error) { return oracle.Kernel{ReuseMode: 1}, nil }

func (f whichFake) Services(context.Context) ([]genl.Service, error) { return f.services, nil }

func (f whichFake) Service(_ context.Context, id genl.ServiceID) (genl.Service, error) {
	for _, s := range f.services {
		if s.ServiceID == id {
			return s, nil
		}
	}
	return genl.Service{}, unix.ESRCH
}

func (f whichFake) Destinations(_ context.Context, id genl.ServiceID) ([]genl.Destination, error) {
	var list []genl.Destination
	for i, w := range []int32{1, 2, 3} {
		if id.Port == 53 && i == 2 {
			w = 0
		}
		list = append(list, genl.Destination{Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(101 + i)}), Port: 80, Weight: w})
	}
	return list, nil
}

func fakeService(protocol uint16, at, scheduler string, flags uint32) genl.Service {
	a := netip.MustParseAddrPort(at)
	return genl.Service{
		ServiceID: genl.ServiceID{Family: unix.AF_INET, Protocol: protocol, Address: a.Addr(), Port: a.Port()},
		Scheduler: scheduler, Flags: flags, Netmask: 0xffffffff, Timeout: 300,
	}
}

func fakeKernel() whichFake {
	return whichFake{services: []genl.Service{
		fakeService(unix.IPPROTO_TCP, "192.0.2.200:80", "sh", 0),
		fakeService(unix.IPPROTO_UDP, "192.0.2.200:53", "mh", genl.FlagSched1),
		fakeService(unix.IPPROTO_TCP, "192.0.2.201:0", "sh", genl.FlagPersistent),
		{ServiceID: genl.ServiceID{Family: unix.AF_INET, FWMark: 10}, Scheduler: "rr", Netmask: 0xffffffff},
		{ServiceID: genl.ServiceID{Family: unix.AF_INET, FWMark: 11}, Scheduler: "dh", Netmask: 0xffffffff},
	}}
}

func TestWhich(t *testing.T) {
	cut := func(k *whichFake) { k.connErr = os.ErrPermission }
	for _, c := range []struct {
		name, service, client string
		flags                 whichFlags
		kernel                func(*whichFake)
		want                  string // first line, and part of the rest
		contains              string
		err                   string
	}{
		{name: "address", service: "192.0.2.200:80", client: "198.51.100.7", want: "192.0.2.103:80", contains: "bucket 171 of 256"},
		{name: "with protocol", service: "tcp 192.0.2.200:80", client: "198.51.100.7:1", want: "192.0.2.103:80"},
		{name: "every port", service: "192.0.2.201:8080", client: "198.51.100.7", want: "192.0.2.103:80", contains: "no template"},
		{name: "mark", service: "fwmark 10", client: "198.51.100.7", want: "depends", contains: "it may be any server"},
		{name: "mark to", service: "fwmark 11", client: "198.51.100.7", flags: whichFlags{to: "192.0.2.77"}, want: "192.0.2.102:80", contains: "bucket 58 of 256"},
		{name: "unknown last weight", service: "udp:192.0.2.200:53", client: "198.51.100.7", want: "192.0.2.102:80", contains: "not certain"},
		{name: "known last weight", service: "udp:192.0.2.200:53", client: "198.51.100.7",
			flags: whichFlags{last: []string{"192.0.2.103:80=7"}}, want: "192.0.2.102:80", contains: "of 4093"},
		{name: "connections not readable", service: "192.0.2.200:80", client: "198.51.100.7", kernel: cut, want: "192.0.2.103:80", contains: "not read to its end"},

		{name: "no client", service: "192.0.2.200:80", client: "here", err: `client: "here" is not an ADDRESS`},
		{name: "no such protocol", service: "udp 192.0.2.200:80", client: "198.51.100.7", err: "no service udp 192.0.2.200:80; it has tcp 192.0.2.200:80, udp 192.0.2.200:53"},
		{name: "no such service", service: "192.0.2.1:80", client: "198.51.100.7", err: "no service tcp 192.0.2.1:80"},
		{name: "empty table", service: "192.0.2.1:80", client: "198.51.100.7", kernel: func(k *whichFake) { k.services = nil }, err: "nor any other in this network namespace"},
		{name: "other family", service: "192.0.2.200:80", client: "2001:db8::1", err: "client 2001:db8::1 cannot ask for tcp 192.0.2.200:80"},
		{name: "broken service", service: "tcp 192.0.2.1", client: "198.51.100.7", err: "is not ADDRESS:PORT"},
		{name: "broken to", service: "fwmark 11", client: "198.51.100.7", flags: whichFlags{to: "x"}, err: "--to:"},
		{name: "broken last weight", service: "fwmark 11", client: "198.51.100.7", flags: whichFlags{last: []string{"192.0.2.103=7"}}, err: "--last-weight:"},
		{name: "name without daemon", service: "web", client: "198.51.100.7", flags: whichFlags{socketFlags: socketFlags{socket: "/nonexistent/u.sock"}}, err: `service: "web" is neither ADDRESS:PORT nor a fwmark`},
		{name: "no port without daemon", service: "192.0.2.200", client: "198.51.100.7", flags: whichFlags{socketFlags: socketFlags{socket: "/nonexistent/u.sock"}}, err: `"192.0.2.200" is neither ADDRESS:PORT`},
		{name: "no rights", service: "192.0.2.200:80", client: "198.51.100.7", kernel: func(k *whichFake) { k.err = unix.EPERM }, err: "run this as root"},
		{name: "strange connections", service: "192.0.2.200:80", client: "198.51.100.7", kernel: func(k *whichFake) { k.lines = "nonsense\n" }, err: "line 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := fakeKernel()
			if c.kernel != nil {
				c.kernel(&k)
			}
			c.flags.limit = time.Minute
			a, err := which(t.Context(), &c.flags, k, c.service, c.client)
			if err != nil || c.err != "" {
				if err == nil || c.err == "" || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			text := a.Text()
			if first, _, _ := strings.Cut(text, "\n"); first != c.want || !strings.Contains(text, c.contains) {
				t.Errorf("want %q and %q, got\n%s", c.want, c.contains, text)
			}
			if certain := !strings.Contains(text, "not certain"); certain != a.Certain {
				t.Errorf("certain: %v\n%s", a.Certain, text)
			}
		})
	}
}

func TestWhichJSON(t *testing.T) {
	a, err := which(t.Context(), &whichFlags{limit: time.Minute}, fakeKernel(), "192.0.2.200:80", "198.51.100.7:4")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := writeAnswer(&b, a, true); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got["verdict"] != "server" || got["server"] != "192.0.2.103:80" || got["decided_by"] != "sh" || got["certain"] != true {
		t.Errorf("%s", b.String())
	}
}

func TestPickNamed(t *testing.T) {
	services := []serviceStatus{
		{Name: "web", Service: "tcp 192.0.2.200:80", Servers: []serverStatus{{Address: "192.0.2.101:80", Weight: 7}}},
		{Name: "web", Service: "tcp [2001:db8::200]:80"},
		{Name: "dns", Service: "udp 192.0.2.200:53"},
		{Name: "dns", Service: "udp 192.0.2.201:53"},
		{Name: "mark", Service: "fwmark 10 ipv6"},
	}
	for _, c := range []struct{ name, client, to, want, err string }{
		{name: "web", client: "198.51.100.7", want: "tcp 192.0.2.200:80"},
		{name: "web", client: "2001:db8::7", want: "tcp [2001:db8::200]:80"},
		{name: "mark", client: "2001:db8::7", want: "fwmark 10 ipv6"},
		{name: "dns", client: "198.51.100.7", err: "is a group"},
		{name: "dns", client: "198.51.100.7", to: "192.0.2.201", want: "udp 192.0.2.201:53"},
		{name: "mark", client: "198.51.100.7", err: "cannot ask for"},
		{name: "mail", client: "198.51.100.7", err: `no service "mail"; it has web, dns, mark`},
	} {
		t.Run(c.name+" "+c.client+" "+c.to, func(t *testing.T) {
			q := oracle.Question{Client: netip.AddrPortFrom(netip.MustParseAddr(c.client), 0)}
			if c.to != "" {
				q.To = netip.AddrPortFrom(netip.MustParseAddr(c.to), 0)
			}
			id, err := pickNamed(services, c.name, &q)
			if c.err != "" || err != nil {
				if err == nil || c.err == "" || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if got := oracle.Name(id); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if c.name == "web" && q.Usual[netip.MustParseAddrPort("192.0.2.101:80")] != 7 {
				t.Errorf("weights %v", q.Usual)
			}
		})
	}
	if _, err := pickNamed(nil, "web", &oracle.Question{}); err == nil || !strings.Contains(err.Error(), "has no services") {
		t.Error(err)
	}
}

func TestKernelSettings(t *testing.T) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	release := unix.ByteSliceToString(u.Release[:])
	options := "# CONFIG_IP_VS_DEBUG is not set\nCONFIG_IP_VS_SH_TAB_BITS=10\nCONFIG_IP_VS_MH_TAB_INDEX=14\n"
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write([]byte(options)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		want  oracle.Kernel
	}{
		{"nothing", nil, oracle.Kernel{ReuseMode: 1}},
		{"sysctls", map[string]string{
			"proc/sys/net/ipv4/vs/expire_quiescent_template": "1\n",
			"proc/sys/net/ipv4/vs/expire_nodest_conn":        "1\n",
			"proc/sys/net/ipv4/vs/conn_reuse_mode":           "0\n",
		}, oracle.Kernel{ExpireQuiescent: true, ExpireNodest: true}},
		{"boot", map[string]string{"boot/config-" + release: options}, oracle.Kernel{ReuseMode: 1, SHBits: 10, MHIndex: 14}},
		{"proc", map[string]string{"proc/config.gz": packed.String(), "boot/config-" + release: "CONFIG_IP_VS_SH_TAB_BITS=4\n"},
			oracle.Kernel{ReuseMode: 1, SHBits: 10, MHIndex: 14}},
		{"damaged", map[string]string{"proc/config.gz": "\x1f\x8b", "boot/config-" + release: strings.Repeat("x", 1<<20)}, oracle.Kernel{ReuseMode: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			for name, content := range c.files {
				file := filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := liveKernel{root: root}.settings("sh")
			if err != nil || got != c.want {
				t.Errorf("%+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}
