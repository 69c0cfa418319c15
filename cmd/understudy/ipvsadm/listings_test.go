package ipvsadm_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/cmd/understudy/ipvsadm"
	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

var compareAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func mustAddr(s string) netip.Addr { return netip.MustParseAddr(s) }

// serviceID names a TCP service.
func serviceID(s string) genl.ServiceID {
	a := netip.MustParseAddrPort(s)
	id := genl.ServiceID{Family: unix.AF_INET, Protocol: unix.IPPROTO_TCP, Address: a.Addr(), Port: a.Port()}
	if a.Addr().Is6() {
		id.Family = unix.AF_INET6
	}
	return id
}

func mustDo(t *testing.T, conn *genl.Conn, m ...genl.Message) {
	t.Helper()
	results, err := conn.Do(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range results {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func systemNames() *ipvsadm.Names { return ipvsadm.SystemNames() }

// hosts looks names up in a file such as /etc/hosts.
type hosts []string

func (h hosts) LookupNetIP(_ context.Context, network, host string) (found []netip.Addr, err error) {
	err = &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	for _, line := range h {
		f := strings.Fields(line)
		if !slices.Contains(f[1:], host) {
			continue
		}
		if a := mustAddr(f[0]); a.Is4() == (network == "ip4") {
			found = append(found, a)
		} else { // as the net package has it
			err = &net.AddrError{Err: "no suitable address found", Addr: host}
		}
	}
	if found != nil {
		err = nil
	}
	return found, err
}

func (h hosts) LookupAddr(_ context.Context, address string) (found []string, err error) {
	for _, line := range h {
		if f := strings.Fields(line); mustAddr(f[0]) == mustAddr(address) {
			found = append(found, f[1]+".")
		}
	}
	if found == nil {
		err = &net.DNSError{Err: "no such host", Name: address, IsNotFound: true}
	}
	return found, err
}

// testNames are those of testdata.
func testNames(t testing.TB) *ipvsadm.Names {
	t.Helper()
	services, err := os.Open("testdata/services")
	if err != nil {
		t.Fatal(err)
	}
	defer services.Close()
	text, err := os.ReadFile("testdata/hosts")
	if err != nil {
		t.Fatal(err)
	}
	return &ipvsadm.Names{Ports: ipvsadm.ReadPorts(services), Resolver: hosts(strings.Split(strings.TrimSpace(string(text)), "\n"))}
}

// fixed is a kernel with a table that nobody changes.
type fixed struct {
	recording
	daemons []genl.Daemon
	err     error          // of every question
	do      []genl.Message // what was asked for
	fail    map[int]error  // the results of some of it, by number
	lost    error          // the outcome is not known
}

func (k *fixed) Close() error { return nil }

func (k *fixed) Do(_ context.Context, m []genl.Message) ([]error, error) {
	results := make([]error, len(m))
	for i := range m {
		results[i] = k.fail[len(k.do)]
		k.do = append(k.do, m[i])
	}
	return results, k.lost
}

func (k *fixed) Services(context.Context) ([]genl.Service, error) { return k.recording.Services, k.err }

func (k *fixed) index(id genl.ServiceID) int {
	for i, s := range k.recording.Services {
		if s.ServiceID == id {
			return i
		}
	}
	return -1
}

func (k *fixed) Service(_ context.Context, id genl.ServiceID) (genl.Service, error) {
	if i := k.index(id); i >= 0 && k.err == nil {
		return k.recording.Services[i], nil
	}
	if k.err != nil {
		return genl.Service{}, k.err
	}
	return genl.Service{}, unix.ESRCH
}

func (k *fixed) Destinations(_ context.Context, id genl.ServiceID) ([]genl.Destination, error) {
	if i := k.index(id); i >= 0 {
		return append([]genl.Destination(nil), k.recording.Destinations[i]...), k.err
	}
	return nil, k.err
}

func (k *fixed) Daemons(context.Context) ([]genl.Daemon, error) { return k.daemons, k.err }

func (k *fixed) Timeouts(context.Context) (genl.Timeouts, error) {
	return k.recording.Timeouts, k.err
}

func (k *fixed) Info(context.Context) (genl.Info, error) { return k.recording.Info, k.err }

// recorded returns the kernel that the recordings are of.
func recorded(t testing.TB) *fixed {
	t.Helper()
	text, err := os.ReadFile("testdata/table.json")
	if err != nil {
		t.Fatal(err)
	}
	k := &fixed{}
	if err := json.Unmarshal(text, &k.recording); err != nil {
		t.Fatal(err)
	}
	return k
}

// TestListings compares every listing with what Debian's ipvsadm printed of the
// same table.
func TestListings(t *testing.T) {
	text, err := os.ReadFile("testdata/listings.txt")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for part := range strings.SplitSeq("\n"+strings.TrimSuffix(string(text), "\n"), "\n$ ipvsadm ") {
		if part == "" {
			continue
		}
		found++
		line, want, _ := strings.Cut(part+"\n", "\n")
		t.Run(line, func(t *testing.T) {
			var out, notes bytes.Buffer
			p := ipvsadm.Program{
				Names:       testNames(t),
				Open:        func() (ipvsadm.Kernel, error) { return recorded(t), nil },
				Connections: func() (io.ReadCloser, error) { return os.Open("testdata/ip_vs_conn") },
				Stdout:      &out,
				Stderr:      &notes,
			}
			if err := p.Run(t.Context(), strings.Fields(line)); err != nil || notes.Len() > 0 {
				t.Errorf("%v, %q", err, notes.String())
			}
			got := out.String()
			if strings.HasPrefix(line, "-S") { // a mark that Debian's could not restore
				got = strings.ReplaceAll(got, "-f 4294967295", "-f -1")
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-ipvsadm +ours):\n%s", d)
			}
		})
	}
	if found != len(listings) {
		t.Errorf("%d recordings of %d listings: record again", found, len(listings))
	}
}
