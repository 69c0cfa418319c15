package vmac

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/understudy-ha/understudy/director/sysctl"
)

// values are settings of the kernel as they were read; a key that there is not
// has none.
type values func(key string) (string, bool)

const (
	ipv4 = "net.ipv4.conf."
	ipv6 = "net.ipv6.conf."
)

// conf is the key of a setting of an interface.
func conf(family, link, name string) string {
	return family + strings.ReplaceAll(link, ".", "/") + "." + name
}

// deviceSettings returns what an interface of ours is to be set to.
func deviceSettings(d Device, have values) []sysctl.Setting {
	var out []sysctl.Setting
	set := func(family, name, value string) {
		if _, ok := have(conf(family, d.Name, name)); ok {
			out = append(out, sysctl.Setting{Key: conf(family, d.Name, name), Value: value})
		}
	}
	// What is done for the parent is done here too.
	same := func(family, name string) {
		if v, ok := have(conf(family, d.Parent, name)); ok {
			set(family, name, v)
		}
	}
	// The way back to a client leads through the parent. The kernel goes by the
	// greater of this and the value for all: where that is strict (1), loose (2)
	// overrules it.
	rp := "0"
	if v, _ := have(conf(ipv4, "all", "rp_filter")); v == "1" {
		rp = "2"
	}
	set(ipv4, "rp_filter", rp)
	set(ipv4, "arp_filter", "0") // it asks for the way back as well
	// Requests for the parent's own address arrive here too.
	set(ipv4, "arp_ignore", "1")
	set(ipv4, "arp_announce", "2")
	set(ipv4, "proxy_arp", "0") // the parent does it
	same(ipv4, "forwarding")
	// An address of its own that follows from the MAC would be the same on every
	// director, and it must not take part in autoconfiguration.
	set(ipv6, "addr_gen_mode", "1") // IN6_ADDR_GEN_MODE_NONE
	same(ipv6, "disable_ipv6")
	set(ipv6, "accept_ra", "0")
	set(ipv6, "autoconf", "0")
	set(ipv6, "keep_addr_on_down", "0")
	// The groups of an address are reported twice, the second time at random within so
	// many milliseconds (RFC 3810 section 9.11: a second). The report comes from the
	// virtual MAC: from a director that is not master any more, but still holds the
	// address for the moment, it would draw the packets back. A multiple of the
	// kernel's tick, whichever that is, reads back as it was written.
	set(ipv6, "mldv1_unsolicited_report_interval", "20")
	set(ipv6, "mldv2_unsolicited_report_interval", "20")
	same(ipv6, "forwarding")
	return out
}

// parentSettings returns what the interface below is to be set to: without, it
// answers requests for the addresses of the macvlan with its own hardware
// address, and asks for others in their name (arp_process and arp_solicit in
// net/ipv4/arp.c). Where the value for all does already, nothing is to be set.
// There is nothing like it for IPv6: neighbour discovery asks whether the
// interface itself has the address.
func parentSettings(parent string, have values) []sysctl.Setting {
	var out []sysctl.Setting
	if _, ok := have(conf(ipv4, parent, "arp_ignore")); !ok {
		return nil // the interface is not there
	}
	if v := effective(ipv4, parent, "arp_ignore", have); v != 1 && v != 2 && v != 8 {
		out = append(out, sysctl.Setting{Key: conf(ipv4, parent, "arp_ignore"), Value: "1"})
	}
	if effective(ipv4, parent, "arp_announce", have) < 2 {
		out = append(out, sysctl.Setting{Key: conf(ipv4, parent, "arp_announce"), Value: "2"})
	}
	return out
}

// effective returns the value that the kernel goes by: the greater one of that
// of the interface and that for all.
func effective(family, link, name string, have values) int {
	number := func(link string) int {
		v, _ := have(conf(family, link, name))
		n, _ := strconv.Atoi(v)
		return n
	}
	return max(number("all"), number(link))
}

// hindrance says which setting for all interfaces keeps virtual MAC addresses
// from working, and what to do; empty: none.
func hindrance(have values) string {
	var bad []string
	look := func(name string, good func(n int) bool) {
		v, ok := have(conf(ipv4, "all", name))
		if n, err := strconv.Atoi(v); ok && (err != nil || !good(n)) {
			bad = append(bad, fmt.Sprintf("%sall.%s = %s", ipv4, name, v))
		}
	}
	look("arp_ignore", func(n int) bool { return n <= 2 })
	look("arp_filter", func(n int) bool { return n == 0 })
	look("proxy_arp", func(n int) bool { return n == 0 })
	if bad == nil {
		return ""
	}
	return strings.Join(bad, ", ") + " overrules the settings of single interfaces, and wrong answers are given for addresses with a virtual MAC; set it for the interfaces that need it instead, and 0 for all"
}

// reader reads settings from a table. A failure is kept in err.
func reader(t sysctl.Table, err *error) values {
	return func(key string) (string, bool) {
		v, e := t.Read(key)
		switch {
		case e == nil:
			return v, true
		case !errors.Is(e, fs.ErrNotExist):
			*err = errors.Join(*err, e)
		}
		return "", false
	}
}
