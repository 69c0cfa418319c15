package route

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/directortest"
)

// newTable moves the test into a network namespace of its own with the veth pair
// va, vb and addresses on va, and returns its table.
func newTable(t *testing.T) *Table {
	t.Helper()
	needRoot(t)
	runtime.LockOSThread() // for good: the thread ends with the test's goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("unshare: %v", err)
	}
	ip(t, "link add va type veth peer name vb")
	ip(t, "link set lo up")
	ip(t, "link set va up")
	ip(t, "link set vb up")
	ip(t, "addr add 192.0.2.1/24 dev va")
	ip(t, "addr add 2001:db8::1/64 dev va nodad")
	return open(t)
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root, and this is uid", os.Geteuid())
	}
}

func open(t *testing.T) *Table {
	t.Helper()
	table, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	})
	return table
}

// run runs a command of iproute2 as an operator would, in the calling thread's
// namespace.
func run(command string) (string, error) {
	out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ip %s: %w: %s", command, err, out)
	}
	return string(out), nil
}

func ip(t *testing.T, command string) string {
	t.Helper()
	out, err := run(command)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestNetnsConformance(t *testing.T) {
	directortest.TestRouting(t, "va", func(t *testing.T) director.Table[director.RoutingKey, director.RoutingSpec] {
		return newTable(t)
	})
}

var (
	create = director.Create
	remove = director.Delete
	gate   = director.RouteSpec{Type: director.Unicast, Via: netip.MustParseAddr("192.0.2.254"), Link: "va"}
	from   = director.Rule{Priority: 1000, From: netip.MustParsePrefix("192.0.2.100/32"), Table: 100}
)

func apply(t *testing.T, table *Table, changes ...change) {
	t.Helper()
	if err := table.Apply(t.Context(), changes); err != nil {
		t.Fatalf("Apply: %v", err)
	}
}

// checkList compares the table as directortest prints it.
func checkList(t *testing.T, table *Table, want ...string) {
	t.Helper()
	got, err := table.List(t.Context())
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	if lines := strings.Split(strings.TrimSpace(directortest.FormatRouting(got)), "\n"); !slices.Equal(lines, append(want, []string{""}[:max(0, 1-len(want))]...)) {
		t.Fatalf("List:\n%s\nwant:\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

func TestNetnsShownByTheTools(t *testing.T) {
	table := newTable(t)
	apply(t, table, directortest.RouteIs(create, "0.0.0.0/0", 0, gate), directortest.RuleIs(create, from))
	if got := strings.TrimSpace(ip(t, "route show table 100")); got != "default via 192.0.2.254 dev va proto 117" {
		t.Errorf("ip route shows %q", got)
	}
	if got := ip(t, "rule show"); !strings.Contains(got, "1000:\tfrom 192.0.2.100 lookup 100 proto 117") {
		t.Errorf("ip rule shows %q", got)
	}
	// A second table, as after a restart, sees the same: the tag is in the kernel.
	checkList(t, open(t), "route default table 100 (via 192.0.2.254 dev va, ours)", "rule 1000: from 192.0.2.100/32 lookup 100 (ours)")
}

func TestNetnsForeignStays(t *testing.T) {
	table := newTable(t)
	ip(t, "route add default via 192.0.2.254 table 100")
	ip(t, "rule add from 192.0.2.100 table 100 priority 1000")
	ip(t, "route add 198.51.100.0/24 via 192.0.2.253 table 100")
	ip(t, "route add 2001:db8:9::/48 via 2001:db8::fd table 100")
	checkList(t, table) // nobody has asked for them
	equal := directortest.RouteIs(create, "0.0.0.0/0", 0, gate)
	rule := directortest.RuleIs(create, from)
	other := directortest.RouteIs(create, "198.51.100.0/24", 0, gate)
	other6 := directortest.RouteIs(create, "2001:db8:9::/48", 1024, director.RouteSpec{Via: netip.MustParseAddr("2001:db8::fe")})
	table.SetKeys([]director.RoutingKey{equal.Key, rule.Key, other.Key})
	shown := []string{
		"route default table 100 (via 192.0.2.254 dev va, untagged)",
		"route 198.51.100.0/24 table 100 (via 192.0.2.253 dev va, untagged)",
		"rule 1000: from 192.0.2.100/32 lookup 100 (untagged)",
	}
	checkList(t, table, shown...)
	apply(t, table, equal, rule) // they are there
	err := table.Apply(t.Context(), []change{other, other6})
	if !errors.Is(err, unix.EEXIST) || strings.Count(err.Error(), "not ours") != 2 || !strings.Contains(err.Error(), "via 192.0.2.253") {
		t.Errorf("Apply in the place of somebody else's route: %v", err)
	}
	for _, c := range []change{equal, rule, other, other6} {
		c.Op = remove
		apply(t, table, c)
	}
	checkList(t, table, shown...)
	if got := ip(t, "-6 route show table 100"); strings.Count(got, "\n") != 1 {
		t.Errorf("IPv6 routes: %s", got)
	}
}

// A route of somebody else's that was put beside ours is neither replaced nor
// deleted.
func TestNetnsBeside(t *testing.T) {
	table := newTable(t)
	ours := directortest.RouteIs(create, "198.51.100.0/24", 0, gate)
	apply(t, table, ours)
	ip(t, "route append 198.51.100.0/24 via 192.0.2.253 table 100")
	ours.Op, ours.New.Route.Via = director.Update, netip.MustParseAddr("192.0.2.252")
	if err := table.Apply(t.Context(), []change{ours}); !errors.Is(err, unix.EEXIST) {
		t.Errorf("Update beside somebody else's route: %v, want EEXIST", err)
	}
	ours.Op = remove
	apply(t, table, ours)
	if got := strings.TrimSpace(ip(t, "route show table 100")); got != "198.51.100.0/24 via 192.0.2.253 dev va" {
		t.Errorf("left: %q", got)
	}
}

// A rule of somebody else's that the kernel would delete in place of ours stays,
// and one that is equal to ours too.
func TestNetnsRuleInFront(t *testing.T) {
	table := newTable(t)
	ip(t, "rule add from 192.0.2.100 ipproto tcp table 100 priority 1000")
	apply(t, table, directortest.RuleIs(create, from))
	if err := table.Apply(t.Context(), []change{directortest.RuleIs(remove, from)}); err == nil {
		t.Error("Apply says nothing of the rule in front of ours")
	}
	if got := ip(t, "rule show priority 1000"); strings.Count(got, "\n") != 2 {
		t.Errorf("rules: %s", got)
	}
	ip(t, "rule del from 192.0.2.100 ipproto tcp table 100 priority 1000")
	ip(t, "rule add from 192.0.2.100 table 100 priority 1000 protocol static") // it counts as theirs now
	apply(t, table, directortest.RuleIs(create, from))
	checkList(t, table, "rule 1000: from 192.0.2.100/32 lookup 100 (untagged)")
	ip(t, "rule del from 192.0.2.100 table 100 priority 1000 protocol static")
	checkList(t, table, "rule 1000: from 192.0.2.100/32 lookup 100 (ours)")
	apply(t, table, directortest.RuleIs(remove, from))
	checkList(t, table)
}

func TestNetnsNoInterface(t *testing.T) {
	table := newTable(t)
	absent := gate
	absent.Link = "absent0"
	err := table.Apply(t.Context(), []change{directortest.RouteIs(create, "0.0.0.0/0", 0, absent)})
	if !errors.Is(err, unix.ENODEV) {
		t.Errorf("Apply: %v, want ENODEV", err)
	}
	apply(t, table, directortest.RouteIs(create, "0.0.0.0/0", 0, gate))
	ip(t, "link del va")
	checkList(t, table)
	apply(t, table, directortest.RouteIs(remove, "0.0.0.0/0", 0, gate))
}

// The kernel's words are part of what operators read.
func TestNetnsReason(t *testing.T) {
	table := newTable(t)
	far := gate
	far.Via, far.Link = netip.MustParseAddr("203.0.113.1"), ""
	err := table.Apply(t.Context(), []change{directortest.RouteIs(create, "0.0.0.0/0", 0, far)})
	if !errors.Is(err, unix.ENETUNREACH) || !strings.Contains(err.Error(), "gateway") {
		t.Errorf("Apply: %v", err)
	}
}
