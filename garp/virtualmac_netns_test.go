package garp

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// On a macvlan everything is at its own hardware address, as it has to be for a
// virtual router with a virtual MAC.
func TestNetnsVirtualMAC(t *testing.T) {
	n := newNeighbour(t)
	n.hears6(t)
	hold(t, n.handle, n.link, "10.0.0.200/24")
	hold(t, n.handle, n.link, "fd00::200/64")
	va, err := netlink.LinkByName("va")
	if err != nil {
		t.Fatal(err)
	}
	macvlan := &netlink.Macvlan{
		LinkAttrs: netlink.LinkAttrs{Name: "vrrp51", ParentIndex: va.Attrs().Index, HardwareAddr: ownMAC[:]},
		Mode:      netlink.MACVLAN_MODE_PRIVATE,
	}
	if err := netlink.LinkAdd(macvlan); err != nil {
		t.Fatalf("add macvlan: %v", err)
	}
	if err := netlink.LinkSetUp(macvlan); err != nil {
		t.Fatal(err)
	}
	vip4, vip6 := on("vrrp51", "10.0.0.200"), on("vrrp51", "fd00::200")
	mine4, mine6 := on("vrrp51", "10.0.0.201"), on("vrrp51", "fd00::201")
	for _, target := range []Target{vip4, vip6, mine4, mine6} {
		hold(t, nil, macvlan, netip.PrefixFrom(target.Address, target.Address.BitLen()).String())
	}
	once := Claim{Schedule: Schedule{Count: 1}}
	n.believe(t, mine4.Address, theirMAC[:])
	n.believe(t, mine6.Address, theirMAC[:])
	a := New(Options{})
	a.Set(map[Target]Claim{mine4: once, mine6: once})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		n.learns(t, mine4.Address, ownMAC[:])
		n.learns(t, mine6.Address, ownMAC[:])
	}()
	if err := a.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}

	w := NewWatcher(WatcherOptions{})
	w.Set(map[Target]Watch{vip4: {Timing: Timing{Expire: time.Hour}}, vip6: {Timing: Timing{Expire: time.Hour}}})
	watch(t, w, func() {
		await(t, w, Conflict{Target: vip4, MAC: n.mac(), Kind: ARP}, Conflict{Target: vip6, MAC: n.mac(), Kind: ND})
	})
}
