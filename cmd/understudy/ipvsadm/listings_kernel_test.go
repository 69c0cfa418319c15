package ipvsadm_test

import (
	"encoding/json"
	"errors"
	"flag"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
	"github.com/understudy-ha/understudy/integration/vm"
)

var update = flag.Bool("update", false, "rewrite the recordings in testdata from what Debian's ipvsadm prints (in the user-mode kernel)")

// listings are the listings that both programs have.
var listings = []string{
	"", "-L", "-l", "-Ln", "-L -n --sort", "-Ln --nosort", "-L --exact",
	"-Ln --stats", "-L --stats", "-Ln --stats --exact", "-Ln --stats --nosort",
	"-Ln --rate", "-L --rate", "-Ln --rate -X",
	"-Ln --thresholds", "-L --thresholds", "-Ln --persistent-conn", "-L --persistent-conn", "-Ln --tun-info", "-L --tun-info",
	"-Ln --stats --rate", "-Ln --rate --thresholds", "-Ln --thresholds --persistent-conn", "-Ln --persistent-conn --tun-info",
	"-L -t 10.9.0.1:80", "-Ln -t 10.9.0.1:80", "-Ln -u 10.9.0.1:53 --stats", "-Ln -t [2001:db8::9]:80 --thresholds", "-L -f 7", "-Ln -f 8 -6",
	"-Lc", "-Lcn", "-Lcn --persistent-conn", "-Lc --persistent-conn", "-Lcn --exact --tun-info --nosort",
	"-L --timeout", "-Ln --timeout --exact", "-L --syncid 3",
	"-S", "-Sn", "-S -n --sort",
}

// wideRules make a table with everything in it that a listing can show.
const wideRules = `
-A -t 10.0.0.1:80 -s rr
-A -t 192.0.2.1:80 -p 20
-A -t 100.64.0.1:443 -p -M 255.255.255.0
-A -t 200.64.0.1:8 -s mh -b mh-port,mh-fallback
-A -t 224.64.0.1:8 -s sh -b sh-port
-A -u 50.64.0.1:8080 -o -s rr -b flag-1,flag-3
-A -t 50.64.0.1:8080
-A --sctp-service 50.64.0.1:80 -s fo
-A -t 10.9.0.1:0 -p 3600 -M 0.0.0.0
-A -t 10.9.1.1:8080
-A -u 10.9.0.1:69 -p 100 -s sh -b sh-port,sh-fallback -o -M 255.255.255.0 --pe sip
-A -t 10.9.0.1:69 --pe sip
-A -t [fe80::1]:65535 -s lblcr -p 300
-A -t [8000::1]:655
-A -t [::10.1.2.3]:80
-A -t [::ffff:10.1.2.3]:80
-A -t [1::1]:655 -p -M 64
-A -f 3
-A -f 3 -6
-A -f 4294967295
-A -f 2147483647
-A -t 10.9.0.1:80
-a -t 10.9.0.1:80 -r 10.9.0.2 -w 7 -x 50 -y 3
-a -t 10.9.0.1:80 -r 10.9.0.3 -w 0
-a -t 10.9.0.1:80 -r 10.9.0.4:8080 -m
-a -t 10.9.0.1:80 -r 10.9.0.5:8080 -m -w 2147483647 -x 2147483647
-a -t 10.9.0.1:80 -r 200.1.1.1 -i
-a -t 10.9.0.1:80 -r 130.1.1.1 -i --tun-type gue --tun-port 6080
-a -t 10.9.0.1:80 -r 127.0.0.1 -i --tun-type gue --tun-port 65535 --tun-csum
-a -t 10.9.0.1:80 -r 240.1.1.1 -i --tun-type gue --tun-port 1 --tun-remcsum
-a -t 10.9.0.1:80 -r 10.0.0.1 -i --tun-type gre
-a -t 10.9.0.1:80 -r 10.0.0.2 -i --tun-type gre --tun-csum
-a -t 10.9.0.1:80 -r 2001:db8::8 -i
-a -t 10.9.0.1:80 -r 9000::8 -i
-A -u 10.9.0.1:53
-a -u 10.9.0.1:53 -r 10.9.0.2:5353 -m -x 5 -y 3
-A -u 10.9.0.1:8080 -p 100 -M 255.255.255.0
-a -u 10.9.0.1:8080 -r 10.9.0.5:9000 -m
-A -u 10.9.0.1:5060 -p 100 --pe sip
-a -u 10.9.0.1:5060 -r 10.9.0.3:5060 -m
-A -t [2001:db8::9]:80 -p 200 -M 128
-a -t [2001:db8::9]:80 -r [2001:db8:1111:2222:3333:4444:5555:6666]:8080 -m -x 3
-a -t [2001:db8::9]:80 -r [2001:db8::8]:80 -i -w 0
-a -t [2001:db8::9]:80 -r 10.9.0.2 -i -w 0
-A -u [2001:db8::9]:53 -p 100 -M 64
-a -u [2001:db8::9]:53 -r [2001:db8:1111:2222:3333:4444:5555:6666]:5353 -m
-A -f 7 -p 100
-a -f 7 -r 10.9.0.2
-A -f 8 -6 -p 100 -o -s mh -b mh-port
-a -f 8 -6 -r 2001:db8::9
-a -f 8 -6 -r 10.9.0.5:80 -i
`

