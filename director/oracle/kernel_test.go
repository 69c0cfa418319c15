package oracle_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
	"github.com/understudy-ha/understudy/director/oracle"
)

// The tests in this file send packets through IPVS, in network namespaces that
// they make, and compare the kernel's choices with the oracle's. They want root
// and a kernel with IPVS: integration runs this package's test binary in one.

// kernelEnv says that this machine's IPVS may be used.
const kernelEnv = "UNDERSTUDY_TEST_IPVS"

// clients is how many ask in each case.
const clients = 600

// bench is a kernel with a service.
type bench struct {
	t    *testing.T
	conn *genl.Conn
	id   genl.ServiceID
	q    oracle.Question
}

// needKernel skips the test where there is no IPVS that it may use.
func needKernel(t *testing.T) {
	t.Helper()
	if os.Getenv(kernelEnv) == "" {
		t.Skip("would change the IPVS table of this machine: set " + kernelEnv + "=table if it may")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root to change the IPVS table")
	}
	if _, err := netlink.GenlFamilyGet("IPVS"); err != nil {
		t.Skipf("needs a kernel with IPVS: look for its generic netlink family: %v", err)
	}
}

// newBench takes the test into a network namespace of its own, which ends with
// it, and with it the connections: there is no other way to be rid of them.
func newBench(t *testing.T) *bench {
	t.Helper()
	runtime.LockOSThread() // for good: the thread ends with the goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("make network namespace: %v", err)
	}
	c, err := genl.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	b := &bench{t: t, conn: c}
	b.network()
	return b
}

// present is the connection table of the namespace that this thread is in.
const present = "/proc/thread-self/net/ip_vs_conn"

// network makes every address of the clients and services local, and the
// servers' ones reachable through an interface that loses everything.
func (b *bench) network() {
	b.t.Helper()
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		b.t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		b.t.Fatal(err)
	}
	hole := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "hole"}}
	if err := netlink.LinkAdd(hole); err != nil {
		b.t.Fatal(err)
	}
	link, err := netlink.LinkByName("hole")
	if err != nil {
		b.t.Fatal(err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		b.t.Fatal(err)
	}
	for prefix, index := range map[string]int{
		"10.50.0.0/15": lo.Attrs().Index, "2001:db8:50::/47": lo.Attrs().Index,
		"10.60.0.0/16": link.Attrs().Index, "2001:db8:60::/48": link.Attrs().Index,
	} {
		p := netip.MustParsePrefix(prefix)
		kind := unix.RTN_LOCAL
		if index != lo.Attrs().Index {
			kind = unix.RTN_UNICAST
		}
		dst, err := netlink.ParseIPNet(p.String())
		if err != nil {
			b.t.Fatal(err)
		}
		route := &netlink.Route{LinkIndex: index, Dst: dst, Type: kind}
		if kind == unix.RTN_LOCAL {
			route.Table, route.Scope = unix.RT_TABLE_LOCAL, netlink.SCOPE_HOST
		}
		if err := netlink.RouteReplace(route); err != nil {
			b.t.Fatalf("add route %s: %v", p, err)
		}
	}
}

// do changes the table.
func (b *bench) do(messages ...genl.Message) {
	b.t.Helper()
	errs, err := b.conn.Do(b.t.Context(), messages)
	if err != nil {
		b.t.Fatal(err)
	}
	for i, err := range errs {
		if err != nil {
			b.t.Fatalf("%+v: %v", messages[i], err)
		}
	}
}

// read takes the service from the kernel, as a command does.
func (b *bench) read() {
	b.t.Helper()
	var err error
	if b.q.Service, err = b.conn.Service(b.t.Context(), b.id); err != nil {
		b.t.Fatal(err)
	}
	if b.q.Destinations, err = b.conn.Destinations(b.t.Context(), b.id); err != nil {
		b.t.Fatal(err)
	}
}

// scan reads the kernel's connections.
func (b *bench) scan(client, to netip.AddrPort) oracle.Found {
	b.t.Helper()
	f, err := os.Open(present)
	if err != nil {
		b.t.Fatal(err)
	}
	defer f.Close()
	q := b.q
	q.Client, q.To = client, to
	found, err := oracle.Scan(f, q)
	if err != nil {
		b.t.Fatal(err)
	}
	return found
}

