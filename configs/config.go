package configs

import (
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/vrrp"
	"github.com/understudy-ha/understudy/vrrp/notify"
	"github.com/understudy-ha/understudy/vrrp/track"
)

// DefaultSocket is the control socket of a configuration that names none.
const DefaultSocket = "/run/understudy/understudy.sock"

// DefaultState is the state directory of a configuration that names none.
const DefaultState = "/var/lib/understudy"

// Config is a configuration that is fit to run.
type Config struct {
	RouterID string // never empty
	Log      Log
	Socket   string          // absolute path of the control socket
	Listen   netip.AddrPort  // of the metrics, for everybody who reaches it; invalid: there are none
	State    string          // absolute path of the directory for what is kept over restarts
	Director director.Config // its Routers are those below, in the same order
	Routers  []VirtualRouter
	Groups   []Group
	Sync     *Sync // nil: connections are not synchronised
	Timeouts Timeouts
	Sysctl   Sysctl
	Warnings []Problem
}

// VirtualRouter is what the protocol needs to know of one [[vrrp]].
type VirtualRouter struct {
	Config       vrrp.Config // Primary is the zero Addr: it depends on the link's addresses
	Link         string
	Source       netip.Addr   // of our advertisements; zero: the first address of the link
	UnicastPeers []netip.Addr // empty: multicast
	PeerTTL      uint8        // the lowest TTL of an advertisement of a unicast peer
	Strict       bool         // an advertisement with another list of addresses is dropped
	Group        string       // name of the group that it is in; empty: none
	Notify       []notify.Target
	Accept       bool // what is sent to the addresses is taken in by this host

	// VirtualMAC is the hardware address of the virtual router, and Device the
	// macvlan that bears it; zero: it has none.
	VirtualMAC [6]byte
	Device     string

	// PreemptWhenReady holds preemption back until this director is ready to
	// serve, ReadyLimit at most.
	PreemptWhenReady bool
	ReadyLimit       time.Duration

	Track []track.Item // what it depends on besides its interface
}

// builder turns the records of all files of a configuration into a Config.
type builder struct {
	*report
	config   Config
	director *record
	routers  []*record
	groups   []*record
	services []*record                // that are still to be built
	tables   serviceTables            // of the services so far
	tracked  []*record                // tracks that name a service
	named    []where                  // where the addresses of each service stand
	keys     int                      // of the services so far
	seen     map[netip.AddrPort]where // servers of the service that is being built
	blamed   map[*field]string        // the last problem of a key that was reported with once
	paths    memo[bool]               // validPath of those of checks
	bodies   memo[error]              // validBody of those of checks
}

// build fills the Config.
func (b *builder) build(file string) {
	b.settings()
	b.buildRouters()
	b.buildGroups()
	b.buildSync()
	b.expect(len(b.services))
	for _, r := range b.services {
		b.service(r)
	}
	b.checkTracked()
	if len(b.routers) == 0 && !b.serves() {
		b.errorf(file, 0, "there is neither a [[vrrp]] nor a [[service]]; add one, there is nothing to do without")
	}
	b.checkHolders()
	b.checkAccept()
}

// maxName bounds the names that people give.
const maxName = 64

// checkName checks a name that ends up in logs and status.
func (b *builder) checkName(r *record, key string) bool {
	if !r.good(key) {
		return false
	}
	s := r.text(key)
	if s == "" || len(s) > maxName || !printable(s) || strings.TrimSpace(s) != s {
		r.problem(key, "%s = %s is not a name; use 1 to %d printable bytes without a space at either end", key, quote(s), maxName)
		return false
	}
	return true
}

// unique reports a name that an earlier record of the same kind has.
func (b *builder) unique(r *record, seen map[string]where) {
	if !b.checkName(r, "name") {
		return
	}
	name := r.text("name")
	if first, taken := seen[name]; taken {
		r.problem("name", "name = %s is taken by the %s at %s; choose another", quote(name), r.name, first)
		return
	}
	seen[name] = r.where("name")
}

// printable reports whether s is text that a terminal shows as it is.
func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) < 0
}
