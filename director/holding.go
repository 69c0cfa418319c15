package director

import (
	"maps"
	"net/netip"
	"slices"
)

// holding is what the kernel has of one service.
type holding struct {
	there   bool // the service itself
	spec    ServiceSpec
	servers map[netip.AddrPort]ServerSpec
}

// server returns a server of a holding, which may be nil.
func (h *holding) server(addr netip.AddrPort) (ServerSpec, bool) {
	if h == nil {
		return ServerSpec{}, false
	}
	s, ok := h.servers[addr]
	return s, ok
}

// holdings is the IPVS table by services.
type holdings map[ServiceKey]*holding

// gather returns a listing by services.
func gather(list map[Key]Spec) holdings {
	t := holdings{}
	for k, s := range list {
		t.put(k, s)
	}
	return t
}

// expect returns what is held of a service, with room for its servers if it is
// new.
func (t holdings) expect(k ServiceKey, servers int) *holding {
	h := t[k]
	if h == nil {
		h = &holding{servers: make(map[netip.AddrPort]ServerSpec, servers)}
		t[k] = h
	}
	return h
}

// put enters or replaces an entry.
func (t holdings) put(k Key, s Spec) {
	h := t.expect(k.Service, 0)
	if k.IsService() {
		h.there, h.spec = true, s.Service
		return
	}
	h.servers[k.Server] = s.Server
}

// remove takes an entry out, a service with its servers.
func (t holdings) remove(k Key) {
	if k.IsService() {
		delete(t, k.Service)
	} else if h := t[k.Service]; h != nil {
		delete(h.servers, k.Server)
	}
}

// get returns an entry, and whether it is there.
func (t holdings) get(k Key) (Spec, bool) {
	h := t[k.Service]
	if h == nil {
		return Spec{}, false
	}
	if k.IsService() {
		return Spec{Service: h.spec}, h.there
	}
	s, ok := h.servers[k.Server]
	return Spec{Server: s}, ok
}

// wanting is what the kernel should have of one service.
type wanting struct {
	spec    ServiceSpec
	servers []placement
}

// placement is a server that should be there.
type placement struct {
	addr netip.AddrPort
	spec ServerSpec
}

func (w *wanting) place(addr netip.AddrPort, spec ServerSpec) {
	w.servers = append(w.servers, placement{addr, spec})
}

// changes are those of one pass: what comes is to be there before what goes has
// left.
type changes struct {
	come  []Change[Key, Spec] // creations and updates
	leave []Change[Key, Spec] // deletions
}

// differences appends the changes that turn have, which may be nil, into want,
// for the service named k: the service, then its servers in the order of want,
// then those that go in the order of their addresses.
func (c *changes) differences(k ServiceKey, have *holding, want wanting) {
	service := Key{Service: k}
	switch {
	case have == nil || !have.there:
		c.come = append(c.come, Change[Key, Spec]{Op: Create, Key: service, New: Spec{Service: want.spec}})
	case have.spec != want.spec:
		c.come = append(c.come, Change[Key, Spec]{Op: Update, Key: service, Old: Spec{Service: have.spec}, New: Spec{Service: want.spec}})
	}
	stay := 0
	for _, w := range want.servers {
		key := Key{Service: k, Server: w.addr}
		h, ok := have.server(w.addr)
		switch {
		case !ok:
			c.come = append(c.come, Change[Key, Spec]{Op: Create, Key: key, New: Spec{Server: w.spec}})
			continue
		case h != w.spec:
			c.come = append(c.come, Change[Key, Spec]{Op: Update, Key: key, Old: Spec{Server: h}, New: Spec{Server: w.spec}})
		}
		stay++
	}
	if have == nil || stay == len(have.servers) {
		return
	}
	stays := make(map[netip.AddrPort]bool, len(want.servers))
	for _, w := range want.servers {
		stays[w.addr] = true
	}
	for _, addr := range slices.SortedFunc(maps.Keys(have.servers), netip.AddrPort.Compare) {
		if !stays[addr] {
			c.leave = append(c.leave, Change[Key, Spec]{Op: Delete, Key: Key{Service: k, Server: addr}, Old: Spec{Server: have.servers[addr]}})
		}
	}
}
