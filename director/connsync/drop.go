package connsync

// Drop says why a beacon was not acted upon.
type Drop uint8

// The drops.
const (
	DropNone      Drop = iota
	DropTTL            // it has been forwarded by a router
	DropSize           // shorter or longer than a beacon is, or than it says
	DropForeign        // no beacon
	DropVersion        // of another version of this program
	DropSecret         // not sealed with our secret, or sealed while we have none
	DropMalformed      // a field has a value that it cannot have
	DropOwn            // our own, come back
	DropName           // of another director with our name
	DropReplay         // heard before, or a recording
	DropCrowd          // there are too many directors
	NumDrops      = iota
)

var dropNames = [NumDrops]string{"none", "ttl", "size", "foreign", "version", "secret", "malformed", "own", "name", "replay", "crowd"}

// String returns the drop as one word, fit for a metric label.
func (d Drop) String() string { return dropNames[d] }
