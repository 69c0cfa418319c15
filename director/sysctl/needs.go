package sysctl

import (
	"cmp"
	"slices"

	"github.com/understudy-ha/understudy/director"
)

// Severity says how much depends on a setting.
type Severity uint8

// The severities. A hint is for the operator to consider: it is never set by
// itself.
const (
	Hint     Severity = iota
	Advised           // it works, but not well at the edges
	Required          // it does not work without
)

// String returns the lower-case name that operators see.
func (s Severity) String() string {
	switch s {
	case Hint:
		return "hint"
	case Advised:
		return "advised"
	}
	return "required"
}

// Sync says what synchronisation of connections there is.
type Sync uint8

// The kinds: both directors send and receive always, or the master sends and
// the others receive.
const (
	NoSync Sync = iota
	SyncBoth
	SyncFollow
)

// Config is what decides on the settings of the kernel.
type Config struct {
	Director director.Config
	Sync     Sync
	Set      bool      // what is needed is set, too
	Values   []Setting // set in any case
}

// Need is a setting that a configuration needs.
type Need struct {
	Key      string
	Want     string   // the value to set
	Also     []string // values that do as well
	Beside   string   // another key: the kernel goes by the greater of the two values; empty: none
	Why      string   // what happens without it
	Severity Severity
}

// uses is what a configuration has that settings of the kernel matter to.
type uses struct {
	services                 bool
	nat4, nat6               bool
	local, tunnel4, passedOn bool // passedOn: by DR or TUN, as they are
	persistence              bool
	tcp, sctp                bool
	hashed                   bool // a scheduler that any director answers alike
	link                     string
	links                    int
}

func used(c director.Config) uses {
	var u uses
	for _, s := range c.Services {
		u.services = true
		u.persistence = u.persistence || s.Spec.Persistence > 0
		hashes := s.Spec.Scheduler == "sh" || s.Spec.Scheduler == "mh"
		for _, k := range s.Keys {
			tcp := k.Protocol == director.TCP || k.FWMark != 0
			u.tcp, u.sctp = u.tcp || tcp, u.sctp || k.Protocol == director.SCTP
			u.hashed = u.hashed || hashes && k.Protocol == director.TCP
		}
		for _, server := range s.Servers {
			u.server(server)
		}
		if s.Policy.Sorry.Address.IsValid() {
			u.server(s.Policy.Sorry)
		}
	}
	var links []string
	for _, r := range c.Routers {
		links = append(links, cmp.Or(r.Parent, r.Link))
	}
	slices.Sort(links)
	if links = slices.Compact(links); len(links) > 0 {
		u.link, u.links = links[0], len(links)
	}
	return u
}

func (u *uses) server(s director.Server) {
	v6 := s.Address.Addr().Is6()
	switch s.Spec.Forward {
	case director.NAT:
		u.nat4, u.nat6 = u.nat4 || !v6, u.nat6 || v6
	case director.Local:
		u.local = true
	case director.TUN:
		u.passedOn = true
		u.tunnel4 = u.tunnel4 || !v6 && s.Spec.Tunnel.Type == director.IPIP
	case director.DR:
		u.passedOn = true
	}
}

const vs = "net.ipv4.vs."

