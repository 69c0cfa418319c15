package director

// entryRules are the rules of the lane of the IPVS table.
type entryRules struct {
	director  *Director
	exclusive bool
	named     map[ServiceKey]bool // by the configuration
	created   owned[ServiceKey]
}

func (d *Director) entryRules() *entryRules {
	return &entryRules{
		director: d,
		created:  owned[ServiceKey]{ledger: d.options.ServiceLedger, compare: ServiceKey.Compare},
	}
}

// want has nothing to look after without services, so that a configuration of
// virtual routers alone runs on a kernel without IPVS.
func (r *entryRules) want(stopping bool) (map[Key]Want[Spec], bool) {
	config := r.director.config.Load()
	if config == nil {
		return nil, false
	}
	if err := r.created.load(); err != nil {
		r.director.entries.report.ledger(err)
	}
	want := planEntries(*config, r.director.options.Health)
	if stopping {
		stop(want)
	}
	r.exclusive = config.Exclusive
	r.named = make(map[ServiceKey]bool, len(config.Services))
	for _, s := range config.Services {
		r.named[s.Key] = true
	}
	return want, len(want) > 0 || len(r.created.keys) > 0 || r.exclusive
}

// observe takes the services of the ledger for present if nobody wants them: a
// dump that missed one must not lose it, and its deletion strikes it out.
func (r *entryRules) observe(have map[Key]Spec, want map[Key]Want[Spec]) {
	for s := range r.created.keys {
		k := Key{Service: s}
		if _, ok := have[k]; !ok && want[k].Intent == Absent {
			have[k] = Spec{}
		}
	}
}

func (r *entryRules) owns(k Key, _ Spec) bool {
	return r.exclusive || r.named[k.Service] || r.created.has(k.Service)
}

// before writes down every service that is wanted, one that was there before us
// too: named by the configuration, it is ours, and has to go with it.
func (r *entryRules) before(_, final map[Key]Spec, _ []Change[Key, Spec], _ map[Key]Want[Spec]) error {
	for k := range final {
		if k.IsService() {
			r.created.add(k.Service)
		}
	}
	return r.created.store()
}

func (r *entryRules) after(_ map[Key]Spec, done []Change[Key, Spec], _ map[Key]Want[Spec]) error {
	for _, c := range done {
		if c.Op == Delete && c.Key.IsService() {
			r.created.remove(c.Key.Service)
		}
	}
	return r.created.store()
}

func (r *entryRules) blind(map[Key]Want[Spec]) {}
