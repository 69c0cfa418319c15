package addr

import (
	"net/netip"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink/nl"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/link"
)

// body returns the payload of the only message in b, as the kernel would get it.
func body(tb testing.TB, req *nl.NetlinkRequest) []byte {
	tb.Helper()
	msgs, err := syscall.ParseNetlinkMessage(req.Serialize())
	if err != nil || len(msgs) != 1 {
		tb.Fatalf("ParseNetlinkMessage: %d messages, %v", len(msgs), err)
	}
	return msgs[0].Data
}

func TestRequestsParseAsAddresses(t *testing.T) {
	for _, p := range []string{"10.0.0.200/24", "192.0.2.1/32", "fd00::200/64", "fe80::1/10"} {
		prefix := netip.MustParsePrefix(p)
		for _, tag := range []uint8{0, 117} {
			got, err := link.ParseAddress(body(t, changeRequest(director.Create, linkInfo{index: 7}, prefix, tag)))
			want := link.Address{Index: 7, Prefix: prefix, Tag: tag, Usable: true}
			if err != nil || got != want {
				t.Errorf("link.ParseAddress(create %s with tag %d) = %v, %v, want %v", p, tag, got, err, want)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(body(f, changeRequest(director.Create, linkInfo{index: 7}, netip.MustParsePrefix("10.0.0.200/24"), 117)))
	f.Add(body(f, changeRequest(director.Create, linkInfo{index: 7}, netip.MustParsePrefix("fd00::200/64"), 0)))
	f.Add(body(f, promoteRequest(7)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := link.ParseAddress(b); err == nil && !e.Prefix.IsValid() {
			t.Errorf("parseAddress accepts %+v", e)
		}
		_ = parseLink(b)
	})
}