// ask asks the oracle.
func (b *bench) ask(client, to netip.AddrPort, found oracle.Found) oracle.Answer {
	b.t.Helper()
	q := b.q
	q.Client, q.To = client, to
	a, err := oracle.Ask(q, found)
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

// send sends a UDP packet. That it goes nowhere is known.
func (b *bench) send(client, to netip.AddrPort, mark uint32) {
	b.t.Helper()
	family, level, free := unix.AF_INET, unix.SOL_IP, unix.IP_FREEBIND
	if client.Addr().Is6() {
		family, level, free = unix.AF_INET6, unix.SOL_IPV6, unix.IPV6_FREEBIND
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, level, free, 1); err != nil {
		b.t.Fatal(err)
	}
	if mark != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := unix.Bind(fd, sockaddr(client)); err != nil {
		b.t.Fatalf("bind %s: %v", client, err)
	}
	_ = unix.Sendto(fd, []byte("?"), 0, sockaddr(to)) // refused where there is no server
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is6() {
		return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
}

// random returns a client of one of n networks (/24 or /64; 0: any).
func random(r *rand.Rand, is6 bool, n int) netip.AddrPort {
	net := byte(r.Uint32())
	if n > 0 {
		net = byte(r.IntN(n))
	}
	port := uint16(1024 + r.IntN(60000))
	if !is6 {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 50, net, byte(r.Uint32())}), port)
	}
	a := netip.MustParseAddr("2001:db8:50::").As16()
	a[7] = net
	for i := 8; i < 16; i++ {
		a[i] = byte(r.Uint32())
	}
	return netip.AddrPortFrom(netip.AddrFrom16(a), port)
}

// TestKernelAgrees sends packets of many clients through every kind of service
// and compares each choice of the kernel's with the oracle's.
func TestKernelAgrees(t *testing.T) {
	needKernel(t)
	for i, r := range rows() {
		t.Run(r.name, func(t *testing.T) { newBench(t).run(r, uint16(2000+i)) })
	}
}

// TestKernelLoweredThreshold shows that a server whose upper threshold was set
// below its connections gets one more, and that the answer for it is in doubt.
func TestKernelLoweredThreshold(t *testing.T) {
	needKernel(t)
	b, r := newBench(t), row{sched: "fo", weights: []int32{9, 1}}
	to := netip.MustParseAddrPort("10.51.0.1:1999")
	b.id = genl.ServiceID{Family: unix.AF_INET, Protocol: unix.IPPROTO_UDP, Address: to.Addr(), Port: to.Port()}
	b.q = oracle.Question{Kernel: oracle.Kernel{ReuseMode: 1}}
	s := genl.Service{ServiceID: b.id, Scheduler: r.sched, Netmask: 0xffffffff}
	b.do(genl.Message{Op: genl.NewService, Service: s},
		genl.Message{Op: genl.NewDest, Service: s, Dest: r.server(0)}, genl.Message{Op: genl.NewDest, Service: s, Dest: r.server(1)})
	client := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.MustParseAddr("10.50.0.1"), uint16(5000+i))
	}
	for i := range 3 {
		b.send(client(i), to, 0)
	}
	r.upper = 2
	r.set(b, 0, 9)
	b.read()
	a := b.ask(client(3), to, oracle.Found{})
	b.send(client(3), to, 0)
	if got := b.choices(to)[[2]netip.AddrPort{client(3), to}]; a.Certain || !same(netip.AddrPortFrom(r.server(0).Address, r.server(0).Port), got) {
		t.Errorf("the kernel chose %v, the oracle says\n%s", got, a.Text())
	}
	b.read()
	a = b.ask(client(4), to, oracle.Found{})
	b.send(client(4), to, 0)
	if got := b.choices(to)[[2]netip.AddrPort{client(4), to}]; !same(a.Server, got) {
		t.Errorf("then the kernel chose %v, the oracle says\n%s", got, a.Text())
	}
}

// run is one row, at a port of its own.
func (b *bench) run(r row, port uint16) {
	to := netip.AddrPortFrom(netip.MustParseAddr("10.51.0.1"), port)
	b.id = genl.ServiceID{Family: unix.AF_INET, Protocol: unix.IPPROTO_UDP, Address: to.Addr(), Port: port}
	mask := ^uint32(0) << (32 - r.mask)
	if r.mask == 0 {
		mask = ^uint32(0)
	}
	if r.six {
		to = netip.AddrPortFrom(netip.MustParseAddr("2001:db8:51::1"), port)
		b.id = genl.ServiceID{Family: unix.AF_INET6, Protocol: unix.IPPROTO_UDP, Address: to.Addr(), Port: port}
		if mask = r.mask; mask == 0 {
			mask = 128
		}
	}
	if r.mark != 0 {
		b.id = genl.ServiceID{Family: b.id.Family, FWMark: r.mark}
	}
	s := genl.Service{ServiceID: b.id, Scheduler: r.sched, Flags: r.flags, Netmask: mask}
	if r.flags&persist != 0 {
		s.Timeout = 300
	}
	messages := []genl.Message{{Op: genl.NewService, Service: s}}
	for i := range r.weights {
		messages = append(messages, genl.Message{Op: genl.NewDest, Service: s, Dest: r.server(i)})
	}
	b.do(messages...)
	for i := range r.last {
		if r.weights[i] > 0 {
			r.set(b, i, 0)
		}
	}
	if r.again {
		b.do(genl.Message{Op: genl.DelDest, Service: s, Dest: r.server(2)}, genl.Message{Op: genl.DelDest, Service: s, Dest: r.server(0)},
			genl.Message{Op: genl.NewDest, Service: s, Dest: r.server(2)}, genl.Message{Op: genl.NewDest, Service: s, Dest: r.server(0)})
	}
	b.q = oracle.Question{Kernel: oracle.Kernel{ReuseMode: 1}, LastWeights: map[netip.AddrPort]int32{}}
	for i, w := range r.last {
		d := r.server(i)
		b.q.LastWeights[netip.AddrPortFrom(d.Address, d.Port)] = w
	}
	b.read()
	if len(b.q.Destinations) != len(r.weights) {
		b.t.Fatalf("the kernel has %d servers, want %d", len(b.q.Destinations), len(r.weights))
	}
	b.compare(r, to)
}

