package addr

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
)

type (
	addrs   = map[director.AddrKey]director.AddrSpec
	changes = []director.Change[director.AddrKey, director.AddrSpec]
)

// newTable moves the test into a network namespace of its own with the veth
// pair va, vb and returns a table that looks at both ends.
func newTable(t *testing.T) *Table {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root, and this is uid", os.Geteuid())
	}
	runtime.LockOSThread() // for good: the thread ends with the test's goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("unshare: %v", err)
	}
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "va"}, PeerName: "vb"}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatalf("add veth: %v", err)
	}
	for _, name := range []string{"va", "vb"} {
		if err := netlink.LinkSetUp(linkByName(t, name)); err != nil {
			t.Fatalf("set %s up: %v", name, err)
		}
	}
	table, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	})
	table.SetLinks([]string{"vb", "va", "absent", "va"})
	return table
}

func linkByName(t *testing.T, name string) netlink.Link {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatalf("link %s: %v", name, err)
	}
	return l
}

// addForeign adds an address as another program would.
func addForeign(t *testing.T, name, prefix string) {
	t.Helper()
	a, err := netlink.ParseAddr(prefix)
	if err != nil {
		t.Fatal(err)
	}
	a.Flags = unix.IFA_F_NODAD
	if err := netlink.AddrAdd(linkByName(t, name), a); err != nil {
		t.Fatalf("add %s to %s: %v", prefix, name, err)
	}
}

func key(name, prefix string) director.AddrKey {
	return director.AddrKey{Link: name, Prefix: netip.MustParsePrefix(prefix)}
}

func create(keys ...director.AddrKey) (c changes) {
	for _, k := range keys {
		c = append(c, change{Op: director.Create, Key: k, New: director.AddrSpec{Ours: true}})
	}
	return c
}

func remove(keys ...director.AddrKey) (c changes) {
	for _, k := range keys {
		c = append(c, change{Op: director.Delete, Key: k, Old: director.AddrSpec{Ours: true}})
	}
	return c
}

func apply(t *testing.T, table *Table, c changes) {
	t.Helper()
	if err := table.Apply(t.Context(), c); err != nil {
		t.Fatalf("Apply(%v): %v", c, err)
	}
}

func checkList(t *testing.T, table *Table, want addrs) {
	t.Helper()
	got, err := table.List(t.Context())
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	compare := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Fatalf("List (-want +got):\n%s", diff)
	}
}

var (
	ours    = director.AddrSpec{Ours: true}
	foreign = director.AddrSpec{}
)

func TestNetnsCreateAndDelete(t *testing.T) {
	table := newTable(t)
	addForeign(t, "va", "10.0.0.1/24")
	v4, v6, other := key("va", "10.0.0.200/24"), key("va", "fd00::200/64"), key("vb", "10.9.0.1/32")

	apply(t, table, create(v4, v6, other))
	want := addrs{key("va", "10.0.0.1/24"): foreign, v4: ours, v6: ours, other: ours}
	checkList(t, table, want)
	apply(t, table, create(v4, v6, other))
	checkList(t, table, want)

	// A second table, as after a restart, sees the same: the tag is in the kernel.
	again, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	again.SetLinks([]string{"va", "vb"})
	checkList(t, again, want)

	list, err := netlink.AddrList(linkByName(t, "va"), netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if a.IP.Equal(net.IPv4(10, 0, 0, 200)) && a.Broadcast != nil {
			t.Errorf("%v has the broadcast address %v, want none", a.IP, a.Broadcast)
		}
	}
	list, err = netlink.AddrList(linkByName(t, "va"), netlink.FAMILY_V6)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if a.IP.Equal(net.ParseIP("fd00::200")) && a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_NODAD) != unix.IFA_F_NODAD {
			t.Errorf("flags of %v are %#x, want NODAD and not TENTATIVE", a.IP, a.Flags)
		}
	}

	apply(t, table, remove(v4, v6, other, key("absent", "10.0.0.7/32")))
	checkList(t, table, addrs{key("va", "10.0.0.1/24"): foreign})
	apply(t, table, remove(v4, v6, other))
}

func TestNetnsForeignStaysForeign(t *testing.T) {
	table := newTable(t)
	v4, v6 := key("va", "10.0.0.200/24"), key("va", "fd00::200/64")
	addForeign(t, "va", "10.0.0.200/24")
	addForeign(t, "va", "fd00::200/64")
	apply(t, table, create(v4, v6))
	checkList(t, table, addrs{v4: foreign, v6: foreign})

	apply(t, table, changes{
		{Op: director.Update, Key: v4, Old: foreign, New: ours},
		{Op: director.Update, Key: v6, Old: foreign, New: ours},
	})
	checkList(t, table, addrs{v4: foreign, v6: foreign})
}

func TestNetnsStraysAreListed(t *testing.T) {
	table := newTable(t)
	stray := key("vb", "10.0.9.200/24")
	addForeign(t, "vb", "10.0.9.9/24")
	apply(t, table, create(stray))
	table.SetLinks([]string{"va"})
	checkList(t, table, addrs{stray: ours})
	apply(t, table, remove(stray))
	checkList(t, table, addrs{})
}

