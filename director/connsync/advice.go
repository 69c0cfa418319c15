package connsync

import (
	"fmt"
	"time"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// Advice returns what is wrong, or could be better, with what to do about it.
func (s Status) Advice() []string {
	if !s.Enabled {
		return nil
	}
	var list []string
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	for _, problem := range []struct{ what, err string }{
		{"synchronisation daemons", s.DaemonErr},
		{"directors' own messages", s.SocketErr},
		{"table of connections", s.CountErr},
		{"synthetic connection", s.ProbeErr},
		{"resync for a peer", s.Served.Err},
	} {
		if problem.err != "" {
			add("%s: %s", problem.what, problem.err)
		}
	}
	s.advisePeers(add)
	s.adviseSettings(add)
	if n := s.recent(DropSecret); n > 0 {
		add("%d beacons had another secret or none: give all directors the same [director.sync] secret", n)
	}
	if n := s.recent(DropName); n > 0 {
		add("another director has the same router_id %q: give each its own [director] router_id", s.Config.Name)
	}
	if n := s.recent(DropVersion); n > 0 {
		add("%d beacons were of another version of this program: run the same one on all directors", n)
	}
	if n := s.recent(DropTTL); n > 0 {
		add("%d beacons came over a router: the directors have to be on one link, or [director.sync] ttl has to say over how many", n)
	}
	return list
}

// recent returns how many beacons were dropped for a reason that still holds;
// zero once none has been for a while: it was put right, or was a passing change.
func (s Status) recent(d Drop) uint64 {
	if s.AsOf.Sub(s.Dropped[d]) >= forgetAfter {
		return 0
	}
	return s.Drops[d]
}

func (s Status) advisePeers(add func(string, ...any)) {
	for _, p := range s.Peers {
		switch {
		case !p.Confirmed && s.AsOf.Sub(p.Heard) < silentAfter:
			add("%s (%v) is heard but does not hear us: look for a filter on UDP port %d or on multicast %v there, and at the switch (IGMP snooping without a querier)",
				p.Name, p.Address, s.Config.BeaconPort, s.Config.Group)
			continue
		case !p.Alive:
			add("%s has not been heard for %v: is it down, is its link to %s cut, or is multicast %v port %d filtered?",
				p.Name, s.AsOf.Sub(p.Heard).Round(time.Second), s.Config.Interface, s.Config.Group, s.Config.BeaconPort)
			continue
		}
		if p.ID != s.Config.ID {
			effect := "their kernels ignore each other"
			switch { // a kernel with 0 takes those of every ID
			case p.ID == 0:
				effect = fmt.Sprintf("what %s sends is ignored here", p.Name)
			case s.Config.ID == 0:
				effect = fmt.Sprintf("what is sent here is ignored by %s", p.Name)
			}
			add("%s has sync id %d and this director has %d: %s; set the same [director.sync] id, or another group if it is of another pair", p.Name, p.ID, s.Config.ID, effect)
		}
		if p.Flags&FlagReceiving == 0 && (s.Config.Follow == "" || p.Flags&FlagSending == 0) {
			add("%s does not receive connections: its backup daemon does not run; see understudy sync status there", p.Name)
		}
		if p.Missed >= 2 {
			add("the last %d synthetic connections did not arrive at %s: the kernels' messages (multicast %v, UDP port %d) are lost or refused; compare id, group and port, and look for a filter",
				p.Missed, p.Name, s.Config.Group, s.Config.Port)
		}
	}
	if len(s.Peers) == 0 && s.SocketErr == "" {
		add("no other director has been heard on %s: is one running, with the same group %v and peer_port %d, and is multicast filtered (IGMP snooping without a querier)?",
			s.Config.Interface, s.Config.Group, s.Config.BeaconPort)
	}
}

func (s Status) adviseSettings(add func(string, ...any)) {
	both := 0
	for _, d := range s.Daemons {
		both |= int(d.State)
	}
	switch set := s.Settings; {
	case set.Version == 0:
		add("net.ipv4.vs.sync_version is 0: no IPv6, no fwmark and no timeouts are synchronised; sysctl -w net.ipv4.vs.sync_version=1")
	case set.BackupOnly != 0 && both&int(genl.DaemonBackup) != 0 && (s.Config.Follow == "" || both&int(genl.DaemonMaster) != 0):
		add("net.ipv4.vs.backup_only is 1 while the backup daemon runs: this director forwards nothing; sysctl -w net.ipv4.vs.backup_only=0")
	case set.Refresh == 0 && set.Period > 0:
		add("net.ipv4.vs.sync_refresh_period is 0: a connection is told of again only every %d packets, so that a quiet one expires at the peer; sysctl -w net.ipv4.vs.sync_refresh_period=10", set.Period)
	case set.Refresh == 0:
		add("net.ipv4.vs.sync_threshold tells of a connection once, and sync_refresh_period is 0: one that lives long expires at the peer; sysctl -w net.ipv4.vs.sync_refresh_period=10")
	}
	if s.Settings.PersistMode != 0 {
		add("net.ipv4.vs.sync_persist_mode is 1: of persistent services only the templates are synchronised, so that their connections break at a failover with NAT")
	}
}
