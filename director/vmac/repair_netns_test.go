package vmac

import (
	"context"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/link"
)

const (
	arpIgnore   = "net.ipv4.conf.va.arp_ignore"
	arpAnnounce = "net.ipv4.conf.va.arp_announce"
)

// What a killed daemon has left is not touched by the next one.
func TestNetnsAdopts(t *testing.T) {
	s := newSite(t)
	k, table := s.start(v4)
	s.pass(k)
	vip := key(v4.Name, vip4+"/24")
	s.take(table, vip)
	before := s.link(v4.Name).Attrs().Index
	// A change of an interface or an address would be told.
	updates, done := make(chan netlink.LinkUpdate, 100), make(chan struct{})
	s.check("subscribe", netlink.LinkSubscribe(updates, done))
	defer close(done)

	next, table := s.start(v4)
	s.list(table)
	s.pass(next)
	if got := s.list(table)[vip]; !got.Ours {
		t.Errorf("after the next start: %v", s.list(table))
	}
	if after := s.link(v4.Name).Attrs().Index; after != before || !s.up(v4.Name) {
		t.Errorf("index %d, up %v, was %d", after, s.up(v4.Name), before)
	}
	s.check("mark the end", netlink.LinkSetUp(s.link("lo")))
	for u := range updates {
		if u.Attrs().Name == "lo" {
			break
		}
		t.Errorf("interface %s was changed", u.Attrs().Name)
	}
	s.only(vip4, v4.MAC[:])
}

