package director

import "strconv"

// Quorum says whether enough servers of a service are live.
type Quorum uint8

// The states of a quorum.
const (
	QuorumUnknown Quorum = iota // servers have not been judged yet
	QuorumKept
	QuorumLost
)

// String returns the lower-case name that operators see.
func (q Quorum) String() string {
	switch q {
	case QuorumUnknown:
		return "unknown"
	case QuorumKept:
		return "kept"
	case QuorumLost:
		return "lost"
	}
	return "quorum " + strconv.Itoa(int(q))
}

// next returns the state that follows q when the live servers weigh so much;
// unjudged says that there are servers of which nothing is known yet, maybe what
// they would add if they are fit, and kept that an earlier process had the quorum.
func (q Quorum) next(live, maybe int, unjudged, kept bool, p Policy) Quorum {
	need := max(p.Quorum, 1)
	switch {
	case q == QuorumKept, q == QuorumUnknown && kept:
		need -= p.Hysteresis
	case q == QuorumLost:
		need += p.Hysteresis
	}
	switch {
	case live >= max(need, 1):
		return QuorumKept
	case q == QuorumKept && live+maybe >= max(need, 1):
		return QuorumKept // a reload has brought servers, in place of others
	case q == QuorumUnknown && unjudged:
		return QuorumUnknown
	}
	return QuorumLost
}
