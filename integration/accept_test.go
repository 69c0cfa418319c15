package integration

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/accept"
	"github.com/understudy-ha/understudy/director/addr"
	"github.com/understudy-ha/understudy/director/vmac"
	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/site"
	"github.com/understudy-ha/understudy/integration/vm"
	"github.com/understudy-ha/understudy/vrrp"
)

// TestAcceptFalseIPVS has IPVS balance what comes to addresses with a virtual MAC
// of which the director itself takes nothing in. With IPVS this needs nftables of
// the family inet.
func TestAcceptFalseIPVS(t *testing.T) {
	needNftables(t)
	l := lab.New(t)
	lan := l.Switch("lan")
	client, director1, outside := l.Node("client"), l.Node("lb1"), l.Node("outside")
	clientPort := lan.Connect(client, "eth0", site.ClientIP+"/24", clientIP6+"/64")
	lan.Connect(director1, "eth0", "10.51.0.11/24", directorIP6+"/64")
	lan.Connect(outside, "eth0", outsideIP+"/24", outsideIP6+"/64")
	outside.HoldVIP(netip.MustParseAddr(site.VIP))
	outside.Shared("lo", vip6+"/128")
	inner := l.Switch("inside")
	inner.Connect(director1, "eth1", "10.53.0.11/24", "2001:db8:53::11/64")
	inside := l.Node("inside")
	inner.Connect(inside, "eth0", insideIP+"/24", insideIP6+"/64")
	inside.Route("default", "10.53.0.11")
	inside.Route("::/0", "2001:db8:53::11")
	director1.Sysctl("net.ipv4.ip_forward", "1")
	director1.Sysctl("net.ipv6.conf.all.forwarding", "1")
	outside.Serve([]string{"[::]:8000"}, nil)
	inside.Serve([]string{"[::]:8001"}, nil)

	devices := []vmac.Device{
		{Name: "vrrp4.51", Parent: "eth0", MAC: vrrp.VirtualMAC(51, false)},
		{Name: "vrrp6.51", Parent: "eth0", MAC: vrrp.VirtualMAC(51, true)},
	}
	vips := []netip.Addr{netip.MustParseAddr(site.VIP), netip.MustParseAddr(vip6)}
	closed := accept.New(accept.Options{})
	director1.Must("take over", func() error {
		below, err := addr.New()
		if err != nil {
			return err
		}
		keeper, err := vmac.New(vmac.Options{Loans: filepath.Join(t.TempDir(), "loans")})
		if err != nil {
			return err
		}
		table, err := vmac.NewTable(below, keeper)
		if err != nil {
			return err
		}
		t.Cleanup(func() {
			if err := errors.Join(table.Close(), keeper.Close(), below.Close()); err != nil {
				t.Error(err)
			}
		})
		keeper.Set(devices)
		var changes []director.Change[director.AddrKey, director.AddrSpec]
		for i, vip := range vips {
			key := director.AddrKey{Link: devices[i].Name, Prefix: netip.PrefixFrom(vip, vip.BitLen())}
			changes = append(changes, director.Change[director.AddrKey, director.AddrSpec]{Op: director.Create, Key: key, New: director.AddrSpec{Ours: true}})
		}
		return errors.Join(accept.Preflight(), keeper.Check(t.Context()), table.Apply(t.Context(), changes))
	})
	for _, s := range []struct{ vip, direct, masqueraded string }{{site.VIP, outsideIP, insideIP}, {vip6, outsideIP6, insideIP6}} {
		for port, server := range map[int]string{8000: s.direct, 8001: s.masqueraded} {
			how := map[int]string{8000: "-g", 8001: "-m"}[port]
			director1.MustRun("ipvsadm", "-A", "-t", join(s.vip, port), "-s", "rr")
			director1.MustRun("ipvsadm", "-a", "-t", join(s.vip, port), "-r", join(server, port), how)
		}
	}
	director1.Serve([]string{"[::]:8002"}, nil) // the director's own

	look := func(when string, own error) {
		t.Helper()
		for i, vip := range vips {
			for port, server := range []string{"outside", "inside"} {
				a, err := client.Get(fmt.Sprintf("http://%s/", join(vip.String(), 8000+port)), 5*time.Second)
				if err != nil || a.Server != server {
					t.Errorf("%s: %v port %d: %q, %v, want %s", when, vip, 8000+port, a.Server, err, server)
				}
			}
			if got, want := clientPort.Neighbour(vip).String(), net.HardwareAddr(devices[i].MAC[:]).String(); got != want {
				t.Errorf("%s: the client knows %v as %s, want %s", when, vip, got, want)
			}
			for _, port := range []int{8002, 8003} {
				err := client.Do(func() error {
					c, err := net.DialTimeout("tcp", join(vip.String(), port), time.Second)
					if err == nil {
						c.Close()
					}
					return err
				})
				want := own
				if want == nil && port == 8003 {
					want = unix.ECONNREFUSED
				}
				if timeout, ok := errors.AsType[net.Error](err); errors.Is(err, want) || want == errSilence && ok && timeout.Timeout() {
					continue
				}
				t.Errorf("%s: %v port %d, the director's own: %v, want %v", when, vip, port, err, want)
			}
		}
	}
	look("accept = true", nil)
	closed.Set(vips)
	director1.Must("close", closed.Check)
	look("accept = false", errSilence)
	closed.Set(nil)
	director1.Must("open", closed.Check)
	look("accept = true again", nil)
}

// needNftables skips a test in the user-mode kernel, which lacks nftables of the
// family inet.
func needNftables(t *testing.T) {
	t.Helper()
	if err := accept.Preflight(); errors.Is(err, unix.EOPNOTSUPP) && vm.Inside() {
		t.Skipf("the user-mode kernel is built without CONFIG_NF_TABLES_INET; make kernel-tcg runs this: %v", err)
	}
}

// errSilence is no answer.
var errSilence = errors.New("no answer")
