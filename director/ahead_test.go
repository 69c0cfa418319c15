package director_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/directortest"
	"github.com/understudy-ha/understudy/garp"
)

// diary is a table of addresses and an announcer that write down what they are
// asked for.
type diary struct {
	*directortest.Addresses
	lines   []string
	told    map[garp.Target]garp.Claim
	between func() // called when it is listed; nil: nothing happens
}

func (d *diary) note(format string, args ...any) {
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

func (d *diary) List(ctx context.Context) (map[director.AddrKey]director.AddrSpec, error) {
	d.note("list")
	if d.between != nil {
		d.between()
	}
	return d.Addresses.List(ctx)
}

func (d *diary) Apply(ctx context.Context, changes []director.Change[director.AddrKey, director.AddrSpec]) error {
	var line strings.Builder
	for _, c := range changes {
		line.WriteString(strings.TrimSuffix(c.String(), " (ours)") + " ")
	}
	d.note("%s", line.String()[:len(line.String())-1])
	return d.Addresses.Apply(ctx, changes)
}

// Set implements director.Announcer.
func (d *diary) Set(claims map[garp.Target]garp.Claim) {
	for target, c := range claims {
		if d.told[target] != c {
			d.note("announce %v", target.Address)
		}
	}
	d.told = claims
}

func (d *diary) take() []string {
	lines := d.lines
	d.lines = nil
	return lines
}

// aheadStage is a director that has seen an empty kernel as a backup.
func aheadStage(t *testing.T, tags bool, addresses ...string) (k *directortest.Kernel, d *diary, pass func(director.Role, ...string)) {
	t.Helper()
	k = directortest.NewKernel(tags)
	p := k.Process()
	d = &diary{Addresses: p.Addresses()}
	role := director.RoleBackup
	dir := director.New(director.Options{
		Addresses: d, Announcer: d, AddressLedger: p.AddressLedger(),
		Roles: func() map[string]director.RoleState {
			return map[string]director.RoleState{"a": {Role: role, Epoch: uint64(role)}}
		},
	})
	r := director.VirtualRouter{Name: "a", Link: "eth0"}
	for _, a := range addresses {
		r.Addresses = append(r.Addresses, netip.MustParsePrefix(a))
	}
	dir.Set(director.Config{Routers: []director.VirtualRouter{r}})
	pass = func(next director.Role, want ...string) {
		t.Helper()
		role = next
		if err := dir.PassAddresses(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, d.take(), equal...); diff != "" {
			t.Errorf("as %v (-want +got):\n%s", next, diff)
		}
	}
	pass(director.RoleBackup, "list")
	return k, d, pass
}

func TestTakeoverWaitsForNoListing(t *testing.T) {
	k, _, pass := aheadStage(t, true, "2001:db8::1/64", "192.0.2.1/24")
	pass(director.RoleMaster,
		"create 192.0.2.1/24 on eth0", "announce 192.0.2.1",
		"create 2001:db8::1/64 on eth0", "announce 2001:db8::1", "list")
	pass(director.RoleMaster, "list")
	if n := len(k.Addresses()); n != 2 {
		t.Errorf("the kernel holds %d addresses:\n%v", n, k)
	}
	// It leaves after a listing.
	pass(director.RoleBackup, "list", "delete 192.0.2.1/24 on eth0 delete 2001:db8::1/64 on eth0")
}

// Of many addresses the first are announced before the others are created.
func TestTakeoverInBatches(t *testing.T) {
	var all []string
	for i := range 30 {
		all = append(all, fmt.Sprintf("192.0.2.%d/24", i+1))
	}
	k, d, pass := aheadStage(t, true, all...)
	d.between = func() {
		var sizes []int
		for _, l := range slices.DeleteFunc(d.take(), func(l string) bool { return !strings.HasPrefix(l, "create") }) {
			sizes = append(sizes, strings.Count(l, "create"))
		}
		if diff := cmp.Diff([]int{4, 16, 10}, sizes); diff != "" {
			t.Errorf("batches (-want +got):\n%s", diff)
		}
	}
	pass(director.RoleMaster)
	if len(d.told) != 30 || len(k.Addresses()) != 30 {
		t.Errorf("%d are announced and %d held, want 30", len(d.told), len(k.Addresses()))
	}
}

// Without tags nobody could tell an address that is there from one of ours.
func TestTakeoverWithoutTagsIsListedFirst(t *testing.T) {
	_, _, pass := aheadStage(t, false, "192.0.2.1/24")
	pass(director.RoleMaster, "list", "create 192.0.2.1/24 on eth0", "announce 192.0.2.1")
}

// What the director believes to be missing is there: it stays whose it was.
func TestTakeoverFindsTheAddressThere(t *testing.T) {
	k, _, pass := aheadStage(t, true, "192.0.2.1/24")
	k.ByHand(func(h directortest.Hand) { _ = h.Address(vip) })
	pass(director.RoleMaster, "create 192.0.2.1/24 on eth0", "announce 192.0.2.1", "list")
	pass(director.RoleBackup, "list")
	if spec, ok := k.Addresses()[vip]; !ok || spec.Ours {
		t.Errorf("the address of somebody else is there: %v, ours: %v", ok, spec.Ours)
	}
}

// What the director believes to be there has gone.
func TestTakeoverFindsTheAddressGone(t *testing.T) {
	k, _, pass := aheadStage(t, true, "192.0.2.1/24")
	pass(director.RoleMaster, "create 192.0.2.1/24 on eth0", "announce 192.0.2.1", "list")
	pass(director.RoleYielding, "list")
	k.ByHand(func(h directortest.Hand) { _ = h.DeleteAddress(vip) })
	pass(director.RoleMaster, "list", "create 192.0.2.1/24 on eth0", "announce 192.0.2.1")
}

// What was created ahead is gone by the listing: it is put back and announced again.
func TestTakeoverLosesTheAddressAtOnce(t *testing.T) {
	k, d, pass := aheadStage(t, true, "192.0.2.1/24")
	d.between = func() {
		d.between = nil
		k.ByHand(func(h directortest.Hand) { _ = h.DeleteAddress(vip) })
	}
	pass(director.RoleMaster,
		"create 192.0.2.1/24 on eth0", "announce 192.0.2.1", "list",
		"create 192.0.2.1/24 on eth0", "announce 192.0.2.1")
	pass(director.RoleMaster, "list")
}
