package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/understudy-ha/understudy/configs"
	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/connsync"
	"github.com/understudy-ha/understudy/director/ipvs"
	"github.com/understudy-ha/understudy/director/ipvs/genl"
	"github.com/understudy-ha/understudy/health"
)

// newSync returns what synchronises connections, told by the other parts who is
// master and how far they are.
func (d *daemon) newSync() *connsync.Sync {
	return connsync.New(connsync.Options{
		Log:    d.log,
		Master: d.master,
		Judged: d.judged,
		Loaded: d.director.Loaded,
		Services: func(add func(*genl.Service, []genl.Destination)) {
			config, _, _ := d.running()
			for _, s := range config.Director.Services {
				forwarding(s, add)
			}
		},
	})
}

// forwarding calls add with each of the kernel's services that s stands for, and
// how packets get to its servers.
func forwarding(s director.Service, add func(*genl.Service, []genl.Destination)) {
	servers := s.Servers
	if s.Policy.Sorry.Address.IsValid() {
		servers = append(slices.Clone(servers), s.Policy.Sorry)
	}
	var dests []genl.Destination
	for _, server := range servers {
		dests = append(dests, genl.Destination{
			Address: server.Address.Addr(), Port: server.Address.Port(), Method: uint32(server.Spec.Forward),
		})
	}
	for _, k := range s.Keys {
		add(&genl.Service{ServiceID: ipvs.ServiceID(k)}, dests)
	}
}

// syncConfig returns what of the configuration is about synchronisation; nil if
// there is none.
func syncConfig(c *configs.Config) *connsync.Config {
	if c.Sync == nil || len(c.Director.Services) == 0 && !c.Director.Exclusive {
		return nil // without services there is no connection, and IPVS is not touched
	}
	return &connsync.Config{
		Interface: c.Sync.Interface, ID: c.Sync.ID, MaxLen: c.Sync.MaxLen, Group: c.Sync.Group, Port: c.Sync.Port,
		TTL: c.Sync.TTL, Follow: c.Sync.Follow, BeaconPort: c.Sync.BeaconPort, Secret: c.Sync.Secret, Name: c.RouterID,
	}
}

// master reports whether this director is master of a virtual router, or of any
// one for "".
func (d *daemon) master(router string) bool {
	roles := d.elections.roles()
	if router != "" {
		return roles[router].Role == director.RoleMaster
	}
	for _, r := range roles {
		if r.Role == director.RoleMaster {
			return true
		}
	}
	return false
}

// judged reports whether every server that is checked is known to be up or down.
func (d *daemon) judged() bool {
	config, _, _ := d.running()
	for _, s := range config.Director.Services {
		for _, server := range s.Servers {
			if server.Check.Type != health.TypeNone && d.monitor.Lookup(server.Check).State == health.Unknown {
				return false
			}
		}
	}
	return true
}

// handOverTime bounds how long a stop is put off for connections to be told of.
const handOverTime = time.Second

// handsOver reports whether a director that stops has something to hand over. One
// that only waited knows no more than its peers have told it, and the kernel of
// the master would put its older word above what it knows itself.
func handsOver(c *configs.Config, master func(router string) bool) bool {
	return len(c.Routers) == 0 || master("")
}

// elsewhere returns which virtual addresses other directors serve: those of the
// virtual routers that this one is not master of. What it knows of their
// connections it has been told by the master.
func elsewhere(c *configs.Config, master func(router string) bool) func(netip.Addr) bool {
	others, ours := map[netip.Addr]bool{}, map[netip.Addr]bool{}
	for _, r := range c.Director.Routers {
		to := others
		if master(r.Name) {
			to = ours
		}
		for _, p := range r.Addresses {
			to[p.Addr()] = true
		}
	}
	return func(a netip.Addr) bool { return others[a] && !ours[a] }
}

// handOver tells the peers of the connections here before this director leaves: the
// kernel gathers what it tells for two seconds, and loses that when it stops.
func (d *daemon) handOver(ctx context.Context) {
	config, _, _ := d.running()
	if !handsOver(config, d.master) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, handOverTime)
	defer cancel()
	sent, err := d.sync.Push(ctx, elsewhere(config, d.master))
	switch {
	case err != nil:
		d.log.Warn("not all connections handed over", "sent", sent, "err", err)
	case sent > 0:
		d.log.Info("connections handed over", "sent", sent)
	}
}

// syncStatus returns how connections are synchronised.
func (d *daemon) syncStatus() syncReply {
	config, _, _ := d.running()
	return newSyncReply(config.RouterID, d.sync.Status())
}

// syncProbe makes a synthetic connection and waits for it.
func (d *daemon) syncProbe(ctx context.Context) (syncProbeReply, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	list, err := d.sync.Probe(ctx)
	reply := syncProbeReply{Peers: []syncProbe{}}
	for _, p := range list {
		reply.Peers = append(reply.Peers, syncProbe{RouterID: p.Peer, Arrived: p.Arrived, LagNS: p.Lag})
	}
	return reply, err
}

func serveSync(w http.ResponseWriter, daemon controller) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(daemon.syncStatus())
}

func serveSyncProbe(w http.ResponseWriter, r *http.Request, daemon controller) {
	reply, err := daemon.syncProbe(r.Context())
	answer(w, reply, err)
}
