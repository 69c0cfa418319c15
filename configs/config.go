package configs

import (
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/vrrp"
)

// DefaultSocket is the control socket of a configuration that names none.
const DefaultSocket = "/run/understudy/understudy.sock"

// Config is a configuration that is fit to run.
type Config struct {
	RouterID string // never empty
	Log      Log
	Socket   string          // absolute path of the control socket
	Director director.Config // its Routers are those below, in the same order
	Routers  []VirtualRouter
	Warnings []Problem
}

// Log says what is logged and how.
type Log struct {
	Level  slog.Level
	Format string // "text" or "json"
}

// VirtualRouter is what the protocol needs to know of one [[vrrp]].
type VirtualRouter struct {
	Config       vrrp.Config // Primary is the zero Addr: it depends on the link's addresses
	Link         string
	Source       netip.Addr   // of our advertisements; zero: the first address of the link
	UnicastPeers []netip.Addr // empty: multicast
}

// builder turns the records of all files of a configuration into a Config.
type builder struct {
	*report
	config   Config
	director *record
	routers  []*record
	services []*record
}

// build fills the Config.
func (b *builder) build(file string) {
	b.settings()
	b.buildRouters()
	b.buildServices()
	if len(b.routers) == 0 && len(b.services) == 0 {
		b.errorf(file, 0, "there is neither a [[vrrp]] nor a [[service]]; add one, there is nothing to do without")
	}
	b.checkHolders()
}

var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

// maxSocketPath is the room for a path in a unix socket address: sun_path of
// linux/un.h, less the closing zero.
const maxSocketPath = 107

// settings reads [director].
func (b *builder) settings() {
	r := b.director
	log, api := r.table("log"), r.table("api")
	b.config.RouterID = b.routerID(r)
	b.config.Director.Exclusive = r.text("ipvs") == "exclusive"
	if log != nil {
		b.config.Log = Log{Level: levels[log.text("level")], Format: log.text("format")}
	}
	if api == nil || !api.good("socket") {
		return
	}
	socket := api.text("socket")
	b.config.Socket = socket
	switch {
	case !strings.HasPrefix(socket, "/") || strings.HasSuffix(socket, "/") || !printable(socket):
		api.problem("socket", "socket = %s is not the absolute path of a file; write for example %q", quote(socket), DefaultSocket)
	case len(socket) > maxSocketPath:
		api.problem("socket", "socket is a path of %d bytes; the kernel takes at most %d", len(socket), maxSocketPath)
	}
}

func (b *builder) routerID(r *record) string {
	if r.given("router_id") {
		b.checkName(r, "router_id")
		return r.text("router_id")
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		r.problem("router_id", "the host has no name to use; set router_id")
	}
	return host
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
func (b *builder) unique(r *record, seen map[string]*record) {
	if !b.checkName(r, "name") {
		return
	}
	name := r.text("name")
	if first := seen[name]; first != nil {
		r.problem("name", "name = %s is taken by the %s at %s; choose another", quote(name), r.name, first.where("name"))
		return
	}
	seen[name] = r
}

// printable reports whether s is text that a terminal shows as it is.
func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) < 0
}
