package ipvsadm

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// Limits and defaults of ipvsadm.
const (
	maxTimeout      = 31 * 24 * 3600 // seconds
	maxMessage      = 65535 - 20 - 8 // bytes of UDP payload
	defaultTimeout  = 360            // of persistence, in seconds; the manual says 300
	defaultWeight   = 1
	scheduler       = "wlc"
	syncInterface   = "eth0"
	maxName         = 15 // of a scheduler, engine or interface, in bytes (linux/ip_vs.h, linux/if.h)
	maxInt          = 1<<31 - 1
	anyIPv4, allIP6 = 0xffffffff, 128 // netmask that tells every client apart
)

// Parse reads a command line without the program's name. It asks names only for
// what is not a number.
func Parse(ctx context.Context, args []string, names *Names) (Command, error) {
	if len(args) == 0 {
		return Command{Verb: List}, nil
	}
	words, rest, err := scan(args)
	if err != nil {
		return Command{}, err
	}
	if len(words) == 0 || words[0].verb == 0 {
		return Command{}, illegible("say first what to do: -A -E -D -C -R -S -a -e -d -L -Z --set --start-daemon --stop-daemon; see -h")
	}
	p := parser{ctx: ctx, names: names, verb: words[0], by: map[group]word{}}
	if err := p.collect(words[1:]); err != nil {
		return Command{}, err
	}
	if p.verb.verb != SetTimeouts && p.verb.verb != Help && len(rest) > 0 {
		return Command{}, misuse("do not know what to do with %q: it belongs to no option", rest[0])
	}
	c := Command{Verb: p.verb.verb}
	switch c.Verb {
	case Help, Version, Clear, Restore:
		return c, nil
	case SetTimeouts:
		c.Timeouts, err = timeouts(rest)
		return c, err
	case StartDaemon, StopDaemon:
		c.Daemon, err = p.daemon()
		return c, err
	}
	if _, c.Named = p.by[serviceGroup]; c.Named {
		if err := p.serviceID(&c.Service.ServiceID); err != nil {
			return Command{}, err
		}
	} else if p.has(ipv6Group) {
		return Command{}, misuse("-6 needs a firewall mark: -f MARK")
	}
	switch c.Verb {
	case AddService, EditService:
		err = p.service(&c.Service)
	case AddServer, EditServer, DeleteServer:
		err = p.server(c.Service.ServiceID, &c.Dest)
	case List, Save:
		c.Format, err = p.format()
	}
	return c, err
}

// parser makes sense of the options of one command line.
type parser struct {
	ctx   context.Context
	names *Names
	verb  word
	by    map[group]word
}

// collect takes the options that go with the verb, each once.
func (p *parser) collect(words []word) error {
	for _, w := range words {
		if w.verb != 0 {
			return misuse("%s and %s are two commands; give one, and give it first", p.verb.typed, w.typed)
		}
		if w.group == sortGroup {
			continue
		}
		if before, ok := p.by[w.group]; ok && w.group != ipv6Group {
			if before.typed == w.typed {
				return misuse("%s is there twice", w.typed)
			}
			return misuse("%s and %s exclude each other", before.typed, w.typed)
		}
		if p.verb.verb != Help && p.verb.verb != Version && !slices.Contains(allowed[p.verb.verb], w.group) {
			return misuse("%s does not go with %s; see -h for what does", w.typed, p.verb.typed)
		}
		p.by[w.group] = w
	}
	needs := func(g group, what string) error {
		if _, ok := p.by[g]; ok {
			return nil
		}
		return misuse("%s needs %s", p.verb.typed, what)
	}
	switch p.verb.verb {
	case AddServer, EditServer, DeleteServer:
		if err := needs(serverGroup, "a real server: -r ADDRESS[:PORT]"); err != nil {
			return err
		}
		fallthrough
	case AddService, EditService, DeleteService:
		return needs(serviceGroup, "a virtual service: -t, -u or --sctp-service ADDRESS:PORT, or -f MARK")
	}
	return nil
}

// has reports whether an option is there.
func (p *parser) has(g group) bool { _, ok := p.by[g]; return ok }