// compare sends the packets.
func (b *bench) compare(r row, to netip.AddrPort) {
	type trial struct {
		client, to netip.AddrPort
		answer     oracle.Answer
	}
	random := func(rnd *rand.Rand) trial {
		x := trial{client: random(rnd, r.six, r.nets), to: to}
		if r.many {
			x.to = netip.AddrPortFrom(random(rnd, r.six, 0).Addr(), to.Port())
		}
		return x
	}
	rnd := rand.New(rand.NewPCG(1, uint64(to.Port())))
	known := map[netip.AddrPort]bool{}
	templates := map[netip.Prefix]oracle.Found{}
	var trials []trial
	by := map[string]int{}
	for len(trials) < clients {
		x := random(rnd)
		if known[x.client] {
			continue
		}
		known[x.client] = true
		var found oracle.Found
		if r.step {
			b.read()
		}
		if r.flags&persist != 0 { // once it is there, a network's template stays
			p, _ := x.client.Addr().Prefix(int(r.mask))
			if found = templates[p]; found.Template == nil {
				found = b.scan(x.client, x.to)
				templates[p] = found
			}
		}
		x.answer = b.ask(x.client, x.to, found)
		b.send(x.client, x.to, r.mark)
		trials = append(trials, x)
		by[fmt.Sprint(x.answer.By, " ", x.answer.Verdict)]++
		if !r.step {
			continue
		}
		if r.flags&persist == 0 && len(r.weights) > 2 && len(trials)%50 == 0 {
			r.set(b, len(r.weights)-1, int32(rnd.IntN(8))) // the load changes under way
		}
		if r.flags&persist != 0 && len(trials) == clients/2 {
			r.set(b, 0, 0)
			d := r.server(0)
			b.q.LastWeights[netip.AddrPortFrom(d.Address, d.Port)] = d.Weight
		}
	}
	chosen := b.choices(to)
	wrong, none, history := 0, 0, 0
	for i, x := range trials {
		got, ok := chosen[[2]netip.AddrPort{x.client, x.to}]
		right := true
		switch x.answer.Verdict {
		case oracle.Given:
			right = ok && same(x.answer.Server, got)
		case oracle.None:
			none++
			right = !ok
		default:
			history++
			right = ok && r.sched == "rr"
		}
		if !right {
			if wrong++; wrong < 5 {
				b.t.Errorf("%s to %s: the kernel chose %v, the oracle says\n%s", x.client, x.to, got, x.answer.Text())
			}
		}
		if ok && i%200 == 0 { // now the connection is there, which decides
			if a := b.ask(x.client, x.to, b.scan(x.client, x.to)); a.By != oracle.ByConnection || !same(a.Server, got) {
				b.t.Errorf("%s: the connection to %s is there, the oracle says\n%s", x.client, got, a.Text())
			}
		}
	}
	if wrong > 0 || (none > 0) != r.none || history > r.nets {
		b.t.Errorf("%d of %d clients wrong, %d without server (wanted some: %v), %d undecided of %d networks", wrong, len(trials), none, r.none, history, r.nets)
	}
	b.t.Logf("%d clients, %d wrong; decided by %v", len(trials), wrong, by)
}

// same compares servers; one for every port is entered with the client's port.
func same(answer, got netip.AddrPort) bool {
	return answer == got || answer.Port() == 0 && answer.Addr() == got.Addr()
}

// choices reads the servers of all connections to a port from the kernel.
func (b *bench) choices(to netip.AddrPort) map[[2]netip.AddrPort]netip.AddrPort {
	b.t.Helper()
	text, err := os.ReadFile(present)
	if err != nil {
		b.t.Fatal(err)
	}
	list := map[[2]netip.AddrPort]netip.AddrPort{}
	for line := range lines(text) {
		e, err := oracle.ParseEntry(line)
		if err != nil {
			b.t.Fatalf("%q: %v", line, err)
		}
		if !e.Template() && e.Virtual.Port() == to.Port() {
			list[[2]netip.AddrPort{e.Client, e.Virtual}] = e.Server
		}
	}
	return list
}
