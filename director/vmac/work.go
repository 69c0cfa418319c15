package vmac

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/link"
	"github.com/understudy-ha/understudy/director/rtnl"
	"github.com/understudy-ha/understudy/director/sysctl"
)

// list returns every interface.
func (k *Keeper) list(ctx context.Context) ([]link.Device, error) {
	var have []link.Device
	err := k.socket.Dump(ctx, listRequest, func(body []byte) error {
		d, err := link.ParseDevice(body)
		if err == nil {
			have = append(have, d)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	return have, nil
}

// carryOut removes and makes interfaces.
func (k *Keeper) carryOut(ctx context.Context, steps []step, were map[string]int) error {
	var removes, creates []*nl.NetlinkRequest
	var made []step
	var removed []step
	for _, s := range steps {
		if s.parent == 0 {
			removes, removed = append(removes, removeRequest(s.index)), append(removed, s)
		} else {
			creates, made = append(creates, createRequests(s.device, s.parent)...), append(made, s)
		}
	}
	var errs []error
	for i, err := range k.socket.Do(ctx, removes, nil) {
		switch s := removed[i]; {
		case err != nil && !errors.Is(err, unix.ENODEV):
			errs = append(errs, fmt.Errorf("remove interface %s: %w", s.name, err))
		case s.differs != "":
			k.log.Warn("interface for a virtual MAC was changed by somebody else, made anew", "interface", s.name, "found", s.differs)
		default:
			k.log.Info("interface for a virtual MAC removed", "interface", s.name)
		}
	}
	results := k.socket.Do(ctx, creates, nil)
	for i, s := range made {
		// A mark that fails although the interface was made leaves one that is not
		// ours to remove; the operator is told.
		if err := errors.Join(results[2*i], results[2*i+1]); err != nil {
			errs = append(errs, fmt.Errorf("make interface %s on %s: %w", s.device.Name, s.device.Parent, cause(results[2*i], results[2*i+1])))
			continue
		}
		mac := net.HardwareAddr(s.device.MAC[:]).String()
		if _, again := were[s.device.Name]; again {
			k.log.Warn("interface for a virtual MAC was gone, made anew", "interface", s.device.Name, "parent", s.device.Parent, "mac", mac)
		} else {
			k.log.Info("interface for a virtual MAC made", "interface", s.device.Name, "parent", s.device.Parent, "mac", mac)
		}
	}
	return errors.Join(errs...)
}

// cause returns the first of two errors: the second follows from it.
func cause(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// adjust makes the settings of an interface of ours. Again: they were good once.
func (k *Keeper) adjust(d Device, again bool) error {
	var err error
	have := reader(k.settings, &err)
	for _, s := range deviceSettings(d, have) {
		v, _ := have(s.Key)
		if v == s.Value {
			continue
		}
		if e := k.settings.Write(s.Key, s.Value); e != nil {
			err = errors.Join(err, e)
			continue
		}
		if again {
			k.log.Warn("kernel setting of an interface for a virtual MAC put right", "key", s.Key, "value", s.Value, "found", v)
		}
	}
	if errors.Is(err, fs.ErrNotExist) { // the interface is gone meanwhile
		return nil
	}
	return err
}

// borrow makes the settings of the interfaces below, and puts back those of
// others.
func (k *Keeper) borrow(wanted []Device, have []link.Device) error {
	var failure error
	read := reader(k.settings, &failure)
	var settings []sysctl.Setting
	needed := make(map[string]bool)
	for _, name := range below(wanted, have) {
		needed[conf(ipv4, name, "arp_ignore")], needed[conf(ipv4, name, "arp_announce")] = true, true
		settings = append(settings, parentSettings(name, read)...)
	}
	errs := []error{k.loans.take(settings), k.loans.giveBack(func(key string) bool { return needed[key] })}
	if len(wanted) > 0 {
		if why := hindrance(read); why != "" {
			errs = append(errs, errors.New(why))
		}
	}
	return errors.Join(append(errs, failure)...)
}

// states asks for interfaces, by index; what there is not is left out.
func states(ctx context.Context, socket *rtnl.Socket, indices []int) (map[int]link.Device, error) {
	reqs := make([]*nl.NetlinkRequest, len(indices))
	for i, index := range indices {
		reqs[i] = linkRequest(index)
	}
	found := make(map[int]link.Device, len(indices))
	errs := socket.Do(ctx, reqs, func(i int, m syscall.NetlinkMessage) {
		if d, err := link.ParseDevice(m.Data); err == nil {
			found[indices[i]] = d
		}
	})
	for i, err := range errs {
		if err != nil && !errors.Is(err, unix.ENODEV) {
			return nil, fmt.Errorf("look up interface %d: %w", indices[i], err)
		}
	}
	return found, nil
}
