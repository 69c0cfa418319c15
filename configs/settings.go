package configs

import (
	"cmp"
	"log/slog"
	"net/netip"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/understudy-ha/understudy/director/sysctl"
)

// Log says what is logged and how.
type Log struct {
	Level  slog.Level
	Format string // "text" or "json"
}

// Timeouts are those of connections in the kernel; 0 leaves one as it is.
type Timeouts struct {
	TCP, TCPFin, UDP time.Duration // whole seconds
}

// Sync is the synchronisation of connections between the directors.
type Sync struct {
	Interface  string
	ID         uint8  // 0: connections of every ID are taken
	MaxLen     uint16 // bytes of a message; 0: the kernel's default
	Group      netip.Addr
	Port       uint16
	TTL        uint8
	Follow     string // the virtual router whose master sends; empty: both directors send always
	BeaconPort uint16 // UDP port of the directors' own messages
	Secret     string // authenticates these; empty: nothing does
}

// Sysctl is what the kernel's settings are to be.
type Sysctl struct {
	Set    bool             // set what the configuration needs
	Values []sysctl.Setting // set in any case; sorted by key
}

var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

// maxSocketPath is the room for a path in a unix socket address: sun_path of
// linux/un.h, less the closing zero.
const maxSocketPath = 107

// settings reads [director], but for what refers to virtual routers.
func (b *builder) settings() {
	r := b.director
	b.config.RouterID = b.routerID(r)
	b.config.Director.Exclusive = r.text("ipvs") == "exclusive"
	if log := r.table("log"); log != nil {
		b.config.Log = Log{Level: levels[log.text("level")], Format: log.text("format")}
	}
	b.config.Socket = b.socket(r.table("api"))
	b.config.Listen = b.listen(r.table("api"))
	b.config.State = r.text("state")
	if s := b.config.State; r.good("state") && (!strings.HasPrefix(s, "/") || path.Clean(s) != s || s == "/" || len(s) > maxState || !printable(s)) {
		r.problem("state", "state = %s is not the absolute path of a directory; write for example %q", quote(s), DefaultState)
	}
	if t := r.table("timeouts"); t != nil {
		b.config.Timeouts = Timeouts{TCP: t.duration("tcp"), TCPFin: t.duration("tcp_fin"), UDP: t.duration("udp")}
	}
	if s := r.table("sysctl"); s != nil {
		b.config.Sysctl = Sysctl{Set: s.boolean("set"), Values: b.sysctls(s)}
	}
}

// maxState leaves room for the names of files in the directory (PATH_MAX of
// linux/limits.h is 4096).
const maxState = 3840

func (b *builder) socket(api *record) string {
	if api == nil || !api.good("socket") {
		return ""
	}
	socket := api.text("socket")
	switch {
	case !strings.HasPrefix(socket, "/") || strings.HasSuffix(socket, "/") || !printable(socket):
		api.problem("socket", "socket = %s is not the absolute path of a file; write for example %q", quote(socket), DefaultSocket)
	case len(socket) > maxSocketPath:
		api.problem("socket", "socket is a path of %d bytes; the kernel takes at most %d", len(socket), maxSocketPath)
	}
	return socket
}

