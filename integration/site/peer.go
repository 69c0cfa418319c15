package site

import (
	"regexp"
	"strings"
)

// Peer is another program in the place of a director.
type Peer interface {
	Stop() error          // cleanly
	Pid() int             // of the process that elects, or its parent
	Log() string          // all that it has printed
	Complaints() []string // what it has printed that is neither news nor known to be harmless
}

var (
	_ Peer = (*Director)(nil)
	_ Peer = (*Keepalived)(nil)
	_ Peer = (*FRR)(nil)
)

// StartPeer starts a peer in the place of the director i: "understudy",
// "keepalived" or "frr".
func (s *Site) StartPeer(kind string, i int) Peer {
	s.tb.Helper()
	switch kind {
	case "keepalived":
		return s.StartKeepalived(i)
	case "frr":
		return s.StartFRR(i)
	}
	s.LB[i].Start()
	return s.LB[i]
}

// Complaints returns the warnings and errors that the daemon has logged.
func (d *Director) Complaints() []string {
	var list []string
	for line := range strings.Lines(d.Log()) {
		if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return list
}

// remark is a line of a peer's log that is no complaint, with the reason.
type remark struct {
	line   *regexp.Regexp
	reason string
}

func remarks(pairs ...string) []remark {
	var list []remark
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, remark{regexp.MustCompile(pairs[i]), pairs[i+1]})
	}
	return list
}

// complaints returns the lines of a log that none of the remarks is about. A
// line that nobody has thought about is a complaint.
func complaints(log string, accepted []remark) []string {
	var list []string
lines:
	for line := range strings.Lines(log) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		for _, r := range accepted {
			if r.line.MatchString(line) {
				continue lines
			}
		}
		list = append(list, line)
	}
	return list
}

// virtualMAC is the MAC address of the sites' virtual router (RFC 9568 section 7.3).
func (s *Site) virtualMAC() string {
	if s.Options.IPv6 {
		return "00:00:5e:00:02:33"
	}
	return "00:00:5e:00:01:33"
}
