package configs

import (
	"time"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/vrrp/notify"
	"github.com/understudy-ha/understudy/vrrp/track"
)

// kind is the type of a key's value.
type kind uint8

const (
	text kind = iota
	integer
	boolean
	length  // a duration, written as text with a unit
	list    // of text
	numbers // a list of integers
	table
	tables
)

// key describes one key of a table: its name and which values it may have.
type key struct {
	name string
	kind kind

	required bool   // must be given
	fallback any    // value when it is not given: string, int64, bool, time.Duration, []string
	derived  string // the default in words, where it is not one value (for a table: where it is not that of its keys)

	min, max int64         // integer and numbers: range; length: in nanoseconds; list: number of elements (max 0: any)
	off      bool          // integer and length: zero is allowed below min, and switches something off
	step     time.Duration // length: must be a multiple

	choice []string // text and list: the values that can be given
	future []string // text: further values, which this version does not support
	secret bool     // text: never repeated in a message

	keys []key  // table and tables
	open string // table: keys beyond these are allowed whose name begins so, in quotes; their values are checked by the builder

	// later is not empty for a key of which this version supports only the
	// fallback (for a table without keys: nothing); it says what to do.
	later string
}

func ms(n int64) int64  { return n * int64(time.Millisecond) }
func sec(n int64) int64 { return n * int64(time.Second) }

// mainFile describes the file that Load is given, included the ones it
// includes, which have no [director].
var mainFile = append([]key{{name: "director", kind: table, keys: directorKeys}}, included...)

var included = []key{
	{name: "vrrp", kind: tables, keys: vrrpKeys},
	{name: "service", kind: tables, keys: serviceKeys},
	{name: "group", kind: tables, keys: groupKeys},
	{name: "realserver", kind: tables, later: "set up the real server by other means"},
}

var directorKeys = []key{
	{name: "router_id", kind: text, derived: "the host name"},
	{name: "ipvs", kind: text, fallback: "owned", choice: []string{"owned", "exclusive"}},
	{name: "include", kind: list, fallback: []string{}},
	{name: "log", kind: table, keys: []key{
		{name: "level", kind: text, fallback: "info", choice: []string{"debug", "info", "warn", "error"}},
		{name: "format", kind: text, fallback: "text", choice: []string{"text", "json"}},
	}},
	{name: "api", kind: table, keys: []key{
		{name: "socket", kind: text, fallback: DefaultSocket},
		{name: "listen", kind: text, fallback: ""},
	}},
	{name: "state", kind: text, fallback: DefaultState},
	{name: "timeouts", kind: table, keys: []key{
		{name: "tcp", kind: length, fallback: time.Duration(0), min: sec(1), max: sec(maxTimeout), off: true, step: time.Second},
		{name: "tcp_fin", kind: length, fallback: time.Duration(0), min: sec(1), max: sec(maxTimeout), off: true, step: time.Second},
		{name: "udp", kind: length, fallback: time.Duration(0), min: sec(1), max: sec(maxTimeout), off: true, step: time.Second},
	}},
	{name: "sync", kind: table, derived: "no synchronisation", keys: []key{
		{name: "interface", kind: text, required: true},
		{name: "id", kind: integer, fallback: int64(0), max: 255},
		{name: "role", kind: text, derived: "follow if vrrp is given, else both", choice: []string{"both", "follow"}},
		{name: "vrrp", kind: text, derived: "none"},
		{name: "group", kind: text, fallback: "224.0.0.81"},
		{name: "port", kind: integer, fallback: int64(8848), min: 1, max: 65535},
		{name: "ttl", kind: integer, fallback: int64(1), min: 1, max: 255},
		{name: "maxlen", kind: integer, fallback: int64(0), min: 1024, max: maxSyncLen, off: true},
		{name: "peer_port", kind: integer, derived: "port + 1", min: 1, max: 65535},
		{name: "secret", kind: text, fallback: "", secret: true},
	}},
	{name: "sysctl", kind: table, open: "net.", keys: []key{
		{name: "set", kind: boolean, fallback: false},
	}},
}