// Needs returns what a configuration needs of the kernel, the most important
// first and then by key. It is pure, and knows nothing of what the kernel has.
func Needs(c director.Config, sync Sync) []Need {
	u := used(c)
	var needs []Need
	add := func(when bool, n Need) {
		if when {
			needs = append(needs, n)
		}
	}
	add(u.nat4, Need{
		Key: "net.ipv4.ip_forward", Want: "1", Severity: Required,
		Why: "the answers of servers with forward = \"nat\" are not passed on to the clients",
	})
	add(u.nat6, Need{
		Key: "net.ipv6.conf.all.forwarding", Want: "1", Also: []string{"2"}, Severity: Required,
		Why: "the answers of IPv6 servers with forward = \"nat\" are not passed on to the clients (with it, an interface that has its route from router advertisements needs accept_ra = 2)",
	})
	// With this the kernel balances nothing while its synchronisation receives
	// (sysctl_backup_only in net/ip_vs.h).
	add(sync == SyncBoth, Need{
		Key: vs + "backup_only", Want: "0", Severity: Required,
		Why: "the director balances nothing, since with role = \"both\" it always receives connections too",
	})
	add(sync == SyncFollow && u.local && u.passedOn, Need{
		Key: vs + "backup_only", Want: "1", Severity: Required,
		Why: "a backup that is a real server, too, balances what the master sends it once more, and packets go in circles",
	})
	add(sync != NoSync, Need{
		Key: vs + "sync_version", Want: "1", Severity: Required,
		Why: "connections over IPv6, of fwmarks and of persistence engines are not synchronised",
	})

	add(u.services, Need{
		Key: vs + "expire_nodest_conn", Want: "1", Severity: Advised,
		Why: "a client of a server that was removed waits for a timeout instead of connecting anew, and one that uses a port again comes back to a drained server",
	})
	add(u.persistence, Need{
		Key: vs + "expire_quiescent_template", Want: "1", Severity: Advised,
		Why: "with persistence, clients go on coming to a server that is drained or has weight 0",
	})
	add(u.tcp || u.sctp, Need{
		Key: vs + "conn_reuse_mode", Want: "1", Also: []string{"2", "3"}, Severity: Advised,
		Why: "a client that uses a port again stays with the server of its old connection",
	})
	// A tunnel to another director that is a real server ends there on tunl0.
	add(u.local && u.tunnel4, Need{
		Key: "net.ipv4.conf.tunl0.rp_filter", Want: "2", Also: []string{"0"}, Beside: "net.ipv4.conf.all.rp_filter", Severity: Advised,
		Why: "what the other director sends here through a tunnel is dropped, for its source is not where the tunnel is",
	})
	add(sync != NoSync, Need{
		Key: vs + "sync_refresh_period", Want: "10", Also: []string{anyPositive}, Severity: Advised,
		Why: "a connection with little traffic is told of once, and may be forgotten by the other director before it ends",
	})
	add(sync != NoSync, Need{
		Key: vs + "sync_retries", Want: "2", Also: []string{anyPositive}, Severity: Advised,
		Why: "a message of the synchronisation that is lost is not repeated",
	})

	add(u.nat4 || u.nat6, Need{
		Key: vs + "conntrack", Want: "1", Severity: Hint,
		Why: "rules of netfilter that change the source of balanced packets (SNAT, MASQUERADE) have no effect on them; without such rules it only costs time",
	})
	add(u.hashed, Need{
		Key: vs + "sloppy_tcp", Want: "1", Severity: Hint,
		Why: "after a failover, connections that this director has not been told of break, although the scheduler would find their server again",
	})
	add(u.services, Need{
		Key: vs + "run_estimation", Want: "1", Severity: Hint,
		Why: "there are no rates (ipvsadm -L --rate)",
	})
	if u.nat4 && u.links == 1 {
		const why = "where clients and servers are in one network, servers with forward = \"nat\" are told to answer the clients directly"
		add(true, Need{Key: "net.ipv4.conf.all.send_redirects", Want: "0", Severity: Hint, Why: why})
		add(true, Need{Key: "net.ipv4.conf." + linkPart(u.link) + ".send_redirects", Want: "0", Severity: Hint, Why: why})
	}
	slices.SortStableFunc(needs, func(a, b Need) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Key, b.Key))
	})
	return needs
}

// Wanted returns what is to be set, in order: what is needed comes first, since
// to forward or not changes other settings, and gives way where the
// configuration names a value.
func Wanted(c Config) []Setting { return wanted(c, Needs(c.Director, c.Sync)) }

func wanted(c Config, needs []Need) []Setting {
	var out []Setting
	if c.Set {
		for _, n := range needs {
			named := slices.ContainsFunc(c.Values, func(s Setting) bool { return s.Key == n.Key })
			if n.Severity > Hint && !named {
				out = append(out, Setting{Key: n.Key, Value: n.Want})
			}
		}
	}
	return append(out, c.Values...)
}
