package director

import (
	"context"
	"net/netip"
)

// Table is one kind of kernel object. List returns what the kernel holds. Apply
// is idempotent: creating what exists and deleting what is absent succeed.
type Table[K, V comparable] interface {
	List(ctx context.Context) (map[K]V, error)
	// Apply carries out the changes in order and goes on after a failure; the
	// error joins one *ChangeError per change that failed.
	Apply(ctx context.Context, changes []Change[K, V]) error
}

// Op is what a Change does.
type Op uint8

// The operations.
const (
	Create Op = iota + 1
	Update
	Delete
)

// Change is one difference between what the kernel holds and what it should.
type Change[K, V comparable] struct {
	Op  Op
	Key K
	Old V // what was listed; zero for Create
	New V // what is wanted; zero for Delete
}

// AddrKey names an address in the kernel: the interface and the address with
// its prefix length, host bits kept.
type AddrKey struct {
	Link   string
	Prefix netip.Prefix
}

// AddrSpec is the content of an address: only ownership is of interest.
type AddrSpec struct {
	Ours bool // carries our protocol tag (IFA_PROTO, kernel 5.18 or later)
}

// carryOut applies changes and returns those that were made, the failures by
// key and everything that went wrong.
func carryOut[K, V comparable](ctx context.Context, t Table[K, V], changes []Change[K, V]) ([]Change[K, V], map[K]error, error) {
	if len(changes) == 0 {
		return nil, nil, nil
	}
	err := t.Apply(ctx, changes)
	if err == nil {
		return changes, nil, nil
	}
	failed, rest := failures[K](err)
	if len(rest) > 0 {
		// Nobody knows which of them were made; the next look will tell.
		return nil, failed, err
	}
	var done []Change[K, V]
	for _, c := range changes {
		if failed[c.Key] == nil {
			done = append(done, c)
		}
	}
	return done, failed, err
}
