package accept

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// host moves the test into a namespace with 10.0.0.1 and fd00::1, and the virtual
// addresses 10.0.0.100 and fd00::100, and returns one of a client beside it.
func host(t *testing.T) (ours, client netns.NsHandle) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root, and this is uid", os.Geteuid())
	}
	runtime.LockOSThread() // for good: the thread ends with the test's goroutine
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	client, err := netns.New()
	check("make namespace", err)
	t.Cleanup(func() { client.Close() })
	ours, err = netns.New()
	check("make namespace", err)
	t.Cleanup(func() { ours.Close() })
	check("add veth", netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "va"}, PeerName: "vb", PeerNamespace: netlink.NsFd(client)}))
	theirs, err := netlink.NewHandleAt(client)
	check("open handle", err)
	defer theirs.Close()
	mine, err := netlink.NewHandleAt(ours)
	check("open handle", err)
	defer mine.Close()
	for name, end := range map[string]struct {
		handle    *netlink.Handle
		addresses []string
	}{
		"va": {mine, []string{"10.0.0.1/24", "10.0.0.100/24", "fd00::1/64", "fd00::100/64"}},
		"vb": {theirs, []string{"10.0.0.2/24", "fd00::2/64"}},
	} {
		l, err := end.handle.LinkByName(name)
		check("find link", err)
		for _, text := range end.addresses {
			a, err := netlink.ParseAddr(text)
			check("parse address", err)
			a.Flags = unix.IFA_F_NODAD
			check("add address", end.handle.AddrAdd(l, a))
		}
		check("set up", end.handle.LinkSetUp(l))
	}
	for name, handle := range map[string]*netlink.Handle{"va": mine, "vb": theirs} {
		for deadline := time.Now().Add(5 * time.Second); ; runtime.Gosched() {
			l, err := handle.LinkByName(name)
			check("find link", err)
			if l.Attrs().OperState == netlink.OperUp {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s is %v, want up", name, l.Attrs().OperState)
			}
		}
	}
	return ours, client
}

// answers reports whether the client gets through to an address: by TCP (a reset
// will do), by UDP (an echo), and by ping.
func answers(t *testing.T, ours, client netns.NsHandle, address string) (by []string) {
	t.Helper()
	echo, err := net.ListenPacket("udp", net.JoinHostPort(address, "7"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 100)
		for {
			n, from, err := echo.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = echo.WriteTo(b[:n], from)
		}
	}()
	defer func() { echo.Close(); <-done }()
	if err := netns.Set(client); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := netns.Set(ours); err != nil {
			t.Fatal(err)
		}
	}()
	const wait = 300 * time.Millisecond
	if c, err := net.DialTimeout("tcp", net.JoinHostPort(address, "80"), wait); err == nil || errors.Is(err, unix.ECONNREFUSED) {
		by = append(by, "tcp")
		if err == nil {
			c.Close()
		}
	}
	network, ping, pong := "ip4:icmp", []byte{8, 0, 0xf5, 0xfd, 1, 1, 1, 1}, byte(0)
	if netip.MustParseAddr(address).Is6() {
		network, ping, pong = "ip6:ipv6-icmp", []byte{128, 0, 0, 0, 1, 1, 1, 1}, 129
	}
	for _, way := range []struct {
		name, network, address string
		message                []byte
		good                   func(b []byte) bool
	}{
		{"udp", "udp", net.JoinHostPort(address, "7"), []byte("hello"), func(b []byte) bool { return string(b) == "hello" }},
		{"ping", network, address, ping, func(b []byte) bool { return len(b) > 20 && b[20] == pong || len(b) > 0 && b[0] == pong }},
	} {
		c, err := net.Dial(way.network, way.address)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SetDeadline(time.Now().Add(wait)); err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(way.message)
		b := make([]byte, 100)
		for {
			n, err := c.Read(b)
			if err != nil {
				break
			}
			if way.good(b[:n]) {
				by = append(by, way.name)
				break
			}
		}
		c.Close()
	}
	return by
}

// resolved reports whether the client has found out the hardware address, and
// forgets it.
func resolved(t *testing.T, client netns.NsHandle, address string) bool {
	t.Helper()
	h, err := netlink.NewHandleAt(client)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	vb, err := h.LinkByName("vb")
	if err != nil {
		t.Fatal(err)
	}
	list, err := h.NeighList(vb.Attrs().Index, netlink.FAMILY_ALL)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range list {
		if n.IP.Equal(net.ParseIP(address)) && len(n.HardwareAddr) == 6 {
			return h.NeighDel(&n) == nil
		}
	}
	return false
}

