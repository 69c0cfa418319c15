package sysctl

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
)

// everything is a configuration that needs every setting that there is.
func everything() Config {
	tunnel := server("10.0.0.2:80", director.TUN)
	c := service(director.ServiceSpec{Scheduler: "mh", Persistence: time.Minute}, tcp,
		server("10.0.0.1:80", director.NAT), server("[fd00::1]:80", director.NAT), server("10.0.0.3:80", director.Local), tunnel)
	c.Routers = []director.VirtualRouter{{Link: "lo"}}
	return Config{Director: c, Sync: SyncFollow, Set: true}
}

// The kernel has every setting that a configuration can need, takes every value
// that is wanted, and gives it back so that it counts as good.
func TestKernelTakesWhatIsWanted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("changes settings of the kernel, which needs root")
	}
	if _, err := netlink.GenlFamilyGet("IPVS"); err != nil {
		t.Skipf("needs a kernel with IPVS: %v", err)
	}
	runtime.LockOSThread() // for good: the thread ends with the test's goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("unshare: %v", err)
	}
	c := everything()
	for _, key := range keys(c, Needs(c.Director, c.Sync)) {
		got, err := Kernel{}.Read(key)
		switch {
		case strings.Contains(key, ".tunl0."): // only with the module ipip
		case key == vs+"run_estimation" && errors.Is(err, fs.ErrNotExist): // since Linux 5.18
		case err != nil:
			t.Error(err)
		default:
			t.Logf("%s = %s", key, got)
		}
	}
	c.Values = []Setting{{vs + "sync_threshold", "3 10"}, {vs + "sync_ports", "2"}, {"net.ipv4.conf.lo.rp_filter", "2"}}
	k := New(Options{})
	k.Set(c)
	for _, f := range k.Check(time.Time{}) {
		if f.Severity > Hint {
			t.Errorf("after it was set: %+v", f)
		}
	}
	if got, err := (Kernel{}).Read(vs + "sync_threshold"); got != "3 10" {
		t.Errorf("sync_threshold is %q, %v", got, err)
	}
	if err := (Kernel{}).Write("net.ipv4.ip_forward", "0"); err != nil {
		t.Fatal(err)
	}
	found := Look(Kernel{}, c)
	if len(found) == 0 || found[0].Key != "net.ipv4.ip_forward" || found[0].Have != "0" || found[0].Fix != "sysctl -w net.ipv4.ip_forward=1" {
		t.Errorf("changed by hand, it is not found: %+v", found)
	}
	for _, f := range k.Check(time.Time{}) {
		if f.Severity > Hint {
			t.Errorf("after it was put back: %+v", f)
		}
	}
}
