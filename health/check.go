package health

import (
	"net/netip"
	"time"
)

// Type is the kind of a check.
type Type string

// The kinds of check. TypeNone is never probed: its server is always fit.
const (
	TypeNone  Type = "none"
	TypeTCP   Type = "tcp"
	TypeHTTP  Type = "http"
	TypeHTTPS Type = "https"
)

// Check describes one probe of one real server. It is comparable: two servers
// with equal checks share one probe, and a reload that leaves a Check as it was
// keeps its result.
type Check struct {
	Type     Type
	Target   netip.AddrPort
	Interval time.Duration
	Timeout  time.Duration
	Rise     int // passes in a row that bring a server back
	Fall     int // failures in a row that take it out

	// HTTP and HTTPS only.
	Method   string // GET or HEAD
	Path     string // begins with a slash
	Host     string // Host header (and TLS server name); empty: the target
	Status   string // accepted codes, canonical: "200-299,304"
	Body     string // regular expression (RE2) the body must match; empty: not read
	Insecure bool   // HTTPS: do not verify the certificate

	// WeightHeader names the header of an answer in which the server says its
	// weight: "0" to "65535", or "N%" of the configured one; empty: not read.
	WeightHeader string
}

// State is what is known of a server's fitness.
type State uint8

// The states: unknown until proved either way.
const (
	Unknown State = iota
	Up
	Down
)

// String returns the lower-case name that operators see.
func (s State) String() string {
	switch s {
	case Up:
		return "up"
	case Down:
		return "down"
	}
	return "unknown"
}

// Status is the current verdict on one Check.
type Status struct {
	State   State
	Since   time.Time     // of State
	Checked time.Time     // end of the last probe; zero if none has ended
	Latency time.Duration // of the last probe
	Err     string        // of the last probe; empty if it passed
	Passes  int           // in a row
	Fails   int           // in a row
	Weight  Weight        // what the server said of itself with its last pass
	Note    string        // what was odd about the last pass, but did not fail it
}

// Weight is what a server wants to be its share, if Set: a weight, or with
// Percent so much of the configured one.
type Weight struct {
	Set     bool
	Percent bool
	Value   int
}