const (
	// maxTimeout bounds the timeouts of connections, in seconds: the kernel
	// refuses what is more than 2^31-1 ticks (ip_vs_set_timeout), of which
	// there may be 1000 in a second.
	maxTimeout = 24 * 86400
	// maxSyncLen is the longest synchronisation message that fits in a UDP
	// packet over IPv6, and so over IPv4 too.
	maxSyncLen = 65535 - 40 - 8
	// maxExtra bounds the addresses of a virtual router that are not advertised.
	maxExtra = 1024
	// maxGroup bounds the addresses of one service, and of one range.
	maxGroup, maxRange = 1024, 256
)

var vrrpKeys = []key{
	{name: "name", kind: text, required: true},
	{name: "interface", kind: text, required: true},
	{name: "vrid", kind: integer, required: true, min: 1, max: 255},
	{name: "version", kind: integer, fallback: int64(3), min: 2, max: 3},
	{name: "priority", kind: integer, fallback: int64(100), min: 1, max: 255},
	{name: "advert_interval", kind: length, fallback: time.Second, min: ms(10), max: sec(255), step: time.Millisecond},
	{name: "addresses", kind: list, required: true, min: 1, max: 255},
	{name: "preempt", kind: boolean, fallback: true},
	{name: "preempt_delay", kind: length, fallback: time.Duration(0), max: sec(3600), step: time.Millisecond},
	{name: "preempt_when", kind: text, derived: "ready with [director.sync], else always", choice: []string{"always", "ready"}},
	{name: "ready_limit", kind: length, fallback: 60 * time.Second, min: sec(1), max: sec(3600), step: time.Millisecond},
	{name: "source", kind: text, derived: "the first address of the interface, with IPv6 the first link-local one"},
	{name: "unicast_peers", kind: list, fallback: []string{}},
	{name: "peer_ttl", kind: integer, fallback: int64(255), min: 1, max: 255},
	{name: "strict", kind: boolean, fallback: false},
	{name: "checksum", kind: text, fallback: "rfc5798", choice: []string{"rfc5798", "rfc9568", "any"}},
	{name: "extra_addresses", kind: list, fallback: []string{}, max: maxExtra},
	{name: "routes", kind: tables, derived: "none", keys: []key{
		{name: "to", kind: text, required: true},
		{name: "via", kind: text, derived: "no gateway"},
		{name: "interface", kind: text, derived: "the one that leads to via, else that of the virtual router"},
		{name: "source", kind: text, derived: "the kernel's choice"},
		{name: "table", kind: integer, fallback: int64(director.TableMain), min: 1, max: 1<<32 - 1},
		{name: "metric", kind: integer, fallback: int64(0), max: 1<<32 - 1},
		{name: "onlink", kind: boolean, fallback: false},
		{name: "scope", kind: text, derived: "link without via, else global", choice: []string{"global", "site", "link", "host"}},
		{name: "type", kind: text, fallback: "unicast", choice: []string{"unicast", "blackhole", "unreachable", "prohibit"}},
	}},
	{name: "rules", kind: tables, derived: "none", keys: []key{
		{name: "from", kind: text, derived: "any"},
		{name: "to", kind: text, derived: "any"},
		{name: "fwmark", kind: integer, derived: "any", max: 1<<32 - 1},
		{name: "fwmask", kind: integer, derived: "all bits of fwmark", min: 1, max: 1<<32 - 1},
		{name: "iif", kind: text, derived: "any"},
		{name: "oif", kind: text, derived: "any"},
		{name: "table", kind: integer, required: true, min: 1, max: 1<<32 - 1},
		{name: "priority", kind: integer, required: true, min: 1, max: 1<<32 - 1},
		{name: "family", kind: text, derived: "that of from and to, else ipv4", choice: []string{"ipv4", "ipv6"}},
	}},
	{name: "auth", kind: table, derived: "no authentication", keys: []key{
		{name: "type", kind: text, required: true, choice: []string{"pass"}},
		{name: "password", kind: text, required: true, secret: true},
	}},
	{name: "garp", kind: table, keys: []key{
		{name: "count", kind: integer, fallback: int64(5), max: 100},
		{name: "interval", kind: length, fallback: time.Duration(0), max: sec(10), step: time.Millisecond},
		{name: "repeat_after", kind: length, fallback: 5 * time.Second, min: ms(100), max: sec(3600), off: true, step: time.Millisecond},
		{name: "refresh", kind: length, fallback: 60 * time.Second, min: sec(1), max: sec(86400), off: true, step: time.Millisecond},
	}},
	{name: "accept", kind: boolean, fallback: true},
	{name: "virtual_mac", kind: boolean, fallback: false},
	{name: "virtual_mac_interface", kind: text, fallback: ""},
	{name: "notify", kind: tables, keys: notifyKeys},
	{name: "track", kind: tables, keys: trackKeys},
}

