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
// (IPVS_DEST_ATTR_ACTIVE_CONNS and IPVS_DEST_ATTR_INACT_CONNS).
type Counters struct {
	Active   int
	Inactive int
}

// Counter is what an IPVS table can be besides: it counts connections by
// server.
type Counter interface {
	Counters(ctx context.Context) (map[Key]Counters, error)
}

// Status is what a Director knows at one moment.
type Status struct {
	Addresses   []AddressStatus // in the order of AddrKey.Compare
	Services    []ServiceStatus // in the order of the configuration
	AddressLane LaneStatus
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

// ServiceStatus is one service of the configuration.
type ServiceStatus struct {
	Name    string
	Key     ServiceKey
	Want    ServiceSpec
	Have    ServiceSpec // zero if not held
	Held    bool        // the kernel holds it
	Err     string
	Servers []ServerStatus
}

// ServerStatus is one real server of a service.
type ServerStatus struct {
	Address  netip.AddrPort
	Intent   Intent
	Reason   Reason
	Want     ServerSpec
	Have     ServerSpec // zero if not held
	Held     bool       // the kernel holds it
	Checked  bool       // it has a check
	Health   health.Status
	Counters Counters
	Err      string
}

// Status returns what was seen by the last passes, with the present health and
// connections. It waits for the table as long as ctx allows.
func (d *Director) Status(ctx context.Context) Status {
	var s Status
	s.Addresses, s.AddressLane = d.addressStatus()
	var counters map[Key]Counters
	if c, ok := d.options.IPVS.(Counter); ok && len(d.entries.snapshot().held) > 0 {
		var err error
		if counters, err = c.Counters(ctx); err != nil {
			s.CountersErr = err.Error()
		}
	}
	s.Services, s.IPVSLane = d.serviceStatus(counters)
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

func (d *Director) serviceStatus(counters map[Key]Counters) ([]ServiceStatus, LaneStatus) {
	v := d.entries.snapshot()
	config := d.config.Load()
	if config == nil {
		return nil, v.lane
	}
	var list []ServiceStatus
	for _, service := range config.Services {
		key := Key{Service: service.Key}
		have, held := v.held[key]
		s := ServiceStatus{
			Name: service.Name, Key: service.Key,
			Want: canonical(service.Key, service.Spec), Have: have.Service,
			Held: held, Err: text(v.failed[key]),
		}
		for _, server := range service.Servers {
			key := Key{Service: service.Key, Server: server.Address}
			w := v.want[key]
			have, held := v.held[key]
			r := ServerStatus{
				Address: server.Address, Intent: w.Intent, Reason: w.Reason,
				Want: server.Spec, Have: have.Server, Held: held,
				Checked:  server.Check.Type != health.TypeNone,
				Counters: counters[key], Err: text(v.failed[key]),
			}
			if r.Checked {
				r.Health = d.options.Health(server.Check)
			}
			s.Servers = append(s.Servers, r)
		}
		list = append(list, s)
	}
	return list, v.lane
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
