package director

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/understudy-ha/understudy/health"
)

// Counters are the connections of a real server, as the kernel counts them
// (IPVS_DEST_ATTR_ACTIVE_CONNS, IPVS_DEST_ATTR_INACT_CONNS and
// IPVS_DEST_ATTR_PERSIST_CONNS).
type Counters struct {
	Active     int
	Inactive   int
	Persistent int // persistence templates
}

// Open returns the connections that a server of the service k must not be removed
// under. Those of TCP and SCTP that are being closed, and wait out their time, do
// not count; of other protocols the kernel only knows that there was traffic.
func (c Counters) Open(k ServiceKey) int {
	if k.Protocol == TCP || k.Protocol == SCTP {
		return c.Active
	}
	return c.Active + c.Inactive
}

// Counter is what an IPVS table can be besides: it counts connections by
// server.
type Counter interface {
	Counters(ctx context.Context) (map[Key]Counters, error)
}

// Status is what a Director knows at one moment.
type Status struct {
	Addresses   []AddressStatus // in the order of AddrKey.Compare
	Routing     []RoutingStatus // in the order of RoutingKey.Compare
	Services    []ServiceStatus // in the order of the configuration
	AddressLane LaneStatus
	RouteLane   LaneStatus
	IPVSLane    LaneStatus
	CountersErr string // why there are no counters; empty if there are or none are needed
}

// LaneStatus is the state of one lane.
type LaneStatus struct {
	Began   time.Time     // of the last pass
	Took    time.Duration // of the last pass
	Passes  uint64        // since start
	Changes uint64        // made since start
	Repairs uint64        // of them, those that repaired drift
	Err     string        // of the last pass; empty: it was clean
}

// AddressStatus is one address of the configuration.
type AddressStatus struct {
	Key    AddrKey
	Router string // the virtual router's name
	Intent Intent
	Reason Reason
	Held   bool // the kernel holds it
	Ours   bool // with our tag
	Err    string
}

// RoutingStatus is one route or rule of the configuration.
type RoutingStatus struct {
	Key    RoutingKey
	Want   RoutingSpec
	Router string // the virtual router's name
	Intent Intent
	Reason Reason
	Held   bool // the kernel holds it
	Ours   bool // with our tag
	Err    string
}

// ServiceStatus is one key of a service of the configuration.
type ServiceStatus struct {
	Name    string
	Key     ServiceKey
	Want    ServiceSpec
	Have    ServiceSpec // zero if not held
	Held    bool        // the kernel holds it
	Quorum  Quorum
	Err     string
	Servers []ServerStatus // in the order of the configuration; then the sorry server, then those that it does not name
}

// ServerStatus is one real server of a service.
type ServerStatus struct {
	Address  netip.AddrPort
	Intent   Intent
	Reason   Reason
	Want     ServerSpec // as configured
	Have     ServerSpec // zero if not held
	Held     bool       // the kernel holds it
	Sorry    bool       // it serves while there is no quorum
	Checked  bool       // it has a check
	Health   health.Status
	Order    Order
	Growing  time.Time // since when it is in a slow start; zero: it is not
	Draining time.Time // since when it drains; zero: it does not
	Counters Counters
	Err      string
}

// Status returns what was seen by the last passes, with the present health and
// connections. It waits for the table as long as ctx allows.
func (d *Director) Status(ctx context.Context) Status {
	var s Status
	s.Addresses, s.AddressLane = d.addressStatus()
	s.Routing, s.RouteLane = d.routingStatus()
	var counters map[Key]Counters
	if c, ok := d.options.IPVS.(Counter); ok && d.entries.holds() {
		var err error
		if counters, err = c.Counters(ctx); err != nil {
			s.CountersErr = err.Error()
		}
	}
	s.Services, s.IPVSLane = d.entries.status(counters)
	return s
}

func (l *lane[K, V]) snapshot() view[K, V] {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.view
}

func (d *Director) addressStatus() ([]AddressStatus, LaneStatus) {
	v := d.addresses.snapshot()
	var list []AddressStatus
	for _, k := range slices.SortedFunc(maps.Keys(v.want), AddrKey.Compare) {
		w := v.want[k]
		have, held := v.held[k]
		list = append(list, AddressStatus{
			Key: k, Router: w.Name, Intent: w.Intent, Reason: w.Reason,
			Held: held, Ours: have.Ours, Err: text(v.failed[k]),
		})
	}
	return list, v.lane
}

func (d *Director) routingStatus() ([]RoutingStatus, LaneStatus) {
	v := d.routes.snapshot()
	var list []RoutingStatus
	for _, k := range slices.SortedFunc(maps.Keys(v.want), RoutingKey.Compare) {
		w := v.want[k]
		have, held := v.held[k]
		list = append(list, RoutingStatus{
			Key: k, Want: w.Spec, Router: w.Name, Intent: w.Intent, Reason: w.Reason,
			Held: held && have.Satisfies(w.Spec), Ours: have.Ours, Err: text(v.failed[k]),
		})
	}
	return list, v.lane
}

// holds reports whether there is anything in the kernel to count.
func (l *entryLane) holds() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.have) > 0
}

// status returns what the last passes saw, with the present health.
func (l *entryLane) status(counters map[Key]Counters) ([]ServiceStatus, LaneStatus) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.roster == nil {
		return nil, l.lane
	}
	var list []ServiceStatus
	for _, p := range l.roster.pools {
		for _, k := range p.service.Keys {
			list = append(list, l.oneService(p, k, counters))
		}
	}
	return list, l.lane
}

func (l *entryLane) oneService(p *pool, k ServiceKey, counters map[Key]Counters) ServiceStatus {
	key := Key{Service: k}
	have, held := l.have.get(key)
	s := ServiceStatus{
		Name: p.service.Name, Key: k, Quorum: p.quorum,
		Want: canonical(k, p.service.Spec), Have: have.Service,
		Held: held, Err: text(l.failed[key]),
		Servers: make([]ServerStatus, 0, len(p.members)+len(p.strays)),
	}
	for _, m := range p.members {
		r := l.oneServer(m, Key{Service: k, Server: m.server.Address}, counters)
		r.Want, r.Sorry = m.server.Spec, p.isSorry(m)
		r.Order = l.order(ServerName{Service: p.service.Name, Server: m.server.Address})
		if r.Checked = m.server.Check.Type != health.TypeNone && !r.Sorry; r.Checked {
			r.Health = l.health(m.server.Check)
		}
		s.Servers = append(s.Servers, r)
	}
	for _, addr := range slices.SortedFunc(maps.Keys(p.strays), netip.AddrPort.Compare) {
		if r := l.oneServer(p.strays[addr], Key{Service: k, Server: addr}, counters); r.Held {
			r.Want = r.Have // nobody wants anything else of it
			r.Order = l.order(ServerName{Service: p.service.Name, Server: addr})
			s.Servers = append(s.Servers, r)
		}
	}
	return s
}

func (l *entryLane) oneServer(m *member, k Key, counters map[Key]Counters) ServerStatus {
	have, held := l.have.get(k)
	return ServerStatus{
		Address: k.Server, Intent: m.verdict.Intent, Reason: m.verdict.Reason,
		Have: have.Server, Held: held, Growing: m.ramp, Draining: m.drain,
		Counters: counters[k], Err: text(l.failed[k]),
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
