package addr

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

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
			got, err := link.ParseAddress(body(t, changeRequest(director.Create, 7, prefix, tag)))
			want := link.Address{Index: 7, Prefix: prefix, Tag: tag, Usable: true}
			if err != nil || got != want {
				t.Errorf("link.ParseAddress(create %s with tag %d) = %v, %v, want %v", p, tag, got, err, want)
			}
		}
	}
}

func TestAnswer(t *testing.T) {
	request := make([]byte, 20)
	binary.NativeEndian.PutUint32(request, 20)
	minus := int32(-int32(unix.EINVAL))
	code := binary.NativeEndian.AppendUint32(nil, uint32(minus))
	words := nl.NewRtAttr(unix.NLMSGERR_ATTR_MSG, []byte("because\x00")).Serialize()
	join := func(parts ...[]byte) (b []byte) {
		for _, p := range parts {
			b = append(b, p...)
		}
		return b
	}
	tests := []struct {
		name  string
		flags uint16
		data  []byte
		want  string
	}{
		{"acknowledgement", 0, make([]byte, 20), ""},
		{"bare", 0, join(code, request), "invalid argument"},
		{"words after a capped request", unix.NLM_F_CAPPED | unix.NLM_F_ACK_TLVS, join(code, request[:16], words), "invalid argument: because"},
		{"words after a whole request", unix.NLM_F_ACK_TLVS, join(code, request, words), "invalid argument: because"},
		{"request longer than the message", unix.NLM_F_ACK_TLVS, join(code, []byte{0xff, 0xff, 0xff, 0xff}, request[:12]), "invalid argument"},
		{"short", 0, code[:3], "short answer from the kernel"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			if err := answer(syscall.NetlinkMessage{Header: syscall.NlMsghdr{Flags: test.flags}, Data: test.data}); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("answer = %q, want %q", got, test.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(body(f, changeRequest(director.Create, 7, netip.MustParsePrefix("10.0.0.200/24"), 117)))
	f.Add(body(f, changeRequest(director.Create, 7, netip.MustParsePrefix("fd00::200/64"), 0)))
	f.Add(body(f, promoteRequest(7)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := link.ParseAddress(b); err == nil && !e.Prefix.IsValid() {
			t.Errorf("parseAddress accepts %+v", e)
		}
		_, _, _ = parseLink(b)
		_ = answer(syscall.NetlinkMessage{Header: syscall.NlMsghdr{Flags: unix.NLM_F_ACK_TLVS}, Data: b})
	})
}
