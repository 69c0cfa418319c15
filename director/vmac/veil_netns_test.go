package vmac

import (
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestNetnsVeil: an interface is up with another hardware address until IPv6 addresses
// are in place, so that nothing from the virtual MAC is on the link before; and what
// was killed in between is put right by the next one.
func TestNetnsVeil(t *testing.T) {
	s := newSite(t)
	k, table := s.start(v6)
	s.pass(k)
	mac := func() net.HardwareAddr { return s.link(v6.Name).Attrs().HardwareAddr }
	vip := key(v6.Name, vip6+"/64")

	updates, done := make(chan netlink.LinkUpdate, 100), make(chan struct{})
	s.check("subscribe", netlink.LinkSubscribe(updates, done))
	defer close(done)
	s.take(table, vip)
	if mac().String() != net.HardwareAddr(v6.MAC[:]).String() || !s.up(v6.Name) {
		t.Fatalf("holding an address: %v", mac())
	}
	other := veil(v6.MAC)
	for deadline := time.After(2 * time.Second); ; {
		var u netlink.LinkUpdate
		select {
		case u = <-updates:
		case <-deadline:
			t.Fatal("never up with another hardware address")
		}
		if u.Attrs().Name == v6.Name && u.Attrs().RawFlags&unix.IFF_UP != 0 {
			if got := u.Attrs().HardwareAddr.String(); got != net.HardwareAddr(other[:]).String() {
				t.Errorf("up with %s before its address is in place", got)
			}
			break
		}
	}

	// Killed before it had its own.
	s.check("veil", netlink.LinkSetHardwareAddr(s.link(v6.Name), other[:]))
	index := s.link(v6.Name).Attrs().Index
	next, table := s.start(v6)
	s.pass(next)
	s.list(table)
	if got := mac(); got.String() != net.HardwareAddr(v6.MAC[:]).String() || s.link(v6.Name).Attrs().Index != index {
		t.Errorf("after the next start: %v, index %d was %d", got, s.link(v6.Name).Attrs().Index, index)
	}
}