// number reads the value of an option, if that is there.
func (p *parser) number(g group, low, high int64, into func(int64)) error {
	w, ok := p.by[g]
	if !ok {
		return nil
	}
	n, err := number(w.value, low, high)
	if err != nil {
		return misuse("%s %q: %w", w.typed, w.value, err)
	}
	into(n)
	return nil
}

// serviceID reads -t, -u, --sctp-service and -f with -6.
func (p *parser) serviceID(id *genl.ServiceID) error {
	w := p.by[serviceGroup]
	if w.long == "fwmark-service" {
		id.Family = unix.AF_INET
		if p.has(ipv6Group) {
			id.Family = unix.AF_INET6
		}
		return p.number(serviceGroup, 1, 1<<32-1, func(n int64) { id.FWMark = uint32(n) })
	}
	if p.has(ipv6Group) {
		return misuse("-6 goes with -f only; %s has the family of its address", w.typed)
	}
	id.Protocol = map[string]uint16{"tcp-service": unix.IPPROTO_TCP, "udp-service": unix.IPPROTO_UDP,
		"sctp-service": unix.IPPROTO_SCTP}[w.long]
	a, port, err := p.names.address(p.ctx, w.value, portProtocol(*id))
	if err != nil {
		return misuse("%s %q: %w", w.typed, w.value, err)
	}
	id.Address, id.Family = a, genl.FamilyOf(a)
	if port != nil {
		id.Port = *port
	}
	return nil
}

// service reads what -A and -E say of a service.
func (p *parser) service(s *genl.Service) error {
	s.Scheduler = scheduler
	if w := p.by[schedulerGroup]; w.value != "" {
		s.Scheduler = w.value
	}
	if w := p.by[engineGroup]; w.value != "" {
		s.Engine = w.value
	}
	for _, name := range []string{s.Scheduler, s.Engine} {
		if len(name) > maxName {
			return misuse("%q is too long for the name of a scheduler or engine: %d bytes at most", name, maxName)
		}
	}
	if w, ok := p.by[persistentGroup]; ok {
		s.Flags |= genl.FlagPersistent
		s.Timeout = defaultTimeout
		if w.has {
			if err := p.number(persistentGroup, 1, maxTimeout, func(n int64) { s.Timeout = uint32(n) }); err != nil {
				return err
			}
		}
	}
	if err := p.mask(s); err != nil {
		return err
	}
	if p.has(opsGroup) {
		if s.FWMark == 0 && s.Protocol != unix.IPPROTO_UDP {
			return misuse("%s schedules datagrams one by one and goes with -u and -f only", p.by[opsGroup].typed)
		}
		s.Flags |= genl.FlagOnePacket
	}
	if s.FWMark == 0 && s.Port == 0 && s.Flags&genl.FlagPersistent == 0 {
		w := p.by[serviceGroup]
		hint := "give a port, or -p to balance all ports of a persistent service"
		if s.Family == unix.AF_INET6 && !strings.HasPrefix(w.value, "[") {
			hint += "; an IPv6 address with a port is written [ADDRESS]:PORT"
		}
		return misuse("%s %q has no port; %s", w.typed, w.value, hint)
	}
	return p.flags(s)
}

// mask reads -M.
func (p *parser) mask(s *genl.Service) error {
	w, ok := p.by[maskGroup]
	if s.Family == unix.AF_INET6 {
		s.Netmask = allIP6
		return p.number(maskGroup, 1, 128, func(n int64) { s.Netmask = uint32(n) })
	}
	s.Netmask = anyIPv4
	if !ok {
		return nil
	}
	a, err := netip.ParseAddr(w.value)
	if err != nil || !a.Is4() {
		return misuse("%s %q is no mask of an IPv4 service; write one such as 255.255.255.0", w.typed, w.value)
	}
	s.Netmask = maskNumber(a)
	return nil
}

// The scheduler flags by name. Those of a scheduler are those of any with
// another name.
var schedulerFlags = []struct {
	name, scheduler string
	bit             uint32
}{
	{"flag-1", "", genl.FlagSched1}, {"flag-2", "", genl.FlagSched2}, {"flag-3", "", genl.FlagSched3},
	{"sh-fallback", "sh", genl.FlagSched1}, {"sh-port", "sh", genl.FlagSched2},
	{"mh-fallback", "mh", genl.FlagSched1}, {"mh-port", "mh", genl.FlagSched2},
}