// recording is the table that the recordings in testdata show.
type recording struct {
	Info         genl.Info
	Timeouts     genl.Timeouts
	Services     []genl.Service
	Destinations [][]genl.Destination // of each service
}

func TestKernelListings(t *testing.T) {
	r := needKernel(t)
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{"10.9.0.1/32", "10.9.0.2/32", "10.9.0.3/32", "10.9.0.4/32", "10.9.0.5/32",
		"2001:db8::9/128", "2001:db8:1111:2222:3333:4444:5555:6666/128"} {
		address, err := netlink.ParseAddr(a)
		if err != nil {
			t.Fatal(err)
		}
		address.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(lo, address); err != nil && !errors.Is(err, syscall.EEXIST) {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = netlink.AddrDel(lo, address) })
	}
	if vm.Inside() { // a machine of our own, where names may be what they will
		for _, name := range []string{"hosts", "services"} {
			target := "/etc/" + name
			if err := unix.Mount(filepath.Join("testdata", name), target, "", unix.MS_BIND, ""); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = unix.Unmount(target, 0) })
		}
		r.names = systemNames()
	}

	if res := r.ours(wideRules, "-R"); res.status != 0 {
		t.Fatal(res.stderr)
	}
	// On the director itself: no option asks for it, but the kernel takes it.
	local := genl.Destination{Address: mustAddr("10.9.0.1"), Port: 81, Method: genl.LocalNode, Weight: 1}
	mustDo(t, r.conn, genl.Message{Op: genl.NewDest, Service: genl.Service{ServiceID: serviceID("10.0.0.1:80")}, Dest: local})
	if res := r.ours("", "--set", "901", "121", "0"); res.status != 0 {
		t.Fatal(res.stderr)
	}
	t.Cleanup(func() { r.ours("", "--set", "900", "120", "0") })
	traffic(t, r.conn)

	if *update {
		r.record()
	}
	for _, l := range listings {
		want, got := r.still(strings.Fields(l))
		if want.status != 0 || want.stdout == "" {
			t.Errorf("ipvsadm %s: %+v", l, want)
		}
		got.stderr, want.stderr = "", ""
		if strings.HasPrefix(l, "-S") { // a mark that Debian's could not restore
			got.stdout = strings.ReplaceAll(got.stdout, "-f 4294967295", "-f -1")
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(result{})); d != "" {
			t.Errorf("%s (-ipvsadm +ours):\n%s", l, d)
		}
	}
}

// TestKernelDaemons starts and stops synchronisation daemons with one program
// and looks at them with both.
func TestKernelDaemons(t *testing.T) {
	r := needKernel(t)
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.ours("--stop-daemon master\n--stop-daemon backup\n", "-R") })
	for _, s := range []string{
		"--start-daemon master --mcast-interface lo",
		"--start-daemon=backup --mcast-interface=lo --syncid 7 --sync-maxlen 1000 --mcast-group 224.0.0.99 --mcast-port 9999 --mcast-ttl 3",
		"--start-daemon master --mcast-interface lo", // runs already
		"--stop-daemon backup",
		"--stop-daemon backup", // does not run
		"--start-daemon backup --mcast-interface lo --syncid 255 --mcast-group ff02::1:81",
		"--stop-daemon=master --syncid 1",
	} {
		args := strings.Fields(s)
		got := r.ours("", args...)
		ourTable := r.theirs("", "-L", "--daemon").stdout
		if listed := r.ours("", "-L", "--daemon").stdout; listed != ourTable {
			t.Errorf("after %s: -L --daemon prints %q, ipvsadm's %q", s, listed, ourTable)
		}
		// Undone and done again by the other program, it comes to the same.
		if got.status == 0 {
			undo := strings.Replace(args[0], "start", "stop", 1)
			if undo != args[0] {
				role := strings.TrimPrefix(strings.Join(args, "="), "--start-daemon=")
				role, _, _ = strings.Cut(role, "=")
				r.theirs("", "--stop-daemon", role)
				if res := r.theirs("", args...); res.status != 0 {
					t.Fatalf("ipvsadm %s: %s", s, res.stderr)
				}
			}
		} else if want := r.theirs("", args...); want.status != got.status {
			t.Errorf("%s: %+v, ipvsadm %+v", s, got, want)
		}
		if table := r.theirs("", "-L", "--daemon").stdout; table != ourTable {
			t.Errorf("%s makes %q, ipvsadm's %q", s, ourTable, table)
		}
	}
}

