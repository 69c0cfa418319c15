package ipvsadm

import (
	"slices"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// server reads what -a, -e and -d say of a real server of the service id.
func (p *parser) server(id genl.ServiceID, d *genl.Destination) error {
	w := p.by[serverGroup]
	a, port, err := p.names.address(p.ctx, w.value, portProtocol(id))
	if err != nil {
		return misuse("%s %q: %w", w.typed, w.value, err)
	}
	d.Address, d.Port = a, id.Port
	if port != nil {
		d.Port = *port
	}
	if p.verb.verb == DeleteServer {
		return nil
	}
	d.Method, d.Weight = genl.DirectRoute, defaultWeight
	switch p.by[forwardGroup].long {
	case "ipip":
		d.Method = genl.Tunnelled
	case "masquerading":
		d.Method = genl.Masquerade
	}
	if id.FWMark == 0 && d.Method != genl.Masquerade {
		d.Port = id.Port // the packet goes on as it came
	}
	if genl.FamilyOf(a) != id.Family && d.Method != genl.Tunnelled {
		return misuse("%s %q: a server of another address family than its service needs a tunnel (-i)", w.typed, w.value)
	}
	if err := p.number(weightGroup, 0, maxInt, func(n int64) { d.Weight = int32(n) }); err != nil {
		return err
	}
	if err := p.number(upperGroup, 0, maxInt, func(n int64) { d.Upper = uint32(n) }); err != nil {
		return err
	}
	if err := p.number(lowerGroup, 0, maxInt, func(n int64) { d.Lower = uint32(n) }); err != nil {
		return err
	}
	return p.tunnel(d)
}

// tunnel reads --tun-type and what goes with it.
func (p *parser) tunnel(d *genl.Destination) error {
	var sums []string
	for _, o := range []struct {
		group group
		flag  director.TunnelChecksum
	}{{tunNoSumGroup, director.NoChecksum}, {tunSumGroup, director.Checksum}, {tunRemoteGroup, director.RemoteChecksum}} {
		if w, ok := p.by[o.group]; ok {
			sums = append(sums, w.typed)
			d.TunnelFlag = uint16(o.flag)
		}
	}
	kind, typed := p.by[tunTypeGroup]
	port, ported := p.by[tunPortGroup]
	switch {
	case d.Method != genl.Tunnelled && (typed || ported || len(sums) > 0):
		return misuse("the options of a tunnel go with -i only; add -i or leave them out")
	case len(sums) > 1:
		return misuse("%s and %s exclude each other", sums[0], sums[1])
	}
	switch kind.value {
	case "", "ipip":
		if typed && kind.value == "" {
			break
		}
		if ported || len(sums) > 0 {
			return misuse("an ipip tunnel has neither port nor checksum; add --tun-type gue or gre, or leave out %s", slices.Concat(sums, []string{port.typed})[0])
		}
		return nil
	case "gue":
		d.TunnelType = uint8(director.GUE)
		if !ported {
			return misuse("a gue tunnel needs --tun-port PORT")
		}
		return p.number(tunPortGroup, 1, 65535, func(n int64) { d.TunnelPort = uint16(n) })
	case "gre":
		d.TunnelType = uint8(director.GRE)
		switch {
		case ported:
			return misuse("a gre tunnel has no port; leave out %s, or use --tun-type gue", port.typed)
		case d.TunnelFlag == uint16(director.RemoteChecksum):
			return misuse("a gre tunnel has no remote checksum; use --tun-csum, or --tun-type gue")
		}
		return nil
	}
	return misuse("%s %q is no tunnel; there are ipip, gue and gre", kind.typed, kind.value)
}
