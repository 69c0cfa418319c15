package connsync

import (
	"net/netip"
	"slices"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// Config is how connections are synchronised. It is validated by who makes it.
type Config struct {
	Interface  string
	ID         uint8  // of the messages of the kernels; 0: those of every ID are taken
	MaxLen     uint16 // bytes of a message; 0: the kernel's default
	Group      netip.Addr
	Port       uint16
	TTL        uint8
	Follow     string // the virtual router whose master sends; empty: everybody sends
	BeaconPort uint16
	Secret     string // authenticates beacons; empty: nothing does
	Name       string // of this director; unique among them
}

// states are the daemons in the order in which they are started: a director
// listens before it speaks.
var states = []genl.DaemonState{genl.DaemonBackup, genl.DaemonMaster}

// daemons returns those that the kernel should run. A director that follows a
// virtual router sends while that is master here, and receives while it is not:
// with backup_only, which one that is a real server too cannot do without, the
// kernel balances nothing as long as the backup daemon runs.
func (c Config) daemons(master bool) []genl.Daemon {
	var list []genl.Daemon
	for _, s := range states {
		if c.Follow != "" && (s == genl.DaemonMaster) != master {
			continue
		}
		list = append(list, genl.Daemon{State: s, Interface: c.Interface, ID: c.ID, MaxLen: c.MaxLen, Group: c.Group, Port: c.Port, TTL: c.TTL})
	}
	return list
}

// serves reports whether what runs is what is wanted. The kernel fills in what
// is left to it.
func serves(have, want genl.Daemon) bool {
	if want.MaxLen == 0 {
		want.MaxLen = have.MaxLen
	}
	if want.TTL == 0 {
		want.TTL = have.TTL
	}
	return have == want
}

// repair returns what makes have into want. With stale, a daemon that runs as it
// should is replaced all the same: it talks over an interface that is not there
// any more.
func repair(have, want []genl.Daemon, stale bool) []genl.Message {
	var list []genl.Message
	for _, s := range states {
		is := func(d genl.Daemon) bool { return d.State == s }
		h, w := slices.IndexFunc(have, is), slices.IndexFunc(want, is)
		if h >= 0 && (w < 0 || stale || !serves(have[h], want[w])) {
			list = append(list, genl.Message{Op: genl.DelDaemon, Daemon: have[h]})
			h = -1
		}
		if w >= 0 && h < 0 {
			list = append(list, genl.Message{Op: genl.NewDaemon, Daemon: want[w]})
		}
	}
	return list
}

// ours returns the daemons that may be stopped as ours: those that are wanted, and
// until they run, what was started before them.
func ours(before, want []genl.Daemon, err error) []genl.Daemon {
	if err == nil {
		return want
	}
	list := slices.Clone(before)
	for _, d := range want {
		if !slices.Contains(list, d) {
			list = append(list, d)
		}
	}
	return list
}

// removal returns what stops those of have that started says are ours: another
// one, with settings that were never ours, is an operator's.
func removal(have, started []genl.Daemon) []genl.Message {
	var list []genl.Message
	for _, h := range have {
		if slices.ContainsFunc(started, func(s genl.Daemon) bool { return serves(h, s) }) {
			list = append(list, genl.Message{Op: genl.DelDaemon, Daemon: h})
		}
	}
	return list
}