func TestNetnsFailuresAreAttributed(t *testing.T) {
	table := newTable(t)
	addForeign(t, "va", "fd00::200/128")
	good := key("va", "10.0.0.200/24")
	absent := key("absent", "10.0.0.201/24")
	multicast := key("va", "ff02::200/64")
	elsewhere := key("va", "fd00::200/64")
	invalid := director.AddrKey{Link: "va"}
	err := table.Apply(t.Context(), create(absent, multicast, elsewhere, invalid, good))

	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("Apply: %v, want joined errors", err)
	}
	got := make(map[director.AddrKey]error)
	for _, err := range joined.Unwrap() {
		var ce *director.ChangeError[director.AddrKey]
		if !errors.As(err, &ce) {
			t.Fatalf("%v is not a ChangeError", err)
		}
		if ce.Op != director.Create {
			t.Errorf("%v has operation %v, want Create", ce, ce.Op)
		}
		got[ce.Key] = ce.Err
	}
	if len(got) != 4 || got[invalid] == nil || got[multicast] == nil {
		t.Errorf("failures %v, want one each for %v, %v, %v and %v", got, absent, multicast, elsewhere, invalid)
	}
	if !errors.Is(got[absent], unix.ENODEV) {
		t.Errorf("missing link: %v, want ENODEV", got[absent])
	}
	if !errors.Is(got[elsewhere], unix.EEXIST) {
		t.Errorf("other prefix length: %v, want EEXIST", got[elsewhere])
	}
	checkList(t, table, addrs{good: ours, key("va", "fd00::200/128"): foreign})
}

func TestNetnsPrimaryTakesNothingAlong(t *testing.T) {
	tests := []struct {
		name     string
		foreign  []string // added first
		ours     []string
		remove   []string
		promotes bool // promote_secondaries was needed
	}{
		{"one of two subnet mates", nil, []string{"10.1.0.1/24", "10.1.0.2/24"}, []string{"10.1.0.1/24"}, true},
		{"the whole subnet", nil, []string{"10.1.0.1/24", "10.1.0.2/24"}, []string{"10.1.0.1/24", "10.1.0.2/24"}, false},
		{"secondaries of the interface's own", []string{"10.1.0.9/24"}, []string{"10.1.0.1/24", "10.1.0.2/24"}, []string{"10.1.0.1/24", "10.1.0.2/24"}, false},
		{"another mask is another subnet", nil, []string{"10.1.0.1/24", "10.1.0.2/25"}, []string{"10.1.0.1/24"}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			table := newTable(t)
			setPromote(t, "va", "0")
			want := make(addrs)
			for _, p := range test.foreign {
				addForeign(t, "va", p)
				want[key("va", p)] = foreign
			}
			for _, p := range test.ours {
				apply(t, table, create(key("va", p)))
				want[key("va", p)] = ours
			}
			var gone []director.AddrKey
			for _, p := range test.remove {
				gone = append(gone, key("va", p))
				delete(want, key("va", p))
			}
			apply(t, table, remove(gone...))
			checkList(t, table, want)
			if got := promote(t, "va"); (got == "1\n") != test.promotes {
				t.Errorf("promote_secondaries of va is %q, want set: %v", got, test.promotes)
			}
		})
	}
	t.Run("a secondary of somebody else survives", func(t *testing.T) {
		table := newTable(t)
		setPromote(t, "va", "0")
		apply(t, table, create(key("va", "10.1.0.1/24")))
		addForeign(t, "va", "10.1.0.2/24")
		apply(t, table, remove(key("va", "10.1.0.1/24")))
		checkList(t, table, addrs{key("va", "10.1.0.2/24"): foreign})
	})
	t.Run("without help the kernel takes it along", func(t *testing.T) {
		table := newTable(t)
		setPromote(t, "va", "0")
		apply(t, table, create(key("va", "10.1.0.1/24"), key("va", "10.1.0.2/24")))
		a, _ := netlink.ParseAddr("10.1.0.1/24")
		if err := netlink.AddrDel(linkByName(t, "va"), a); err != nil {
			t.Fatal(err)
		}
		checkList(t, table, addrs{})
	})
}

// sysctl is the file of promote_secondaries; /proc/sys/net is that of the
// calling thread's namespace.
func sysctl(name string) string {
	return fmt.Sprintf("/proc/sys/net/ipv4/conf/%s/promote_secondaries", name)
}

func setPromote(t *testing.T, name, value string) {
	t.Helper()
	for _, n := range []string{"all", name} {
		if err := os.WriteFile(sysctl(n), []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func promote(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(sysctl(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestNetnsLinkAgain(t *testing.T) {
	table := newTable(t)
	k := key("va", "10.0.0.200/24")
	apply(t, table, create(k))
	if err := netlink.LinkDel(linkByName(t, "va")); err != nil {
		t.Fatal(err)
	}
	checkList(t, table, addrs{})
	apply(t, table, remove(k))
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "va"}, PeerName: "vb"}); err != nil {
		t.Fatal(err)
	}
	apply(t, table, create(k))
	checkList(t, table, addrs{k: ours})
}

func TestNetnsContext(t *testing.T) {
	table := newTable(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := table.List(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("List: %v, want %v", err, context.Canceled)
	}
	k := key("va", "10.0.0.200/24")
	if err := table.Apply(ctx, create(k)); !errors.Is(err, context.Canceled) {
		t.Errorf("Apply: %v, want %v", err, context.Canceled)
	}
	checkList(t, table, addrs{})
	apply(t, table, create(k))
	checkList(t, table, addrs{k: ours})
}

// A table keeps to the namespace that it was opened in.
func TestNetnsOtherThread(t *testing.T) {
	table := newTable(t)
	k := key("va", "10.0.0.200/24")
	done := make(chan error)
	go func() { done <- table.Apply(t.Context(), create(k)) }()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	checkList(t, table, addrs{k: ours})
}
