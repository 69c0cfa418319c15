package addr

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
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
			got, err := parseAddress(body(t, changeRequest(director.Create, 7, prefix, tag)))
			want := entry{index: 7, prefix: prefix, tag: tag}
			if err != nil || got != want {
				t.Errorf("parseAddress(create %s with tag %d) = %v, %v, want %v", p, tag, got, err, want)
			}
		}
	}
}

func TestParseAddress(t *testing.T) {
	msg := func(family, bits, flags byte, attrs ...*nl.RtAttr) []byte {
		b := binary.NativeEndian.AppendUint32([]byte{family, bits, flags, 0}, 3)
		for _, a := range attrs {
			b = append(b, a.Serialize()...)
		}
		return b
	}
	local := nl.NewRtAttr(unix.IFA_LOCAL, []byte{10, 0, 0, 1})
	peer := nl.NewRtAttr(unix.IFA_ADDRESS, []byte{10, 0, 0, 2})
	local6 := nl.NewRtAttr(unix.IFA_LOCAL, netip.MustParseAddr("fd00::1").AsSlice())
	peer6 := nl.NewRtAttr(unix.IFA_ADDRESS, netip.MustParseAddr("fd00::2").AsSlice())
	const inet, inet6 = unix.AF_INET, unix.AF_INET6
	tests := []struct {
		name string
		in   []byte
		want entry // zero: an error
	}{
		{"peer", msg(inet, 32, 0, peer, local), entry{index: 3, prefix: netip.MustParsePrefix("10.0.0.1/32")}},
		{"IPv6 peer", msg(inet6, 128, 0, peer6, local6), entry{index: 3, prefix: netip.MustParsePrefix("fd00::1/128")}},
		{"IPv6 without peer", msg(inet6, 64, 0, peer6), entry{index: 3, prefix: netip.MustParsePrefix("fd00::2/64")}},
		{"secondary", msg(inet, 24, unix.IFA_F_SECONDARY, local), entry{index: 3, prefix: netip.MustParsePrefix("10.0.0.1/24"), secondary: true}},
		{"IPv6 temporary", msg(inet6, 64, unix.IFA_F_TEMPORARY, local6), entry{index: 3, prefix: netip.MustParsePrefix("fd00::1/64")}},
		{"unknown attribute", msg(inet, 24, 0, nl.NewRtAttr(99, []byte{1, 2, 3}), local), entry{index: 3, prefix: netip.MustParsePrefix("10.0.0.1/24")}},
		{"tag of the wrong size", msg(inet, 24, 0, local, nl.NewRtAttr(ifaProto, []byte{1, 2})), entry{index: 3, prefix: netip.MustParsePrefix("10.0.0.1/24")}},
		{"empty", nil, entry{}},
		{"short", []byte{inet, 24, 0, 0, 3, 0, 0}, entry{}},
		{"no address", msg(inet, 24, 0), entry{}},
		{"long prefix", msg(inet, 33, 0, local), entry{}},
		{"family does not fit", msg(inet6, 24, 0, local), entry{}},
		{"cut attribute", msg(inet, 24, 0, local)[:14], entry{}},
		{"attribute without length", append(msg(inet, 24, 0), 0, 0, 0, 0), entry{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseAddress(test.in)
			if got != test.want || (err != nil) != (test.want == entry{}) {
				t.Errorf("parseAddress = %+v, %v, want %+v", got, err, test.want)
			}
		})
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
		if e, err := parseAddress(b); err == nil && !e.prefix.IsValid() {
			t.Errorf("parseAddress accepts %+v", e)
		}
		_, _, _ = parseLink(b)
		_ = answer(syscall.NetlinkMessage{Header: syscall.NlMsghdr{Flags: unix.NLM_F_ACK_TLVS}, Data: b})
	})
}
