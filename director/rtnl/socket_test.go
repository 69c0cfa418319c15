package rtnl

import (
	"encoding/binary"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

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
	name := nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated("eth0"))
	f.Add(append(make([]byte, unix.SizeofIfInfomsg), name.Serialize()...))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _, _ = ParseLink(b)
		_ = answer(syscall.NetlinkMessage{Header: syscall.NlMsghdr{Flags: unix.NLM_F_ACK_TLVS}, Data: b})
	})
}