// oneTrack is what a track must have one of.
const oneTrack = "one of interface, command, process, file, route and service is required"

var trackKeys = []key{
	{name: "interface", kind: text, derived: oneTrack},
	{name: "command", kind: list, derived: oneTrack, min: 1, max: 256},
	{name: "process", kind: text, derived: oneTrack},
	{name: "file", kind: text, derived: oneTrack},
	{name: "route", kind: text, derived: oneTrack},
	{name: "service", kind: text, derived: oneTrack},
	{name: "interval", kind: length, fallback: 2 * time.Second, min: ms(10), max: sec(3600), step: time.Millisecond},
	{name: "timeout", kind: length, fallback: time.Second, min: ms(1), max: sec(3600), step: time.Millisecond},
	{name: "rise", kind: integer, fallback: int64(2), min: 1, max: 1000},
	{name: "fall", kind: integer, fallback: int64(3), min: 1, max: 1000},
	{name: "user", kind: text, derived: "nobody if the daemon is root, else its own user"},
	{name: "count", kind: integer, fallback: int64(1), min: 1, max: 65535},
	{name: "via", kind: text, derived: "any, or none"},
	{name: "device", kind: text, derived: "any"},
	{name: "weight", kind: integer, derived: "none: a fault", min: -track.MaxWeight, max: track.MaxWeight},
	{name: "reverse", kind: boolean, fallback: false},
}

var groupKeys = []key{
	{name: "name", kind: text, required: true},
	{name: "vrrp", kind: list, required: true, min: 1, max: maxGroup},
	{name: "notify", kind: tables, keys: notifyKeys},
}

var notifyKeys = []key{
	{name: "on", kind: list, fallback: []string{"master", "backup", "fault", "stop"}, choice: []string{"master", "backup", "fault", "stop"}, min: 1, max: 4},
	{name: "command", kind: list, derived: oneTarget, min: 1, max: 64},
	{name: "fifo", kind: text, derived: oneTarget},
	{name: "url", kind: text, derived: oneTarget, secret: true},
	{name: "user", kind: text, derived: "nobody if the daemon is root, else its own user"},
	{name: "timeout", kind: length, fallback: notify.DefaultTimeout, min: ms(100), max: sec(300), step: time.Millisecond},
}

// oneTarget is what a notification must have one of.
const oneTarget = "one of command, fifo and url is required"

// futureChecks are the types of check that this version does not have.
var futureChecks = []string{"tls", "dns", "smtp", "udp", "ping", "grpc", "command", "file"}