// probe has the client ask an address itself, as it does to make sure of a
// neighbour that it knows already.
func probe(t *testing.T, client netns.NsHandle, address string) {
	t.Helper()
	h, err := netlink.NewHandleAt(client)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	va, err := netlink.LinkByName("va")
	if err != nil {
		t.Fatal(err)
	}
	vb, err := h.LinkByName("vb")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.NeighSet(&netlink.Neigh{
		LinkIndex: vb.Attrs().Index, State: netlink.NUD_PROBE, IP: net.ParseIP(address), HardwareAddr: va.Attrs().HardwareAddr,
	}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		list, err := h.NeighList(vb.Attrs().Index, netlink.FAMILY_ALL)
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(list, func(n netlink.Neigh) bool {
			return n.IP.Equal(net.ParseIP(address)) && n.State == netlink.NUD_REACHABLE
		}) {
			return
		}
	}
	t.Errorf("%s does not answer the client's probe", address)
}

var everything = []string{"tcp", "udp", "ping"}

func TestNetnsAcceptFalse(t *testing.T) {
	ours, client := host(t)
	if err := Preflight(); err != nil {
		t.Fatal(err)
	}
	k := New(Options{})
	all := []string{"10.0.0.1", "10.0.0.100", "fd00::1", "fd00::100"}
	look := func(what string, kept ...string) {
		t.Helper()
		for _, a := range all {
			want := everything
			if slices.Contains(kept, a) {
				want = nil
			}
			got := answers(t, ours, client, a)
			if !slices.Equal(got, want) {
				t.Errorf("%s: %s answers by %v, want %v", what, a, got, want)
			}
			if !resolved(t, client, a) {
				t.Errorf("%s: nobody answers for the hardware address of %s", what, a)
			}
		}
	}
	check := func() {
		t.Helper()
		if err := k.Check(); err != nil {
			t.Fatal(err)
		}
	}
	check()
	look("before")
	vips := addresses("10.0.0.100", "fd00::100")
	k.Set(vips)
	check()
	look("set", "10.0.0.100", "fd00::100")

	again := New(Options{})
	again.Set(vips)
	if same, err := (kernel{}).same(vips); !same || err != nil {
		t.Fatalf("after another start: %v, %v", same, err)
	}
	k.Set(addresses("10.0.0.100"))
	check()
	look("one less", "10.0.0.100")

	k.Set(vips)
	check()
	probe(t, client, "fd00::100")
	probe(t, client, "10.0.0.100")
	c, err := (kernel{}).conn()
	if err != nil {
		t.Fatal(err)
	}
	ours1 := &nftables.Table{Family: nftables.TableFamilyINet, Name: table}
	chain1 := &nftables.Chain{Table: ours1, Name: chain}
	for _, hand := range []struct {
		name string
		do   func()
	}{
		{"flush ruleset", c.FlushRuleset},
		{"flush the table", func() { c.FlushTable(ours1) }},
		{"empty a set", func() { c.FlushSet(&nftables.Set{Table: ours1, Name: "ipv6"}) }},
		{"add a rule", func() {
			c.InsertRule(&nftables.Rule{Table: ours1, Chain: chain1, Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}})
		}},
		{"add an address", func() {
			_ = c.SetAddElements(&nftables.Set{Table: ours1, Name: "ipv4", KeyType: nftables.TypeIPAddr}, []nftables.SetElement{{Key: []byte{10, 0, 0, 1}}})
		}},
		{"delete the table", func() { c.DelTable(ours1) }},
	} {
		hand.do()
		if err := c.Flush(); err != nil {
			t.Fatalf("%s: %v", hand.name, err)
		}
		if same, err := (kernel{}).same(vips); same || err != nil {
			t.Errorf("%s: same %v, %v", hand.name, same, err)
		}
		check()
		if same, err := (kernel{}).same(vips); !same || err != nil {
			t.Errorf("%s, put right: same %v, %v", hand.name, same, err)
		}
	}
	look("put right", "10.0.0.100", "fd00::100")

	k.Set(nil)
	check()
	look("removed")
	tables, err := c.ListTables()
	if err != nil || len(tables) > 0 {
		t.Errorf("in the end there are %d tables, %v", len(tables), err)
	}
}

func TestNetnsManyAddresses(t *testing.T) {
	host(t)
	var many []netip.Addr
	for i := range 20000 {
		if i%2 == 0 {
			many = append(many, netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}))
		} else {
			many = append(many, netip.AddrFrom16([16]byte{0: 0xfd, 14: byte(i >> 8), 15: byte(i)}))
		}
	}
	k := New(Options{})
	k.Set(many)
	begin := time.Now()
	if err := k.Check(); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(many, netip.Addr.Compare)
	set := time.Since(begin)
	begin = time.Now()
	if same, err := (kernel{}).same(many); !same || err != nil {
		t.Errorf("same: %v, %v", same, err)
	}
	t.Logf("20,000 addresses: set in %v, compared in %v", set, time.Since(begin))
}