func TestNetnsRepairs(t *testing.T) {
	macvlan := func(name string, mac [6]byte, mode netlink.MacvlanMode) *netlink.Macvlan {
		return &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{
			Name: name, ParentIndex: mustLink(t, "va").Attrs().Index, HardwareAddr: mac[:],
		}, Mode: mode}
	}
	add := func(s *site, l netlink.Link, alias string) {
		t.Helper()
		s.check("add "+l.Attrs().Name, netlink.LinkAdd(l))
		if alias != "" {
			s.check("set alias", netlink.LinkSetAlias(s.link(l.Attrs().Name), alias))
		}
	}
	absent := func(s *site, name string) {
		t.Helper()
		if _, err := netlink.LinkByName(name); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
	good := func(s *site) {
		t.Helper()
		k, table := s.start(v4)
		s.pass(k)
		s.take(table, key(v4.Name, vip4+"/24"))
		s.only(vip4, v4.MAC[:])
	}
	t.Run("another mode", func(t *testing.T) {
		s := newSite(t)
		add(s, macvlan(v4.Name, v4.MAC, netlink.MACVLAN_MODE_PRIVATE), link.Alias)
		good(s)
	})
	t.Run("another MAC", func(t *testing.T) {
		s := newSite(t)
		add(s, macvlan(v4.Name, v6.MAC, netlink.MACVLAN_MODE_BRIDGE), link.Alias)
		good(s)
	})
	t.Run("another name", func(t *testing.T) {
		s := newSite(t)
		add(s, macvlan("before", v4.MAC, netlink.MACVLAN_MODE_BRIDGE), link.Alias)
		s.check("set up", netlink.LinkSetUp(s.link("before")))
		good(s)
		absent(s, "before")
	})
	t.Run("others stay", func(t *testing.T) {
		s := newSite(t)
		add(s, macvlan("untagged", v6.MAC, netlink.MACVLAN_MODE_PRIVATE), "")
		add(s, macvlan("foreign", [6]byte{2, 0, 0, 0, 0, 1}, netlink.MACVLAN_MODE_PRIVATE), link.Alias)
		add(s, &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "vx"}, PeerName: "vy"}, link.Alias)
		good(s)
		for _, name := range []string{"untagged", "foreign", "vx"} {
			s.link(name)
		}
	})
	t.Run("the name is taken", func(t *testing.T) {
		s := newSite(t)
		add(s, macvlan(v4.Name, v4.MAC, netlink.MACVLAN_MODE_BRIDGE), "")
		k, table := s.start(v4)
		if err := k.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "another interface of this name") {
			t.Errorf("Check: %v", err)
		}
		if st := k.Status(); len(st) != 1 || st[0].Err == "" {
			t.Errorf("Status: %+v", st)
		}
		err := table.Apply(t.Context(), []change{{Op: director.Create, Key: key(v4.Name, vip4+"/24")}})
		if err == nil || !strings.Contains(err.Error(), "another interface of this name") {
			t.Errorf("Apply: %v", err)
		}
	})
	t.Run("set down by hand", func(t *testing.T) {
		s := newSite(t)
		k, table := s.start(v4, v6)
		s.pass(k)
		vips := []director.AddrKey{key(v4.Name, vip4+"/24"), key(v6.Name, vip6+"/64")}
		s.take(table, vips...)
		for _, name := range []string{v4.Name, v6.Name} {
			s.check("set down", netlink.LinkSetDown(s.link(name)))
		}
		if list := s.list(table); list[vips[0]].Ours || list[vips[1]].Ours {
			t.Errorf("the table holds %v", list)
		}
		s.take(table, vips...)
		s.only(vip4, v4.MAC[:])
		s.only(vip6, v6.MAC[:])
	})
	t.Run("removed by hand", func(t *testing.T) {
		s := newSite(t)
		k, table := s.start(v4)
		s.pass(k)
		s.take(table, key(v4.Name, vip4+"/24"))
		s.check("delete", netlink.LinkDel(s.link(v4.Name)))
		if list := s.list(table); list[key(v4.Name, vip4+"/24")].Ours {
			t.Errorf("the table holds %v", list)
		}
		s.take(table, key(v4.Name, vip4+"/24")) // without the Keeper having looked
		s.only(vip4, v4.MAC[:])
	})
	t.Run("the parent goes and comes back", func(t *testing.T) {
		s := newSite(t)
		k, table := s.start(v4)
		s.pass(k)
		s.take(table, key(v4.Name, vip4+"/24"))
		s.check("delete", netlink.LinkDel(s.link("va")))
		s.check("pass", ignore(k.Check(t.Context()), "there is no interface va"))
		s.connect()
		s.pass(k)
		if s.get(arpIgnore) != "1" {
			t.Error("arp_ignore of the new parent is not set")
		}
		s.take(table, key(v4.Name, vip4+"/24"))
		s.only(vip4, v4.MAC[:])
		s.only(direct4, s.parent)
	})
	t.Run("not wanted any more", func(t *testing.T) {
		s := newSite(t)
		k, table := s.start(v4)
		s.pass(k)
		s.take(table, key(v4.Name, vip4+"/24"))
		k.Set(nil)
		s.pass(k)
		absent(s, v4.Name)
		if list := s.list(table); list[key(v4.Name, vip4+"/24")].Ours {
			t.Errorf("the table holds %v", list)
		}
	})
	t.Run("on a macvlan", func(t *testing.T) {
		s := newSite(t)
		add(s, macvlan("mv", [6]byte{2, 0, 0, 0, 0, 7}, netlink.MACVLAN_MODE_BRIDGE), "")
		s.check("set up", netlink.LinkSetUp(s.link("mv")))
		s.check("add address", netlink.AddrAdd(s.link("mv"), s.address("10.0.0.3/24")))
		d := v4
		d.Parent = "mv"
		k, table := s.start(d)
		s.pass(k)
		index := s.link(d.Name).Attrs().Index
		s.pass(k)
		if again := s.link(d.Name).Attrs().Index; again != index {
			t.Errorf("it was made again: index %d, was %d", again, index)
		}
		s.take(table, key(d.Name, vip4+"/24"))
		s.only(vip4, d.MAC[:])
		s.only("10.0.0.3", net.HardwareAddr{2, 0, 0, 0, 0, 7})
	})
	t.Run("settings", func(t *testing.T) {
		s := newSite(t)
		s.set("net.ipv6.conf.default.accept_ra", "2")
		s.set("net.ipv4.conf.va.forwarding", "1")
		s.set("net.ipv6.conf.va.forwarding", "1")
		k, _ := s.start(v4)
		s.pass(k)
		for key, want := range map[string]string{
			"net.ipv4.conf.vrrp4/51.arp_ignore": "1", "net.ipv4.conf.vrrp4/51.forwarding": "1", "net.ipv6.conf.vrrp4/51.forwarding": "1",
			"net.ipv6.conf.vrrp4/51.accept_ra": "0", "net.ipv6.conf.vrrp4/51.addr_gen_mode": "1",
		} {
			if got := s.get(key); got != want {
				t.Errorf("%s = %s, want %s", key, got, want)
			}
		}
	})
}