// flags reads -b.
func (p *parser) flags(s *genl.Service) error {
	w := p.by[flagsGroup]
next:
	for name := range strings.SplitSeq(w.value, ",") {
		if name == "" {
			continue
		}
		for _, f := range schedulerFlags {
			if f.name != name {
				continue
			}
			if f.scheduler != "" && f.scheduler != s.Scheduler {
				return misuse("%s %s is a flag of the scheduler %s, not of %s; add -s %[3]s", w.typed, name, f.scheduler, s.Scheduler)
			}
			s.Flags |= f.bit
			continue next
		}
		return misuse("%s %q is no scheduler flag; there are sh-fallback, sh-port, mh-fallback, mh-port, flag-1, flag-2 and flag-3, with commas between", w.typed, name)
	}
	return nil
}

// format reads how a listing shall look.
func (p *parser) format() (Format, error) {
	for _, e := range excludes {
		if p.has(e[0]) && p.has(e[1]) {
			return Format{}, misuse("%s and %s are two different listings; give one", p.by[e[0]].typed, p.by[e[1]].typed)
		}
	}
	if err := p.number(syncIDGroup, 0, 255, func(int64) {}); err != nil {
		return Format{}, err
	}
	return Format{
		Connections: p.has(connectionGroup), Timeout: p.has(timeoutGroup), Daemon: p.has(daemonGroup),
		Stats: p.has(statsGroup), Rate: p.has(rateGroup), Thresholds: p.has(thresholdsGroup),
		Persistent: p.has(persistentConnGroup), Tunnel: p.has(tunInfoGroup),
		Numeric: p.has(numericGroup), Exact: p.has(exactGroup), Unsorted: p.has(unsortedGroup),
	}, nil
}

// timeouts reads the three values of --set.
func timeouts(values []string) (genl.Timeouts, error) {
	if len(values) != 3 {
		return genl.Timeouts{}, misuse("--set needs three timeouts in seconds: TCP TCPFIN UDP (0 leaves one as it is); there are %d", len(values))
	}
	var n [3]uint32
	for i, v := range values {
		x, err := number(v, 0, maxTimeout)
		if err != nil {
			return genl.Timeouts{}, misuse("--set: timeout %q: %w", v, err)
		}
		n[i] = uint32(x)
	}
	return genl.Timeouts{TCP: n[0], TCPFin: n[1], UDP: n[2]}, nil
}

// daemon reads --start-daemon and --stop-daemon.
func (p *parser) daemon() (genl.Daemon, error) {
	var d genl.Daemon
	switch p.verb.value {
	case "master":
		d.State = genl.DaemonMaster
	case "backup":
		d.State = genl.DaemonBackup
	default:
		return d, misuse("%s %q: there are master and backup", p.verb.typed, p.verb.value)
	}
	if p.verb.verb == StartDaemon {
		d.Interface = syncInterface
	}
	if w := p.by[interfaceGroup]; w.value != "" {
		if len(w.value) > maxName {
			return d, misuse("%s %q: no interface has a name of more than %d bytes", w.typed, w.value, maxName)
		}
		d.Interface = w.value
	}
	if w, ok := p.by[multicastGroup]; ok {
		a, err := netip.ParseAddr(w.value)
		if err != nil || !a.IsMulticast() || a.Zone() != "" || a.Is4In6() {
			return d, misuse("%s %q is no multicast address; write one such as 224.0.0.81 or ff05::8848", w.typed, w.value)
		}
		d.Group = a
	}
	for _, o := range []struct {
		group     group
		low, high int64
		into      func(int64)
	}{
		{syncIDGroup, 0, 255, func(n int64) { d.ID = uint8(n) }},
		{maxLenGroup, 1, maxMessage, func(n int64) { d.MaxLen = uint16(n) }},
		{multicastPortGroup, 1, 65535, func(n int64) { d.Port = uint16(n) }},
		{ttlGroup, 1, 255, func(n int64) { d.TTL = uint8(n) }},
	} {
		if err := p.number(o.group, o.low, o.high, o.into); err != nil {
			return d, err
		}
	}
	return d, nil
}
