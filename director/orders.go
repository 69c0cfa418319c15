package director

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// ServerName names a real server as operators do: by the name of its service
// and its address.
type ServerName struct {
	Service string         `json:"service"`
	Server  netip.AddrPort `json:"server"`
}

// Compare orders names by service, then server.
func (n ServerName) Compare(o ServerName) int {
	if c := strings.Compare(n.Service, o.Service); c != 0 {
		return c
	}
	return n.Server.Compare(o.Server)
}

// Order is what an operator has asked for a server, until it is undone. The
// zero Order asks for nothing.
type Order struct {
	Drain    bool      `json:"drain,omitzero"`    // no new connections; out of the table when the last one has ended
	Since    time.Time `json:"since,omitzero"`    // when it was given
	Deadline time.Time `json:"deadline,omitzero"` // of Drain: out of the table then, connections or not; zero: never
	Weighted bool      `json:"weighted,omitzero"` // Weight counts
	Weight   int       `json:"weight,omitzero"`   // in place of the configured one, 0..65535
}

// NamedOrder is an Order for a server.
type NamedOrder struct {
	ServerName
	Order
}

// OrderStore keeps orders across restarts and reboots. It is used by one
// goroutine at a time.
type OrderStore interface {
	Load() ([]NamedOrder, error)
	// Store replaces what is stored, wholly or not at all, and durably.
	Store([]NamedOrder) error
}

// Orders are the orders in force. Its methods may be called from any goroutine.
type Orders struct {
	changing sync.Mutex // one change at a time; those who read do not wait for the store
	store    OrderStore

	mu     sync.RWMutex
	orders map[ServerName]Order // replaced as a whole
}

// NewOrders returns the orders that store holds. An error says that it could
// not be read; the Orders are empty then, and good to use.
func NewOrders(store OrderStore) (*Orders, error) {
	o := &Orders{store: store, orders: map[ServerName]Order{}}
	list, err := store.Load()
	if err != nil {
		return o, fmt.Errorf("read the orders for maintenance: %w", err)
	}
	for _, n := range list {
		o.orders[n.ServerName] = n.Order
	}
	return o, nil
}

// Lookup returns the order for a server, the zero Order if there is none.
func (o *Orders) Lookup(n ServerName) Order {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.orders[n]
}

// List returns all orders in the order of their names.
func (o *Orders) List() []NamedOrder {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return sorted(o.orders)
}

// Change replaces the order for a server by what change makes of it and returns
// that. Nothing changes unless it could be stored.
func (o *Orders) Change(n ServerName, change func(Order) Order) (Order, error) {
	o.changing.Lock()
	defer o.changing.Unlock()
	next := maps.Clone(o.orders) // which nobody else changes
	order := change(next[n])
	if order.Drain || order.Weighted {
		next[n] = order
	} else {
		order = Order{}
		delete(next, n)
	}
	if err := o.store.Store(sorted(next)); err != nil {
		return o.orders[n], fmt.Errorf("keep the order: %w", err)
	}
	o.mu.Lock()
	o.orders = next
	o.mu.Unlock()
	return order, nil
}

func sorted(orders map[ServerName]Order) []NamedOrder {
	list := make([]NamedOrder, 0, len(orders))
	for n, order := range orders {
		list = append(list, NamedOrder{n, order})
	}
	slices.SortFunc(list, func(a, b NamedOrder) int { return a.ServerName.Compare(b.ServerName) })
	return list
}
