package ipvsadm

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// Verb is what a command line asks for.
type Verb uint8

// The verbs.
const (
	AddService Verb = iota + 1
	EditService
	DeleteService
	Clear
	Restore
	Save
	AddServer
	EditServer
	DeleteServer
	List
	Zero
	SetTimeouts
	StartDaemon
	StopDaemon
	Help
	Version
)

// Command is a command line that makes sense. Which fields count depends on
// Verb.
type Command struct {
	Verb     Verb
	Named    bool         // Service names one; always so but for List and Zero
	Service  genl.Service // its ID only, but for AddService and EditService
	Dest     genl.Destination
	Daemon   genl.Daemon
	Timeouts genl.Timeouts
	Format   Format
}

// Format says how a listing looks. Of those that exclude each other, the first
// that is set counts.
type Format struct {
	Connections, Timeout, Daemon bool // instead of the table

	Stats, Rate, Thresholds, Persistent, Tunnel bool

	Numeric, Exact, Unsorted bool
}

// message returns what c asks of the kernel, if it asks for a change.
func (c Command) message() (genl.Message, bool) {
	op, ok := map[Verb]genl.Op{
		AddService: genl.NewService, EditService: genl.SetService, DeleteService: genl.DelService,
		AddServer: genl.NewDest, EditServer: genl.SetDest, DeleteServer: genl.DelDest,
		Clear: genl.Flush, Zero: genl.Zero, SetTimeouts: genl.SetConfig,
		StartDaemon: genl.NewDaemon, StopDaemon: genl.DelDaemon,
	}[c.Verb]
	return genl.Message{Op: op, Service: c.Service, Dest: c.Dest, Daemon: c.Daemon, Timeouts: c.Timeouts}, ok
}

// edits reports whether c changes what a director may hold in the table.
func (c Command) edits() bool {
	switch c.Verb {
	case AddService, EditService, DeleteService, AddServer, EditServer, DeleteServer, Clear:
		return true
	}
	return false
}

// serviceText names a service as the daemon's status does.
func serviceText(id genl.ServiceID) string {
	if id.FWMark != 0 {
		return director.ServiceKey{FWMark: id.FWMark, IPv6: id.Family == unix.AF_INET6}.String()
	}
	if id.Protocol == unix.IPPROTO_SCTP {
		return "sctp " + endpoint(id.Address, id.Port)
	}
	return fmt.Sprintf("%v %s", director.Protocol(id.Protocol), endpoint(id.Address, id.Port))
}
