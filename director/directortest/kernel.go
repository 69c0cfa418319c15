package directortest

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
)

// The changes that a journal holds.
type (
	AddressChange = director.Change[director.AddrKey, director.AddrSpec]
	EntryChange   = director.Change[director.Key, director.Spec]
	RoutingChange = director.Change[director.RoutingKey, director.RoutingSpec]
)

// Kernel is a model of the tables of one network namespace, and of the files
// that survive a process.
type Kernel struct {
	mu    sync.Mutex
	tags  bool
	order []director.AddrKey // of the addresses: as they came
	addrs map[director.AddrKey]director.AddrSpec
	table map[director.Key]director.Spec
	count map[director.Key]director.Counters // of servers; others have none
	files files

	routing map[director.RoutingKey]director.RoutingSpec

	faults *rand.Rand // nil: none
	oneIn  int

	addressJournal []AddressChange
	entryJournal   []EntryChange
	routingJournal []RoutingChange
}

// files are the contents of the ledgers.
type files struct {
	services  []director.ServiceKey
	addresses []director.AddrKey
}

// NewKernel returns an empty kernel. Without tags it is one before 5.18, which
// does not keep whose an address is.
func NewKernel(tags bool) *Kernel {
	return &Kernel{
		tags:  tags,
		addrs: map[director.AddrKey]director.AddrSpec{},
		table: map[director.Key]director.Spec{},
		count: map[director.Key]director.Counters{},

		routing: map[director.RoutingKey]director.RoutingSpec{},
	}
}

// Fault makes about one in so many operations go wrong, in the order that seed
// gives: EINTR, ENOBUFS or EBUSY before the operation or, as if only the answer were
// lost, after it; someone else creating the same IPVS entry first; a dump of
// the IPVS table that silently lacks entries. Zero ends it.
func (k *Kernel) Fault(seed uint64, oneIn int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.faults, k.oneIn = rand.New(rand.NewPCG(seed, 0)), oneIn
}

// Addresses returns a copy of the addresses.
func (k *Kernel) Addresses() map[director.AddrKey]director.AddrSpec {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.addrs)
}

// Entries returns a copy of the IPVS table.
func (k *Kernel) Entries() map[director.Key]director.Spec {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.table)
}

// AddressJournal returns what has changed since the last call.
func (k *Kernel) AddressJournal() []AddressChange {
	k.mu.Lock()
	defer k.mu.Unlock()
	j := k.addressJournal
	k.addressJournal = nil
	return j
}

// EntryJournal returns what has changed since the last call.
func (k *Kernel) EntryJournal() []EntryChange {
	k.mu.Lock()
	defer k.mu.Unlock()
	j := k.entryJournal
	k.entryJournal = nil
	return j
}

// ByHand makes changes as an operator would, outside of every Process and
// without faults, and not in the journals.
func (k *Kernel) ByHand(f func(h Hand)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	a, e, r, faults := k.addressJournal, k.entryJournal, k.routingJournal, k.faults
	k.faults = nil
	f(Hand{k})
	k.addressJournal, k.entryJournal, k.routingJournal, k.faults = a, e, r, faults
}

// Hand is an operator at work.
type Hand struct{ k *Kernel }

// Address adds an address that carries no tag.
func (h Hand) Address(key director.AddrKey) error { return h.k.addAddress(key, director.AddrSpec{}) }

// TaggedAddress adds an address with our tag, as an earlier process did.
func (h Hand) TaggedAddress(key director.AddrKey) error {
	return h.k.addAddress(key, director.AddrSpec{Ours: true})
}

// DeleteAddress removes an address.
func (h Hand) DeleteAddress(key director.AddrKey) error { return h.k.deleteAddress(key) }

// Service adds a service.
func (h Hand) Service(key director.ServiceKey, s director.ServiceSpec) error {
	return h.k.newService(key, s)
}

// Server adds a real server.
func (h Hand) Server(key director.Key, s director.ServerSpec) error { return h.k.newServer(key, s) }

// Delete removes a service or a server.
func (h Hand) Delete(key director.Key) error {
	if key.IsService() {
		return h.k.deleteService(key.Service)
	}
	return h.k.deleteServer(key)
}

// Count gives a server connections.
func (h Hand) Count(key director.Key, c director.Counters) { h.k.count[key] = c }

// Set replaces the content of what is there.
func (h Hand) Set(key director.Key, s director.Spec) error {
	if key.IsService() {
		return h.k.setService(key.Service, s.Service)
	}
	return h.k.setServer(key, s.Server)
}

