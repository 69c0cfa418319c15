package main

import (
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/understudy-ha/understudy/configs"
	"github.com/understudy-ha/understudy/director/vmac"
)

// devices returns the interfaces of virtual MAC addresses; none without a
// configuration.
func devices(c *configs.Config) []vmac.Device {
	if c == nil {
		return nil
	}
	var list []vmac.Device
	for _, r := range c.Routers {
		if r.Device != "" {
			list = append(list, vmac.Device{Name: r.Device, Parent: r.Link, MAC: r.VirtualMAC})
		}
	}
	return list
}

// closed returns the addresses of which nothing is taken in.
func closed(c *configs.Config) []netip.Addr {
	if c == nil {
		return nil
	}
	var list []netip.Addr
	for i, r := range c.Routers {
		if r.Accept {
			continue
		}
		for _, p := range c.Director.Routers[i].Addresses {
			list = append(list, p.Addr())
		}
	}
	return list
}

// retire returns the interfaces that are not wanted any more. They serve until their
// virtual routers have been succeeded.
func retire(old, wanted []vmac.Device) []vmac.Device {
	return slices.DeleteFunc(old, func(o vmac.Device) bool {
		return slices.ContainsFunc(wanted, func(w vmac.Device) bool { return w.Name == o.Name })
	})
}

// vacateTime bounds how long the addresses are waited for that leave an interface.
const vacateTime = time.Second

// vacated waits until interfaces have been set down, as those are that have no
// address.
func vacated(list []vmac.Device) {
	end := time.Now().Add(vacateTime)
	for _, one := range list {
		for {
			i, err := net.InterfaceByName(one.Name)
			if err != nil || i.Flags&net.FlagUp == 0 || time.Now().After(end) {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}
