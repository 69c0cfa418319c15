package ipvs

import (
	"bytes"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/understudy-ha/understudy/director"
)

func mustPrefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// testLedger stores keys twice and reads them, and then damages the file.
func testLedger[K Named](t *testing.T, path string, l *Ledger[K], keys []K) {
	t.Helper()
	for range 2 {
		if err := l.Store(keys); err != nil {
			t.Fatal(err)
		}
		if got, err := NewLedger[K](path).Load(); err != nil || !slices.Equal(got, keys) {
			t.Fatalf("Load = %v, %v, want %v", got, err, keys)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode = %v, %v, want 0600", info.Mode(), err)
	}
	if err := l.Store(nil); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Load(); err != nil || len(got) != 0 {
		t.Errorf("Load of nothing = %v, %v", got, err)
	}
	for _, damage := range []string{"", "{", `{"version":9,"keys":[]}`, `{"version":1,"keys":[{"Address":5}]}`, `{"version":1,"keys":[null]}`} {
		if err := os.WriteFile(path, []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := l.Load(); err == nil {
			t.Errorf("Load of %q = %v without an error", damage, got)
		}
	}
}

func TestLedgerDirectoryMissing(t *testing.T) {
	l := NewLedger[director.ServiceKey](t.TempDir() + "/no/such")
	if err := l.Store(nil); err == nil {
		t.Error("Store succeeds without a directory")
	}
}

func TestLedgerFileIsPlain(t *testing.T) {
	path := t.TempDir() + "/services"
	l := NewLedger[director.ServiceKey](path)
	if keys, err := l.Load(); err != nil || len(keys) != 0 {
		t.Errorf("Load without a file = %v, %v", keys, err)
	}
	testLedger(t, path, l, []director.ServiceKey{tcp("192.0.2.1:80"), tcp("[2001:db8::1]:80"), {FWMark: 3, IPv6: true}})
	a := NewLedger[director.AddrKey](path + "2")
	testLedger(t, path+"2", a, []director.AddrKey{{Link: "eth0", Prefix: mustPrefix("192.0.2.1/24")}, {Link: "eth1", Prefix: mustPrefix("2001:db8::1/64")}})
}

// TestLedgerNamesWhatIsListed has the family of an address said twice.
func TestLedgerNamesWhatIsListed(t *testing.T) {
	keys, err := parseLedger[director.ServiceKey]([]byte(`{"version":1,"keys":[{"Protocol":6,"Address":"[2001:db8::1]:80","IPv6":true},{"FWMark":3,"Address":"","IPv6":true}]}`))
	want := []director.ServiceKey{tcp("[2001:db8::1]:80"), {FWMark: 3, IPv6: true}}
	if err != nil || !slices.Equal(keys, want) {
		t.Errorf("the ledger names %v, %v, want %v", keys, err, want)
	}
}

func FuzzParseLedger(f *testing.F) {
	f.Add([]byte(`{"version":1,"keys":[{"Protocol":6,"Address":"192.0.2.1:80","FWMark":0,"IPv6":false}]}`))
	f.Add([]byte(`{"version":1,"keys":[{"Protocol":0,"Address":"","FWMark":7,"IPv6":true},null]}`))
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`{"version":1,"keys":`))
	f.Fuzz(func(t *testing.T, b []byte) {
		keys, err := parseLedger[director.ServiceKey](b)
		if err != nil {
			return
		}
		for _, k := range keys {
			if !possible(k) {
				t.Errorf("%q names %v, which the kernel cannot have", bytes.TrimSpace(b), k)
			}
		}
	})
}
