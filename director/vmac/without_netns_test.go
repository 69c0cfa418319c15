package vmac

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Without a virtual MAC, a backup answers for no virtual address, and a master for
// each at once and with the interface's hardware address; over IPv6 as a member of
// the group that is asked, without a detection of duplicates, and as a router where it
// is one.
func TestNetnsWithoutVirtualMAC(t *testing.T) {
	for _, test := range []struct{ name, vip, bits, forwarding string }{
		{"IPv4", vip4, "/24", "1"},
		{"IPv6 of a host", vip6, "/64", "0"},
		{"IPv6 of a router", vip6, "/64", "1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t)
			s.set("net.ipv6.conf.va.forwarding", test.forwarding)
			_, table := s.start()
			vip := key("va", test.vip+test.bits)
			is6 := vip.Prefix.Addr().Is6()
			s.nobody(test.vip)
			if s.joined(test.vip) {
				t.Error("a backup is in the solicited-node group")
			}

			s.take(table, vip)
			if is6 { // a worker of the kernel joins
				s.eventually("membership in the solicited-node group", func() bool { return s.joined(test.vip) })
			}
			for _, a := range s.only(test.vip, s.parent) {
				if want := is6 && test.forwarding == "1"; a.router != want {
					t.Errorf("says that it is a router: %t, want %t", a.router, want)
				}
			}
			list, err := netlink.AddrList(s.link("va"), netlink.FAMILY_V6)
			s.check("list addresses", err)
			for _, a := range list {
				if a.IP.String() == test.vip && a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_NODAD) != unix.IFA_F_NODAD {
					t.Errorf("flags of %v are %#x, want NODAD and not TENTATIVE", a.IP, a.Flags)
				}
			}
			s.echo(test.vip)
			s.check("ask", s.asks(test.vip))

			s.leave(table, vip)
			s.nobody(test.vip)
			if s.joined(test.vip) {
				t.Error("a backup is still in the solicited-node group")
			}
		})
	}
}

// joined reports whether va is in the solicited-node group of an IPv6 address (RFC
// 4291 section 2.7.1).
func (s *site) joined(address string) bool {
	s.t.Helper()
	b, err := os.ReadFile("/proc/thread-self/net/igmp6")
	s.check("read groups", err)
	a := netip.MustParseAddr(address).As16()
	group := fmt.Sprintf("ff0200000000000000000001ff%x", a[13:])
	for line := range strings.Lines(string(b)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[1] == "va" && fields[2] == group {
			return true
		}
	}
	return false
}