// Servers returns the real servers in the order of their keys.
func (h Hand) Servers() []director.Key {
	var keys []director.Key
	for key := range h.k.table {
		if !key.IsService() {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, director.Key.Compare)
	return keys
}

// Clear empties the IPVS table.
func (h Hand) Clear() { clear(h.k.table) }

// fails reports whether the next fault is due, and picks an error for it.
func (k *Kernel) fails() (unix.Errno, bool) {
	if k.faults == nil || k.oneIn <= 0 || k.faults.IntN(k.oneIn) != 0 {
		return 0, false
	}
	return []unix.Errno{unix.EINTR, unix.ENOBUFS, unix.EBUSY}[k.faults.IntN(3)], true
}

// do runs one operation of the kernel with faults around it.
func (k *Kernel) do(op func() error) error {
	if errno, fails := k.fails(); fails {
		return errno
	}
	err := op()
	if errno, fails := k.fails(); fails {
		return errno
	}
	return err
}

func (k *Kernel) addAddress(key director.AddrKey, s director.AddrSpec) error {
	if _, ok := k.addrs[key]; ok {
		return unix.EEXIST
	}
	s.Ours = s.Ours && k.tags
	k.addrs[key] = s
	k.order = append(k.order, key)
	k.addressJournal = append(k.addressJournal, AddressChange{Op: director.Create, Key: key, New: s})
	return nil
}

// deleteAddress takes the secondaries of a primary IPv4 address along, as Linux
// does unless promote_secondaries is set.
func (k *Kernel) deleteAddress(key director.AddrKey) error {
	if _, ok := k.addrs[key]; !ok {
		return unix.EADDRNOTAVAIL
	}
	subnet := func(o director.AddrKey) bool {
		return o.Link == key.Link && o.Prefix.Masked() == key.Prefix.Masked()
	}
	gone := []director.AddrKey{key}
	if first := slices.IndexFunc(k.order, subnet); key.Prefix.Addr().Is4() && k.order[first] == key {
		gone = slices.Collect(func(yield func(director.AddrKey) bool) {
			for _, o := range k.order {
				if subnet(o) && !yield(o) {
					return
				}
			}
		})
	}
	for _, o := range gone {
		if o == key {
			k.addressJournal = append(k.addressJournal, AddressChange{Op: director.Delete, Key: o, Old: k.addrs[o]})
		}
		delete(k.addrs, o)
		k.forget(o)
	}
	k.order = slices.DeleteFunc(k.order, func(o director.AddrKey) bool { return slices.Contains(gone, o) })
	return nil
}

func (k *Kernel) newService(key director.ServiceKey, s director.ServiceSpec) error {
	e := director.Key{Service: key}
	if key.FWMark == 0 && key.IPv6 {
		return unix.EINVAL // no listing names it like this
	}
	if _, ok := k.table[e]; ok {
		return unix.EEXIST
	}
	k.put(director.Create, e, director.Spec{Service: s})
	return nil
}

func (k *Kernel) setService(key director.ServiceKey, s director.ServiceSpec) error {
	e := director.Key{Service: key}
	if _, ok := k.table[e]; !ok {
		return unix.ESRCH
	}
	k.put(director.Update, e, director.Spec{Service: s})
	return nil
}

func (k *Kernel) deleteService(key director.ServiceKey) error {
	e := director.Key{Service: key}
	if _, ok := k.table[e]; !ok {
		return unix.ESRCH
	}
	k.put(director.Delete, e, director.Spec{})
	maps.DeleteFunc(k.table, func(o director.Key, _ director.Spec) bool { return o.Service == key })
	maps.DeleteFunc(k.count, func(o director.Key, _ director.Counters) bool { return o.Service == key })
	return nil
}

func (k *Kernel) newServer(key director.Key, s director.ServerSpec) error {
	if _, ok := k.table[director.Key{Service: key.Service}]; !ok {
		return unix.ESRCH
	}
	if err := refused(key, s); err != nil {
		return err
	}
	if _, ok := k.table[key]; ok {
		return unix.EEXIST
	}
	k.put(director.Create, key, director.Spec{Server: s})
	return nil
}

func (k *Kernel) setServer(key director.Key, s director.ServerSpec) error {
	if _, ok := k.table[director.Key{Service: key.Service}]; !ok {
		return unix.ESRCH
	}
	if err := refused(key, s); err != nil {
		return err
	}
	if _, ok := k.table[key]; !ok {
		return unix.ENOENT
	}
	k.put(director.Update, key, director.Spec{Server: s})
	return nil
}

func (k *Kernel) deleteServer(key director.Key) error {
	if _, ok := k.table[director.Key{Service: key.Service}]; !ok {
		return unix.ESRCH
	}
	if _, ok := k.table[key]; !ok {
		return unix.ENOENT
	}
	k.put(director.Delete, key, director.Spec{})
	return nil
}

func (k *Kernel) put(op director.Op, key director.Key, s director.Spec) {
	k.entryJournal = append(k.entryJournal, EntryChange{Op: op, Key: key, Old: k.table[key], New: s})
	if op == director.Delete {
		delete(k.table, key)
		delete(k.count, key)
		return
	}
	k.table[key] = canonical(key, s)
}

// canonical returns s as Linux gives it back.
func canonical(key director.Key, s director.Spec) director.Spec {
	if key.IsService() && (s.Service.Mask == 0 || s.Service.Persistence == 0) {
		s.Service.Mask = 32
		if key.Service.Is6() {
			s.Service.Mask = 128
		}
	}
	return s
}

// refused returns what Linux has against a server.
func refused(key director.Key, s director.ServerSpec) error {
	switch {
	case !key.Server.IsValid():
		return unix.EINVAL
	case key.Server.Addr().Is6() != key.Service.Is6() && s.Forward != director.TUN:
		return unix.EINVAL // families mix in tunnels only
	case s.Weight < 0, s.Lower > s.Upper:
		return unix.ERANGE
	case s.Forward != director.TUN && s.Tunnel != (director.Tunnel{}), s.Tunnel.Type == director.GUE && s.Tunnel.Port == 0:
		return unix.EINVAL
	}
	return nil
}

// Full returns the IPVS table of a configuration of which every server is fit.
func Full(c director.Config) map[director.Key]director.Spec {
	table := map[director.Key]director.Spec{}
	for _, s := range c.Services {
		for _, k := range s.Keys {
			key := director.Key{Service: k}
			table[key] = canonical(key, director.Spec{Service: s.Spec})
			for _, server := range s.Servers {
				table[director.Key{Service: k, Server: server.Address}] = director.Spec{Server: server.Spec}
			}
		}
	}
	return table
}