// still runs both programs at a moment when the counters stand still.
func (r *rig) still(args []string) (theirs, ours result) {
	r.t.Helper()
	for range 50 {
		theirs = r.theirs("", args...)
		ours = r.ours("", args...)
		if r.theirs("", args...) == theirs {
			return theirs, ours
		}
	}
	r.t.Fatalf("ipvsadm %v prints something else every time", args)
	return
}

// traffic makes connections of many kinds, and more than 100 MB of them one.
func traffic(t *testing.T, conn *genl.Conn) {
	t.Helper()
	sink, err := net.ListenPacket("udp", "10.9.0.2:5353") // refusals would end the traffic
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	send := func(address, text string, mark int) {
		t.Helper()
		dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark) })
		}}
		c, err := dialer.Dial("udp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatalf("send to %s: %v", address, err)
		}
	}
	send("10.9.0.1:8080", "x", 0)
	send("[2001:db8::9]:53", "x", 0)
	send("10.9.0.1:7777", "x", 7)
	for _, id := range []string{"first", "second"} {
		send("10.9.0.1:5060", "REGISTER sip:a@b SIP/2.0\r\nVia: x\r\nCall-ID: "+id+"@192.0.2.1\r\n\r\n", 0)
	}
	for range 4 {
		if c, err := net.Dial("tcp", "10.9.0.1:80"); err == nil {
			c.Close() // nobody listens; the kernel has noted it all the same
		}
	}
	if c, err := net.Dial("tcp", "[2001:db8::9]:80"); err == nil {
		c.Close()
	}

	many, err := net.Dial("udp", "10.9.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	defer many.Close()
	id := serviceID("10.9.0.1:53")
	id.Protocol = unix.IPPROTO_UDP
	buffer := make([]byte, 60000)
	for begin := time.Now(); ; {
		for range 100 {
			_, _ = many.Write(buffer)
		}
		list, err := conn.Destinations(t.Context(), id)
		if err != nil || len(list) != 1 {
			t.Fatalf("%v, %v", list, err)
		}
		if list[0].Stats.InBytes > 130e6 {
			break
		}
		if time.Since(begin) > 30*time.Second {
			t.Fatalf("only %d bytes through the service", list[0].Stats.InBytes)
		}
	}
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) { // until the kernel's estimator has added up
		s, err := conn.Service(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if s.Stats.InBytes > 100e6 && s.Stats.InBPS > 0 {
			return
		}
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("no counters at the service: %+v", s.Stats)
		}
	}
}

// record writes the table and what Debian's program prints of it to testdata,
// for the tests without a kernel.
func (r *rig) record() {
	t := r.t
	t.Helper()
	if !vm.Inside() {
		t.Fatal("-update is for the user-mode kernel, with testdata/hosts and testdata/services in their places")
	}
	read := func() (a recording) {
		var err error
		ctx := t.Context()
		if a.Services, err = r.conn.Services(ctx); err != nil {
			t.Fatal(err)
		}
		for _, s := range a.Services {
			list, err := r.conn.Destinations(ctx, s.ServiceID)
			if err != nil {
				t.Fatal(err)
			}
			a.Destinations = append(a.Destinations, list)
		}
		a.Info, _ = r.conn.Info(ctx)
		a.Timeouts, _ = r.conn.Timeouts(ctx)
		return a
	}
	connections := func() string {
		text, err := os.ReadFile("/proc/net/ip_vs_conn")
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	var ofConnections, ofTable []string
	for _, l := range listings {
		if strings.HasPrefix(l, "-Lc") {
			ofConnections = append(ofConnections, l)
		} else {
			ofTable = append(ofTable, l)
		}
	}
	print := func(list []string) string {
		var text strings.Builder
		for _, l := range list {
			text.WriteString("$ ipvsadm " + l + "\n" + r.theirs("", strings.Fields(l)...).stdout)
		}
		return text.String()
	}
	// The counters and the seconds left have to stand still meanwhile.
	record := func(name string, state func() string, list []string) string {
		for range 300 {
			before := state()
			text := print(list)
			if before == state() {
				if err := os.WriteFile(filepath.Join("testdata", name), []byte(before), 0o644); err != nil {
					t.Fatal(err)
				}
				return text
			}
		}
		t.Fatalf("%s never stood still for long enough", name)
		return ""
	}
	text := record("ip_vs_conn", connections, ofConnections)
	text += record("table.json", func() string {
		table, err := json.MarshalIndent(read(), "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		return string(table) + "\n"
	}, ofTable)
	if err := os.WriteFile("testdata/listings.txt", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