func mustLink(t *testing.T, name string) netlink.Link {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// ignore returns err unless it is the one that is expected.
func ignore(err error, text string) error {
	if err != nil && strings.Contains(err.Error(), text) {
		return nil
	}
	return err
}

// The settings of the parent come back as they were, and what somebody else has
// changed meanwhile stays.
func TestNetnsLoans(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	raw := func(s *site) string {
		t.Helper()
		var text strings.Builder
		for _, name := range []string{"arp_ignore", "arp_announce"} {
			b, err := os.ReadFile("/proc/sys/net/ipv4/conf/va/" + name)
			s.check("read", err)
			text.Write(b)
		}
		return text.String()
	}
	for _, test := range []struct {
		name             string
		ignore, announce string
		set              string // arp_ignore and arp_announce as they are set
		back             func(s *site, k *Keeper)
		want             string
	}{
		{"stop", "0", "0", "1\n2\n", func(s *site, k *Keeper) { s.check("stop", k.Run(ctx)) }, "0\n0\n"},
		{"stop, own values", "3", "1", "1\n2\n", func(s *site, k *Keeper) { s.check("stop", k.Run(ctx)) }, "3\n1\n"},
		{"enough already", "2", "2", "2\n2\n", func(s *site, k *Keeper) { s.check("stop", k.Run(ctx)) }, "2\n2\n"},
		{"reload", "0", "1", "1\n2\n", func(s *site, k *Keeper) { k.Set(nil); s.pass(k) }, "0\n1\n"},
		{"kill, and none wanted", "0", "1", "1\n2\n", func(s *site, _ *Keeper) { k, _ := s.start(); s.pass(k) }, "0\n1\n"},
		{"kill, then stop", "0", "1", "1\n2\n", func(s *site, _ *Keeper) {
			k, _ := s.start(v4)
			s.pass(k)
			s.check("stop", k.Run(ctx))
		}, "0\n1\n"},
		{"changed by somebody else, put right", "0", "1", "1\n2\n", func(s *site, k *Keeper) {
			s.set(arpAnnounce, "0")
			s.pass(k)
			s.check("stop", k.Run(ctx))
		}, "0\n0\n"},
		{"changed by somebody else, at the end", "0", "1", "1\n2\n", func(s *site, k *Keeper) {
			s.set(arpIgnore, "2")
			s.check("stop", k.Run(ctx))
		}, "2\n1\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t)
			s.set(arpIgnore, test.ignore)
			s.set(arpAnnounce, test.announce)
			k, table := s.start(v4)
			s.pass(k)
			s.take(table, key(v4.Name, vip4+"/24"))
			if got := raw(s); got != test.set {
				t.Errorf("while it is needed: %q, want %q", got, test.set)
			}
			test.back(s, k)
			if got := raw(s); got != test.want {
				t.Errorf("in the end: %q, want %q", got, test.want)
			}
			if _, err := netlink.LinkByName(v4.Name); err == nil {
				t.Error("the interface is still there")
			}
		})
	}
}