var serviceKeys = []key{
	{name: "name", kind: text, required: true},
	{name: "address", kind: text, derived: oneKey},
	{name: "addresses", kind: list, derived: oneKey, min: 1, max: maxGroup},
	{name: "fwmark", kind: integer, derived: oneKey, min: 1, max: 1<<32 - 1},
	{name: "fwmarks", kind: numbers, derived: oneKey, min: 1, max: 1<<32 - 1},
	{name: "family", kind: text, fallback: "ipv4", choice: []string{"ipv4", "ipv6"}},
	{name: "protocol", kind: text, fallback: "tcp", choice: []string{"tcp", "udp", "sctp"}},
	{name: "scheduler", kind: text, fallback: "wlc",
		choice: []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh"}},
	{name: "scheduler_flags", kind: list, fallback: []string{}, choice: []string{"sh-fallback", "sh-port", "mh-fallback", "mh-port"}},
	{name: "forward", kind: text, derived: "required here or for each server", choice: forwards},
	{name: "persistence", kind: length, fallback: time.Duration(0), max: sec(31 * 86400), step: time.Second},
	{name: "persistence_mask", kind: integer, derived: "32, for IPv6 128", min: 1, max: 128},
	{name: "persistence_engine", kind: text, fallback: "", choice: []string{"", "sip"}},
	{name: "one_packet", kind: boolean, fallback: false},
	{name: "check", kind: table, derived: "no check: every server is always fit", keys: checkKeys},
	{name: "server", kind: tables, keys: serverKeys},
	{name: "quorum", kind: integer, fallback: int64(1), min: 1, max: 1<<31 - 1},
	{name: "hysteresis", kind: integer, fallback: int64(0), max: 1<<31 - 2},
	{name: "sorry", kind: text, fallback: ""},
	{name: "sorry_forward", kind: text, derived: "that of the service", choice: forwards},
	{name: "while_unhealthy", kind: text, fallback: "remove", choice: []string{"remove", "weight-zero"}},
	{name: "drain", kind: length, fallback: 30 * time.Second, max: sec(7 * 86400), step: time.Millisecond},
	{name: "slow_start", kind: length, fallback: time.Duration(0), max: sec(86400), step: time.Millisecond},
	{name: "alpha", kind: boolean, fallback: false},
	{name: "omega", kind: text, fallback: "remove", choice: []string{"remove", "keep"}},
}

// oneKey is what a service must have one of.
const oneKey = "one of address, addresses, fwmark and fwmarks is required"

var forwards = []string{"dr", "nat", "tun", "local"}

var serverKeys = []key{
	{name: "address", kind: text, required: true},
	{name: "weight", kind: integer, fallback: int64(1), max: 65535},
	{name: "forward", kind: text, derived: "that of the service", choice: forwards},
	{name: "max_connections", kind: integer, fallback: int64(0), max: 1<<32 - 1},
	{name: "min_connections", kind: integer, fallback: int64(0), max: 1<<32 - 1},
	{name: "check", kind: table, derived: "that of the service", keys: serverCheckKeys},
	{name: "tunnel", kind: table, derived: "ipip", keys: []key{
		{name: "type", kind: text, required: true, choice: []string{"ipip", "gue", "gre"}},
		{name: "port", kind: integer, derived: "6080 for gue", min: 1, max: 65535},
		{name: "checksum", kind: text, fallback: "none", choice: []string{"none", "checksum", "remote"}},
	}},
}

var checkKeys = append([]key{
	{name: "type", kind: text, required: true, choice: []string{"tcp", "http", "https", "none"}, future: futureChecks},
}, probeKeys...)

// serverCheckKeys are those of a check of one server; what it does not give it
// takes over from the service.
var serverCheckKeys = append([]key{
	{name: "type", kind: text, derived: "that of the service", choice: []string{"tcp", "http", "https", "none"}, future: futureChecks},
	{name: "address", kind: text, derived: "that of the server"},
}, probeKeys...)

var probeKeys = []key{
	{name: "interval", kind: length, fallback: 2 * time.Second, min: ms(10), max: sec(3600), step: time.Millisecond},
	{name: "timeout", kind: length, fallback: time.Second, min: ms(1), max: sec(3600), step: time.Millisecond},
	{name: "rise", kind: integer, fallback: int64(2), min: 1, max: 1000},
	{name: "fall", kind: integer, fallback: int64(3), min: 1, max: 1000},
	{name: "port", kind: integer, derived: "that of the server", min: 1, max: 65535},
	{name: "method", kind: text, fallback: "GET", choice: []string{"GET", "HEAD"}},
	{name: "path", kind: text, fallback: "/"},
	{name: "host", kind: text, derived: "the server's address"},
	{name: "status", kind: list, fallback: []string{"200-299"}, min: 1},
	{name: "body", kind: text, fallback: ""},
	{name: "insecure", kind: boolean, fallback: false},
	{name: "weight_header", kind: text, fallback: ""},
}
