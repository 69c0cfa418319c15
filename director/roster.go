package director

import "github.com/understudy-ha/understudy/health"

// roster is the services of a configuration with what is remembered of them.
type roster struct {
	config  *Config
	pools   []*pool
	byName  map[string]*pool
	byKey   map[ServiceKey]*pool
	byCheck map[health.Check][]*pool
	size    int // entries of the table when everything is there
}

// newRoster returns the roster of config, which remembers what old does of
// services of the same name; old may be nil.
func newRoster(config *Config, old *roster) *roster {
	r := &roster{
		config:  config,
		pools:   make([]*pool, 0, len(config.Services)),
		byName:  make(map[string]*pool, len(config.Services)),
		byKey:   make(map[ServiceKey]*pool, len(config.Services)),
		byCheck: map[health.Check][]*pool{},
	}
	for i := range config.Services {
		r.add(&config.Services[i], old)
	}
	return r
}

func (r *roster) add(s *Service, old *roster) {
	for _, k := range s.Keys {
		if r.byKey[k] != nil {
			// Two services cannot have one key; the first has it.
			only := *s
			only.Keys = nil
			for _, k := range s.Keys {
				if r.byKey[k] == nil {
					only.Keys = append(only.Keys, k)
				}
			}
			s = &only
			break
		}
	}
	p := newPool(s)
	r.pools = append(r.pools, p)
	r.byName[s.Name] = p
	r.size += len(s.Keys) * (1 + len(p.members))
	for _, k := range s.Keys {
		r.byKey[k] = p
	}
	for _, m := range p.members {
		if c := m.server.Check; c.Type != health.TypeNone {
			r.byCheck[c] = append(r.byCheck[c], p)
		}
	}
	if old == nil {
		return
	}
	if was := old.byName[s.Name]; was != nil {
		p.inherit(was)
	}
}