// listen reads where the metrics are.
func (b *builder) listen(api *record) netip.AddrPort {
	if api == nil || !api.good("listen") || api.text("listen") == "" {
		return netip.AddrPort{}
	}
	text := api.text("listen")
	ap, err := netip.ParseAddrPort(text)
	switch a := ap.Addr(); {
	case err != nil || ap.Port() == 0 || a.Is4In6() || a.Zone() != "":
		api.problem("listen", "listen = %s is not ADDRESS:PORT; write an IP address and a port from 1 to 65535, for example \"127.0.0.1:9650\" or \"[::1]:9650\"", quote(text))
		return netip.AddrPort{}
	case a.IsMulticast() || a.IsLinkLocalUnicast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		api.problem("listen", "listen = %s is not an address that others can connect to; use one of this host, for example \"127.0.0.1:9650\"", quote(text))
		return netip.AddrPort{}
	case !a.IsLoopback():
		api.warn("listen", "listen = %s is more than this host: whoever reaches it reads the status without a password; keep others away by a packet filter, or listen on 127.0.0.1", quote(text))
	}
	return ap
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

// sysctls reads the settings that are given by name.
func (b *builder) sysctls(r *record) []sysctl.Setting {
	var out []sysctl.Setting
	for _, e := range r.extras {
		var value string
		switch v := e.value.(type) {
		case int64:
			value = strconv.FormatInt(v, 10)
		case string:
			value = v
		default:
			b.errorf(r.file, e.line, "%s is %s, expected an integer or a string; write for example %q = 1", quote(e.name), describe(v), "net.ipv4.vs.conntrack")
			continue
		}
		if err := sysctl.CheckKey(e.name); err != nil {
			b.errorf(r.file, e.line, "%s %v", quote(e.name), err)
			continue
		}
		if err := sysctl.CheckValue(value); err != nil {
			b.errorf(r.file, e.line, "%s = %s %v", quote(e.name), quote(value), err)
			continue
		}
		out = append(out, sysctl.Setting{Key: e.name, Value: value})
	}
	return out
}

// buildSync reads [director.sync]. The virtual routers must have been read.
func (b *builder) buildSync() {
	r := b.director.table("sync")
	if r == nil {
		return
	}
	if r.good("interface") {
		b.checkInterface(r, "interface")
	}
	s := &Sync{
		Interface:  r.text("interface"),
		ID:         uint8(r.integer("id")),
		MaxLen:     uint16(r.integer("maxlen")),
		Group:      b.multicast(r),
		Port:       uint16(r.integer("port")),
		TTL:        uint8(r.integer("ttl")),
		Follow:     b.follow(r),
		BeaconPort: b.beaconPort(r),
		Secret:     r.text("secret"),
	}
	if len(s.Secret) > maxName || !printable(s.Secret) {
		r.problem("secret", "secret is %d bytes long or holds unprintable ones; use at most %d printable bytes, the same on all directors", len(s.Secret), maxName)
	}
	b.config.Sync = s
	if !b.serves() && !b.config.Director.Exclusive {
		b.warnf(r.file, r.line, "[director.sync] has no effect without a [[service]]; add one or remove it")
	}
}

// multicast reads the group that the kernels talk over.
func (b *builder) multicast(r *record) netip.Addr {
	if !r.good("group") {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(r.text("group"))
	if err != nil || !a.IsMulticast() || a.Is4In6() || a.Zone() != "" {
		r.problem("group", "group = %s is not a multicast address; choose one of 224.0.0.0/4 or ff00::/8", quote(r.text("group")))
	}
	return a
}

// follow returns the virtual router that decides who sends, or "".
func (b *builder) follow(r *record) string {
	if !r.good("role") || !r.good("vrrp") {
		return ""
	}
	name := r.text("vrrp")
	switch {
	case r.given("vrrp") && r.text("role") == "both":
		r.problem("vrrp", "vrrp has no meaning with role = \"both\"; remove one of the two, or set role = \"follow\"")
		return ""
	case !r.given("vrrp") && r.text("role") == "follow":
		r.problem("role", "role = \"follow\" needs the virtual router to follow; add vrrp = \"NAME\"")
		return ""
	case !r.given("vrrp"):
		return ""
	}
	var names []string
	for _, v := range b.routers {
		if v.text("name") == name {
			return name
		}
		names = append(names, v.text("name"))
	}
	advice := "name one that there is"
	if near := nearest(name, names); near != "" {
		advice = "did you mean " + quote(near) + "?"
	}
	r.problem("vrrp", "vrrp = %s is not the name of a [[vrrp]]; %s", quote(name), advice)
	return ""
}

// beaconPort returns the port for the directors' own messages: not one of the
// kernel's.
func (b *builder) beaconPort(r *record) uint16 {
	if !r.good("port", "peer_port") {
		return 0
	}
	port := r.integer("port")
	last := port + int64(b.syncPorts()) - 1
	if last > 65535 {
		r.problem("port", "port = %d is too high for the %d ports of net.ipv4.vs.sync_ports; lower it", port, last-port+1)
		return 0
	}
	peer := last + 1
	if r.given("peer_port") {
		peer = r.integer("peer_port")
	}
	switch {
	case peer > 65535:
		r.problem("port", "port = %d leaves no port for the directors' own messages behind it; lower it, or set peer_port", port)
	case peer >= port && peer <= last:
		r.problem("peer_port", "peer_port = %d is a port that the kernel's synchronisation uses; choose another", peer)
	}
	return uint16(peer)
}

// syncPorts returns how many ports from the first the kernel uses, so far as
// this configuration says.
func (b *builder) syncPorts() int {
	for _, s := range b.config.Sysctl.Values {
		if s.Key == "net.ipv4.vs.sync_ports" {
			n, _ := strconv.ParseUint(s.Value, 10, 8)
			return cmp.Or(int(n), 1)
		}
	}
	return 1
}
